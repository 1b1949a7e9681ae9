//! The page: what it says first, its sections in order.

use super::facts::{ErrorSum, Facts, Finding, Size};
use super::format::{decibels, grouped, percent};
use super::markup::Markup;
use super::{distributions, errors, map_picture, sizes};
use crate::cli::table::{bytes, count};

/// Findings that are listed one by one.
const MAX_FINDINGS: usize = 200;

/// The whole page.
pub(crate) fn page(facts: &Facts) -> String {
    let mut m = Markup::default();
    m.doctype();
    m.element("html", &[("lang", &"en")], |m| {
        let title = format!("{} in 4 bits", facts.names[1]);
        m.element("head", &[], |m| {
            m.void("meta", &[("charset", &"utf-8")]);
            m.void("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
            m.void("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
            m.leaf("title", &[], &title);
            m.style(include_str!("style.css"));
        });
        m.element("body", &[], |m| {
            m.element("header", &[], |m| {
                m.leaf("h1", &[], &title);
                m.leaf("p", &[("class", &"lead")], format!("compared with its source, {}", facts.names[0]));
                summary(m, facts);
            });
            m.element("main", &[], |m| {
                findings(m, &facts.findings, facts);
                sizes::section(m, facts);
                errors::section(m, facts);
                distributions::section(m, facts);
                map_picture::section(m, facts);
                about(m, facts);
            });
        });
    });
    m.into_string()
}

fn card(m: &mut Markup, name: &str, value: String, more: String) {
    classed_card(m, "card", name, value, more);
}

fn classed_card(m: &mut Markup, class: &str, name: &str, value: String, more: String) {
    m.element("div", &[("class", &class)], |m| {
        m.leaf("dt", &[], name);
        m.element("dd", &[], |m| {
            m.leaf("b", &[], value);
            m.leaf("span", &[("class", &"more")], more);
        });
    });
}

fn summary(m: &mut Markup, facts: &Facts) {
    let total = |of: fn(&Size) -> u64| facts.sizes.iter().map(of).sum::<u64>();
    let (before, after) = (total(|s| s.before), total(|s| s.after));
    let tensors = total(|s| s.tensors);
    let of_weights: u64 = facts.sizes[..2].iter().map(|s| s.after).sum();
    let all = ErrorSum::of(&facts.weights);
    m.element("dl", &[("class", &"cards")], |m| {
        let share = format!("{} of {}", percent(after as f64, before as f64), bytes(before));
        card(m, "size", bytes(after), share);
        let bits = match all.count {
            0 => "no element converted".to_owned(),
            n => format!(
                "{:.3} bits per element of theirs, statistics included",
                8.0 * of_weights as f64 / n as f64
            ),
        };
        card(m, "4-bit weights", format!("{} of {}", grouped(all.weights), grouped(tensors)), bits);
        let worst = facts.weights.iter().map(|w| w.error.snr_db).fold(f64::INFINITY, f64::min);
        if all.weights > 0 {
            let words = format!("over all weights; worst {}", decibels(worst));
            card(m, "signal to noise", format!("{} dB", decibels(all.snr_db())), words);
        }
        let (value, more) = match facts.findings.len() {
            0 => (
                "as planned".to_owned(),
                format!("{} compared with the source", count(tensors as usize, "tensor")),
            ),
            n => (count(n, "finding"), "see below".to_owned()),
        };
        let class = if facts.findings.is_empty() { "card" } else { "card bad" };
        classed_card(m, class, "check", value, more);
    });
}

fn findings(m: &mut Markup, findings: &[Finding], facts: &Facts) {
    m.element("section", &[("id", &"findings")], |m| {
        m.leaf("h2", &[], "Findings");
        if findings.is_empty() {
            let words = format!(
                "Everything is as planned: {} hold the source's values, {} are quantizations of theirs.",
                count(facts.kept, "plain tensor"),
                count(facts.weights.len(), "4-bit weight"),
            );
            m.leaf("p", &[("class", &"good box")], words);
            return;
        }
        let words = format!(
            "{} of the checkpoint {} not what config and source say: the two may not belong together.",
            count(findings.len(), "tensor"),
            if findings.len() == 1 { "is" } else { "are" }
        );
        m.leaf("p", &[("class", &"bad box")], words);
        let rows: Vec<Vec<String>> =
            findings.iter().take(MAX_FINDINGS).map(|f| vec![f.tensor.clone(), f.words.clone()]).collect();
        m.table("What was found", &["tensor", "finding"], &[], &rows);
        if findings.len() > MAX_FINDINGS {
            m.leaf("p", &[("class", &"note")], format!("and {} more", findings.len() - MAX_FINDINGS));
        }
    });
}

fn about(m: &mut Markup, facts: &Facts) {
    m.element("section", &[("id", &"about")], |m| {
        m.leaf("h2", &[], "Config and provenance");
        m.element("div", &[("class", &"pair")], |m| {
            let rows = |pairs: &[(String, String)]| -> Vec<Vec<String>> {
                pairs.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect()
            };
            m.table("quantization_config", &["key", "value"], &[], &rows(&facts.config));
            m.table("Where this comes from", &["what", "value"], &[], &rows(&facts.provenance));
        });
        m.element("details", &[], |m| {
            let (summary, names) = match facts.skip_modules.as_deref() {
                None => (
                    "llm_int8_skip_modules: null, so that readers detect by themselves what to leave"
                        .to_owned(),
                    &[][..],
                ),
                Some(names) => (format!("llm_int8_skip_modules, layers folded ({})", names.len()), names),
            };
            m.leaf("summary", &[], summary);
            m.element("ul", &[("class", &"names")], |m| {
                names.iter().for_each(|name| m.leaf("li", &[], name));
            });
        });
    });
}
