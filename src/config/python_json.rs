//! JSON as Python's `json.dumps` writes it, to the byte: readers compare files, and the quant state
//! of a weight is defined by these bytes.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

/// Python writes and reads the numbers NaN, Infinity and -Infinity in JSON (Mamba-2 configs have
/// `"time_step_limit": [0.0, Infinity]`), which JSON proper and [`Value`] cannot hold. They are held as
/// strings with this character before the word; writing turns them back.
const NON_FINITE_MARK: char = '\0';
/// The longest ones first: `-Infinity` contains `Infinity`.
const NON_FINITE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Parses JSON that Python may have written: the numbers NaN, Infinity and -Infinity are taken, and
/// written again by [`compact`] and [`indented`] as they were.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).or_else(|error| match quote_non_finite(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(quoted) => serde_json::from_slice(&quoted),
    })
}

/// Puts marked quotes around non-finite numbers outside of strings.
fn quote_non_finite(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut copied = 0;
    let (mut at, mut in_string) = (0, false);
    while at < text.len() {
        match text[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'I' | b'N' if !in_string => {
                if let Some(word) = NON_FINITE.iter().find(|word| text[at..].starts_with(word.as_bytes())) {
                    out.extend_from_slice(&text[copied..at]);
                    out.extend_from_slice(format!("\"\\u0000{word}\"").as_bytes());
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

/// `repr` of a Python float, which is also how `json.dumps` writes one: the shortest digits that
/// read back as the same number, with an exponent from `1e+16` up and from `1e-05` down; `NaN`,
/// `Infinity` and `-Infinity` as `json.dumps` spells them.
pub fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}Infinity");
    }
    // The shortest digits that read back; where two such decimals are equally near, Python takes the
    // even one and Rust the larger, so they are printed again to that many digits, ties to even.
    let shortest = format!("{:e}", value.abs());
    let digits = shortest.split('e').next().map_or(1, |m| m.bytes().filter(u8::is_ascii_digit).count());
    let scientific = format!("{:.*e}", digits - 1, value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if !(-4..16).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.abs());
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

/// A string between quotes, everything outside printable ASCII escaped (`ensure_ascii=True`).
pub fn python_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    out
}

/// `json.dumps(value)`: one line, `", "` and `": "`, keys in the order they have.
pub fn compact(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, &Layout { indent: None, sort_keys: false }, 0);
    out
}

/// `json.dumps(value, indent=2, sort_keys=sort_keys)`, without a final newline.
pub fn indented(value: &Value, sort_keys: bool) -> String {
    let mut out = String::new();
    write_value(&mut out, value, &Layout { indent: Some(2), sort_keys }, 0);
    out
}

struct Layout {
    indent: Option<usize>,
    sort_keys: bool,
}

impl Layout {
    fn separator(&self, out: &mut String, first: bool, depth: usize) {
        match self.indent {
            Some(width) => {
                out.push_str(if first { "\n" } else { ",\n" });
                out.extend(std::iter::repeat_n(' ', width * depth));
            }
            None if first => {}
            None => out.push_str(", "),
        }
    }

    fn close(&self, out: &mut String, depth: usize) {
        if let Some(width) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    }
}

fn write_value(out: &mut String, value: &Value, layout: &Layout, depth: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() => out.push_str(&python_float(f)),
            _ => {
                let _ = write!(out, "{n}");
            }
        },
        Value::String(s) => match s.strip_prefix(NON_FINITE_MARK) {
            Some(word) if NON_FINITE.contains(&word) => out.push_str(word),
            _ => write_string(out, s),
        },
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                layout.separator(out, i == 0, depth + 1);
                write_value(out, item, layout, depth + 1);
            }
            layout.close(out, depth);
            out.push(']');
        }
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if layout.sort_keys {
                // UTF-8 bytes sort as code points do, which is Python's order of strings.
                entries.sort_by_key(|(key, _)| *key);
            }
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                layout.separator(out, i == 0, depth + 1);
                write_string(out, key);
                out.push_str(": ");
                write_value(out, item, layout, depth + 1);
            }
            layout.close(out, depth);
            out.push('}');
        }
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn floats_are_python_reprs() {
        // Each pair as printed by CPython 3.11.
        let cases: [(f64, &str); 23] = [
            // Two 17-digit decimals are equally near: the even one.
            (f64::from(0.12898636f32), "0.12898635864257812"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (6.0, "6.0"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.02, "0.02"),
            (1e-5, "1e-05"),
            (1e-6, "1e-06"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012345"),
            (1.2345e-5, "1.2345e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (9007199254740993.0, "9007199254740992.0"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (0.05178447067737579, "0.05178447067737579"),
            (f64::from(0.1f32), "0.10000000149011612"),
        ];
        for (value, expected) in cases {
            assert_eq!(python_float(value), expected);
        }
        assert_eq!(python_float(f64::NAN), "NaN");
        assert_eq!(python_float(f64::INFINITY), "Infinity");
        assert_eq!(python_float(f64::NEG_INFINITY), "-Infinity");
    }

    #[test]
    fn strings_are_ascii() {
        assert_eq!(python_string("a\"\\\n\u{7f}é\u{1f600}/"), r#""a\"\\\n\u007f\u00e9\ud83d\ude00/""#);
    }

    #[test]
    fn non_finite_numbers_survive() {
        let text = r#"{"a": [0.0, Infinity, -Infinity, NaN], "b\\": "\" Infinity", "c": -1}"#;
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(compact(&value), text);
        assert_eq!(value["b\\"], "\" Infinity");
        assert!(parse(b"{\"a\": Infinit}").is_err());
        assert!(parse(b"{\"a\": InfinityNaN}").is_err());
    }

    #[test]
    fn both_layouts() {
        let v = json!({"b": [1, 2.0, []], "a": {"y": null, "x": true}, "c": {}});
        assert_eq!(compact(&v), r#"{"b": [1, 2.0, []], "a": {"y": null, "x": true}, "c": {}}"#);
        let expected = "{\n  \"a\": {\n    \"x\": true,\n    \"y\": null\n  },\n  \"b\": [\n    1,\n    2.0,\n    []\n  ],\n  \"c\": {}\n}";
        assert_eq!(indented(&v, true), expected);
    }
}
