//! Sizes before and after.

use super::charts::{Segment, figure, legend, strip};
use super::facts::{Facts, Size};
use super::format::{grouped, percent};
use super::markup::Markup;
use crate::cli::table::bytes;

pub(super) fn section(m: &mut Markup, facts: &Facts) {
    let total = |of: fn(&Size) -> u64| facts.sizes.iter().map(of).sum::<u64>();
    let (before, after) = (total(|s| s.before), total(|s| s.after));
    let widest = before.max(after) as f64;
    m.element("section", &[("id", &"sizes")], |m| {
        m.leaf("h2", &[], "Sizes");
        figure(m, "Bytes of all files, before and after", |m| {
            let sides: [(&str, u64, fn(&Size) -> u64); 2] =
                [("before", before, |s| s.before), ("after", after, |s| s.after)];
            for (name, sum, of) in sides {
                m.element("div", &[("class", &"line")], |m| {
                    m.leaf("span", &[("class", &"name")], name);
                    let label = format!("{name}: {}", bytes(sum));
                    let segments: Vec<Segment> = facts.sizes.iter().map(|s| segment(s, of(s))).collect();
                    strip(m, &label, "strip tall", widest, &segments);
                    m.leaf("span", &[("class", &"value")], bytes(sum));
                });
            }
            let entries: Vec<(&str, String)> =
                facts.sizes.iter().map(|s| (s.class, s.label.to_owned())).collect();
            legend(m, &entries);
        });
        let row = |name: &str, tensors: String, b: u64, a: u64| {
            let share = percent(a as f64, after as f64);
            vec![name.to_owned(), tensors, grouped(b), grouped(a), share]
        };
        let mut rows: Vec<Vec<String>> = facts
            .sizes
            .iter()
            .map(|s| {
                let tensors = if s.tensors > 0 { grouped(s.tensors) } else { String::new() };
                row(s.label, tensors, s.before, s.after)
            })
            .collect();
        rows.push(row("total", grouped(total(|s| s.tensors)), before, after));
        let header = ["what", "tensors", "bytes before", "bytes after", "share after"];
        m.table("Sizes by what the bytes are", &header, &[1, 2, 3, 4], &rows);
    });
}

fn segment(size: &Size, length: u64) -> Segment {
    Segment {
        length: length as f64,
        class: size.class.to_owned(),
        title: format!("{}: {}", size.label, bytes(length)),
    }
}
