//! How far the weights are from the source.

use std::collections::BTreeMap;

use super::facts::{ErrorSum, Facts, WeightFacts};
use super::format::{decibels, grouped, small};
use super::heat;
use super::markup::Markup;
use crate::cli::names::{normalize, short};

/// Rows of the table of the worst weights, and of that of kinds.
const WORST: usize = 15;
const MAX_KINDS: usize = 200;

pub(super) fn section(m: &mut Markup, facts: &Facts) {
    m.element("section", &[("id", &"errors")], |m| {
        m.leaf("h2", &[], "Error");
        if facts.weights.is_empty() {
            m.leaf("p", &[], "No tensor is a 4-bit weight: there is nothing to measure.");
            return;
        }
        m.leaf(
            "p",
            &[("class", &"note")],
            "Source and weight are compared element by element. The signal-to-noise ratio (SNR) is \
             10 log10(Σ source² / Σ difference²) in decibels: higher is better, 6 dB are a factor of two in the \
             difference. RMS is the root of the mean squared difference.",
        );
        for (name, list) in &heat::lists(&facts.weights) {
            heat::draw(m, name, list);
        }
        by_kind(m, &facts.weights);
        worst(m, &facts.weights);
    });
}

fn by_kind(m: &mut Markup, weights: &[WeightFacts]) {
    let mut kinds: BTreeMap<String, Vec<&WeightFacts>> = BTreeMap::new();
    for weight in weights {
        kinds.entry(normalize(short(&weight.name)).0).or_default().push(weight);
    }
    let row = |(kind, weights): (&String, &Vec<&WeightFacts>)| {
        let sum = ErrorSum::of(weights.iter().copied());
        let worst = weights.iter().map(|w| w.error.snr_db).fold(f64::INFINITY, f64::min);
        vec![
            kind.clone(),
            grouped(sum.weights),
            grouped(sum.count),
            decibels(sum.snr_db()),
            decibels(worst),
            small(sum.rms()),
            small(sum.max),
        ]
    };
    let rows: Vec<Vec<String>> = kinds.iter().take(MAX_KINDS).map(row).collect();
    let header = ["kind", "weights", "elements", "SNR dB", "worst SNR dB", "RMS", "max abs"];
    m.table("Error by kind of module", &header, &[1, 2, 3, 4, 5, 6], &rows);
    if kinds.len() > MAX_KINDS {
        m.leaf("p", &[("class", &"note")], format!("{} more kinds are left out.", kinds.len() - MAX_KINDS));
    }
}

fn worst(m: &mut Markup, weights: &[WeightFacts]) {
    let mut order: Vec<&WeightFacts> = weights.iter().collect();
    // Without a ratio (no signal, or values that are not finite) first: they want looking at.
    let key = |w: &WeightFacts| if w.error.snr_db.is_nan() { f64::NEG_INFINITY } else { w.error.snr_db };
    order.sort_by(|a, b| key(a).total_cmp(&key(b)).then_with(|| a.name.cmp(&b.name)));
    let row = |w: &&WeightFacts| {
        let shape = w.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
        let e = &w.error;
        vec![short(&w.name).to_owned(), shape, decibels(e.snr_db), small(e.rms), small(e.mean), small(e.max)]
    };
    let rows: Vec<Vec<String>> = order.iter().take(WORST).map(row).collect();
    let header = ["weight", "shape", "SNR dB", "RMS", "mean abs", "max abs"];
    let caption = match weights.len() {
        n if n <= WORST => "Every weight, the worst first".to_owned(),
        n => format!("The {WORST} worst of {} weights", grouped(n as u64)),
    };
    m.table(&caption, &header, &[1, 2, 3, 4, 5], &rows);
}
