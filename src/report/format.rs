//! Numbers as the page has them.

/// Decibels; `exact` without any noise, a dash where there is no ratio.
pub(super) fn decibels(value: f64) -> String {
    match value {
        v if v == f64::INFINITY => "exact".to_owned(),
        v if !v.is_finite() => "–".to_owned(),
        v => format!("{v:.2}"),
    }
}

/// `3.142e-3`
pub(super) fn small(value: f64) -> String {
    format!("{value:.3e}")
}

/// Digits in groups of three.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

/// A part of a whole in per cent.
pub(super) fn percent(part: f64, whole: f64) -> String {
    format!("{:.1}\u{a0}%", if whole > 0.0 { 100.0 * part / whole } else { 0.0 })
}

/// A coordinate: enough digits, and no more.
pub(super) fn at(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(grouped(1_234_567), "1\u{a0}234\u{a0}567");
        assert_eq!(grouped(12), "12");
        assert_eq!((at(1.0), at(0.125), at(-0.5)), ("1".into(), "0.125".into(), "-0.5".into()));
        assert_eq!((decibels(f64::NAN), decibels(f64::INFINITY)), ("–".into(), "exact".into()));
    }
}
