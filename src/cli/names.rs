//! Names of modules and tensors for people: numbers as ranges, nothing that a terminal obeys.

/// Whether a component is a number.
pub(crate) fn is_number(component: &str) -> bool {
    !component.is_empty() && component.bytes().all(|b| b.is_ascii_digit())
}

/// A path with `*` for its numbers, and the numbers. One that is too large to count stays a name.
pub(crate) fn normalize(path: &str) -> (String, Vec<u64>) {
    let mut numbers = Vec::new();
    let component = |component| match str::parse::<u64>(component) {
        Ok(number) if is_number(component) && number.to_string() == component => {
            numbers.push(number);
            "*"
        }
        _ => component,
    };
    let parts: Vec<&str> = path.split('.').map(component).collect();
    (parts.join("."), numbers)
}

/// Most ranges that are written out.
const MAX_RANGES: usize = 8;

/// Ascending numbers as `0-3,5,7-9`; of very many ranges the first ones.
pub(crate) fn ranges(numbers: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(number) => *end = number,
            _ => runs.push((number, number)),
        }
    }
    let text = |(first, last): &(u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let shown: Vec<String> = runs.iter().take(MAX_RANGES).map(text).collect();
    let more = if runs.len() > MAX_RANGES { ",…" } else { "" };
    shown.join(",") + more
}

/// A tensor's name as people write it: a layer's weight is the layer.
pub(crate) fn short(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}

/// Text from a file with control and direction characters made visible, so that it can neither move the
/// cursor nor hide.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, line and paragraph separators, and those that change the direction of text or
/// take no room.
pub(crate) fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[u64::MAX]), u64::MAX.to_string());
        let odd: Vec<u64> = (0..20).map(|n| 2 * n).collect();
        assert_eq!(ranges(&odd), "0,2,4,6,8,10,12,14,…");
    }

    #[test]
    fn only_plain_numbers_are_taken_out() {
        assert_eq!(normalize("a.3.b.12"), ("a.*.b.*".to_owned(), vec![3, 12]));
        assert_eq!(normalize("a.03.+1"), ("a.03.+1".to_owned(), vec![]));
        assert_eq!(normalize("99999999999999999999999"), ("99999999999999999999999".to_owned(), vec![]));
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\n\u{202e}ü"), "a\\u{1b}[2J\\u{a}\\u{202e}ü");
    }
}
