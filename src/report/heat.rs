//! The error of every layer and kind of module, as a map of colours.

use std::collections::BTreeMap;

use super::charts::{Segment, figure, legend, strip};
use super::facts::{ErrorSum, WeightFacts};
use super::format::{decibels, small};
use super::markup::Markup;
use crate::cli::names::{normalize, short};
use crate::cli::plan::fold::block_of;

/// Classes of colour, `q0` being the worst.
const COLOURS: usize = 7;
/// Kinds of modules and layers that are drawn at most.
const MAX_KINDS: usize = 40;
const MAX_LAYERS: usize = 300;

/// A list of layers: kinds of modules by layer.
#[derive(Default)]
pub(super) struct List {
    kinds: Vec<(String, BTreeMap<u64, ErrorSum>)>,
}

/// The lists of layers, such as `model.layers`, that have 4-bit weights.
pub(super) fn lists(weights: &[WeightFacts]) -> BTreeMap<String, List> {
    let mut lists: BTreeMap<String, List> = BTreeMap::new();
    let mut positions: BTreeMap<(String, String), usize> = BTreeMap::new();
    for weight in weights {
        let Some((list, layer, rest)) = block_of(&weight.name) else { continue };
        let kind = normalize(short(rest)).0;
        let kinds = &mut lists.entry(list.to_owned()).or_default().kinds;
        let position = *positions.entry((list.to_owned(), kind.clone())).or_insert_with(|| {
            kinds.push((kind, BTreeMap::new()));
            kinds.len() - 1
        });
        kinds[position].1.entry(layer).or_default().add(&weight.error);
    }
    lists
}

/// Draws one list.
pub(super) fn draw(m: &mut Markup, name: &str, list: &List) {
    let mut layers: Vec<u64> = list.kinds.iter().flat_map(|(_, cells)| cells.keys().copied()).collect();
    layers.sort_unstable();
    layers.dedup();
    let hidden = (list.kinds.len().saturating_sub(MAX_KINDS), layers.len().saturating_sub(MAX_LAYERS));
    layers.truncate(MAX_LAYERS);
    let kinds = &list.kinds[..list.kinds.len().min(MAX_KINDS)];
    let all = kinds.iter().flat_map(|(_, cells)| cells.values().map(ErrorSum::snr_db));
    let scale = Scale::of(all.filter(|snr| snr.is_finite()));
    let what = if name.is_empty() { "layers".to_owned() } else { name.to_owned() };
    figure(
        m,
        &format!("Signal-to-noise ratio in {what}: a column per layer, a row per kind of module"),
        |m| {
            for (kind, cells) in kinds {
                let segments: Vec<Segment> =
                    layers.iter().map(|l| cell(name, *l, kind, cells.get(l), &scale)).collect();
                let mut sum = ErrorSum::default();
                cells.values().for_each(|c| sum.merge(c));
                m.element("div", &[("class", &"line")], |m| {
                    m.leaf("span", &[("class", &"name")], kind);
                    let label = format!("{kind} by layer: {} dB in all", decibels(sum.snr_db()));
                    strip(m, &label, "strip cells", layers.len() as f64, &segments);
                    m.leaf("span", &[("class", &"value")], format!("{} dB", decibels(sum.snr_db())));
                });
            }
            m.element("div", &[("class", &"line axis"), ("aria-hidden", &"true")], |m| {
                m.leaf("span", &[("class", &"name")], "layer");
                m.element("span", &[("class", &"ends")], |m| {
                    let ends = [layers.first(), layers.get(layers.len() / 2), layers.last()];
                    let shown = if layers.len() > 2 {
                        vec![ends[0], ends[1], ends[2]]
                    } else {
                        vec![ends[0], ends[2]]
                    };
                    let shown = if layers.len() == 1 { vec![ends[0]] } else { shown };
                    shown.into_iter().flatten().for_each(|layer| m.leaf("span", &[], layer));
                });
                m.leaf("span", &[("class", &"value")], "all layers");
            });
            legend(m, &scale.legend());
            if hidden != (0, 0) {
                m.leaf(
                    "p",
                    &[("class", &"note")],
                    format!("{} more kinds and {} more layers are not drawn.", hidden.0, hidden.1),
                );
            }
        },
    );
}

fn cell(list: &str, layer: u64, kind: &str, sum: Option<&ErrorSum>, scale: &Scale) -> Segment {
    let dot = if list.is_empty() { "" } else { "." };
    let Some(sum) = sum else { return Segment { length: 1.0, class: String::new(), title: String::new() } };
    let several = if sum.weights > 1 { format!(" ({} weights)", sum.weights) } else { String::new() };
    Segment {
        length: 1.0,
        class: scale.class(sum.snr_db()),
        title: format!(
            "{list}{dot}{layer}.{kind}{several}: {} dB, RMS {}, max {}",
            decibels(sum.snr_db()),
            small(sum.rms()),
            small(sum.max)
        ),
    }
}

impl ErrorSum {
    fn merge(&mut self, other: &ErrorSum) {
        self.weights += other.weights;
        self.count += other.count;
        self.noise += other.noise;
        self.signal += other.signal;
        self.max = self.max.max(other.max);
    }
}

/// Small differences are not to look like large ones.
const MIN_RANGE_DB: f64 = 1.4;

/// From the worst to the best ratio, in equal steps.
struct Scale {
    worst: f64,
    best: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut worst, mut best) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            worst = worst.min(value);
            best = best.max(value);
        }
        // To tenths, so that the legend says what the colours mean.
        let (worst, best) = ((worst * 10.0).floor() / 10.0, (best * 10.0).ceil() / 10.0);
        Scale { worst: worst.min(best - MIN_RANGE_DB), best }
    }

    fn class(&self, snr: f64) -> String {
        let range = self.best - self.worst;
        let step = ((snr - self.worst) / range * COLOURS as f64) as usize;
        match snr {
            v if v == f64::INFINITY => "exact".to_owned(),
            v if !v.is_finite() => "unknown".to_owned(),
            _ => format!("q{}", step.min(COLOURS - 1)),
        }
    }

    fn legend(&self) -> Vec<(&'static str, String)> {
        const CLASSES: [&str; COLOURS] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6"];
        let range = self.best - self.worst;
        if !range.is_finite() {
            // Every weight is exact, or none has a ratio.
            return vec![("exact", "no difference, or none to be measured".to_owned())];
        }
        let end = |i: usize| self.worst + range * i as f64 / COLOURS as f64;
        let words = |i: usize| format!("{:.2} to {:.2} dB", end(i), end(i + 1));
        CLASSES.iter().enumerate().map(|(i, class)| (*class, words(i))).collect()
    }
}
