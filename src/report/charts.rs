//! Pictures: drawn in SVG, described in words, coloured by the style sheet.

use super::format::at;
use super::markup::Markup;

/// A picture with its title above and, below it, what explains it.
pub(super) fn figure(m: &mut Markup, caption: &str, content: impl FnOnce(&mut Markup)) {
    m.element("figure", &[], |m| {
        m.leaf("figcaption", &[], caption);
        content(m);
    });
}

/// What the colours stand for: class and words.
pub(super) fn legend(m: &mut Markup, entries: &[(&str, String)]) {
    m.element("ul", &[("class", &"legend")], |m| {
        for (class, words) in entries {
            m.element("li", &[], |m| {
                m.leaf("span", &[("class", &format!("swatch {class}"))], "");
                m.text(words);
            });
        }
    });
}

/// A part of a strip.
pub(super) struct Segment {
    /// How long it is, compared with the others.
    pub length: f64,
    /// Class of its colour; empty for none.
    pub class: String,
    /// What it says when pointed at.
    pub title: String,
}

/// A horizontal strip of segments that fills the width it is given; `whole` is the length of the full
/// width.
pub(super) fn strip(m: &mut Markup, label: &str, class: &str, whole: f64, segments: &[Segment]) {
    let scale = if whole > 0.0 { 1000.0 / whole } else { 0.0 };
    m.element(
        "svg",
        &[
            ("class", &class),
            ("viewBox", &"0 0 1000 10"),
            ("preserveAspectRatio", &"none"),
            ("role", &"img"),
            ("aria-label", &label),
        ],
        |m| {
            m.leaf("title", &[], label);
            let mut x = 0.0;
            for segment in segments {
                let width = segment.length * scale;
                if !segment.class.is_empty() {
                    let (x, width) = (at(x), at(width));
                    m.element(
                        "rect",
                        &[
                            ("class", &segment.class),
                            ("x", &x),
                            ("y", &0),
                            ("width", &width),
                            ("height", &10),
                        ],
                        |m| m.leaf("title", &[], &segment.title),
                    );
                }
                x += width;
            }
        },
    );
}

/// A bar of a bar chart.
pub(super) struct Bar {
    /// Its height.
    pub value: f64,
    /// Where a mark is drawn across it.
    pub mark: Option<f64>,
    /// What stands below it, if anything.
    pub label: String,
    /// What it says when pointed at.
    pub title: String,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 350.0;
const TOP: f64 = 8.0;
const FLOOR: f64 = 148.0;

/// A bar chart with a scale in per cent.
pub(super) fn bars(m: &mut Markup, label: &str, bars: &[Bar]) {
    let highest = bars.iter().flat_map(|b| [Some(b.value), b.mark]).flatten().fold(0.0f64, f64::max);
    let step = scale_step(highest);
    let top = ((highest / step).ceil().max(1.0)) * step;
    let y = |value: f64| FLOOR - (FLOOR - TOP) * value / top;
    let width = (RIGHT - LEFT) / (bars.len() as f64).max(1.0);
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    m.element(
        "svg",
        &[("class", &"chart"), ("viewBox", &view), ("role", &"img"), ("aria-label", &label)],
        |m| {
            m.leaf("title", &[], label);
            for i in 0..=(top / step).round() as u32 {
                let value = f64::from(i) * step;
                let line = at(y(value));
                m.void(
                    "line",
                    &[("class", &"grid"), ("x1", &LEFT), ("x2", &RIGHT), ("y1", &line), ("y2", &line)],
                );
                let text = format!("{}\u{a0}%", at(100.0 * value));
                let (x, y) = (LEFT - 4.0, at(y(value) + 3.0));
                m.leaf("text", &[("class", &"end"), ("x", &x), ("y", &y)], text);
            }
            for (i, bar) in bars.iter().enumerate() {
                let x = LEFT + i as f64 * width;
                let (left, wide) = (at(x + width * 0.08), at(width * 0.84));
                m.element("g", &[], |m| {
                    m.leaf("title", &[], &bar.title);
                    // The whole column, so that pointing at a low bar says something too.
                    let (column, height) = (at(x), FLOOR - TOP);
                    m.void(
                        "rect",
                        &[
                            ("class", &"hit"),
                            ("x", &column),
                            ("y", &TOP),
                            ("width", &at(width)),
                            ("height", &height),
                        ],
                    );
                    let (up, height) = (at(y(bar.value)), at(FLOOR - y(bar.value)));
                    m.void(
                        "rect",
                        &[("class", &"bar"), ("x", &left), ("y", &up), ("width", &wide), ("height", &height)],
                    );
                    if let Some(mark) = bar.mark {
                        let (from, to, line) = (at(x), at(x + width), at(y(mark)));
                        m.void(
                            "line",
                            &[("class", &"mark"), ("x1", &from), ("x2", &to), ("y1", &line), ("y2", &line)],
                        );
                    }
                });
                if !bar.label.is_empty() {
                    let (x, y) = (at(x + width / 2.0), FLOOR + 13.0);
                    m.leaf("text", &[("class", &"mid"), ("x", &x), ("y", &y)], &bar.label);
                }
            }
        },
    );
}

/// A round number of which about four make up the scale.
fn scale_step(highest: f64) -> f64 {
    let highest = if highest > 0.0 && highest.is_finite() { highest } else { 0.01 };
    let power = 10f64.powf((highest / 4.0).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let step = factors.iter().map(|f| f * power).find(|step| highest / step <= 5.0);
    step.unwrap_or(10.0 * power)
}
