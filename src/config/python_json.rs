//! placeholder
/// repr
pub fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    // Shortest digits; an exact tie between two goes to the even digit in Python, up in Rust.
    let shortest = format!("{value:e}");
    let digits = shortest.split_once('e').unwrap().0.trim_start_matches('-').replace('.', "").len();
    let e = format!("{value:.*e}", digits - 1);
    let (mantissa, exp) = e.split_once('e').unwrap();
    let exp: i32 = exp.parse().unwrap();
    if (-4..16).contains(&exp) {
        let s = format!("{value:.*}", (digits as i32 - 1 - exp).max(0) as usize);
        if s.contains('.') { s } else { s + ".0" }
    } else {
        format!("{mantissa}e{}{:02}", if exp < 0 { '-' } else { '+' }, exp.abs())
    }
}
