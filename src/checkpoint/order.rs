//! The order of names: that in which transformers 5 walks a state dict (`dot_natural_key`), so that
//! layer 2 comes before layer 10 and output shards hold what transformers would put into them.

use std::cmp::Ordering;

/// Compares two tensor names part by part between the dots. All-digit parts come first and compare
/// as numbers; other parts compare by their text without trailing digits, then by those digits as a
/// number. Names that are equal in this sense compare as plain text, so the order is total.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (Some(l), Some(r)) => part_order(l, r),
            (None, None) => return a.cmp(b),
            (l, r) => return l.is_some().cmp(&r.is_some()),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn part_order(a: &str, b: &str) -> Ordering {
    let ((a_text, a_digits), (b_text, b_digits)) = (split_digits(a), split_digits(b));
    let is_number = |text: &str, digits: &str| text.is_empty() && !digits.is_empty();
    match (is_number(a_text, a_digits), is_number(b_text, b_digits)) {
        (true, true) => number_order(a_digits, b_digits),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        // No digits come before any digits, as a shorter tuple before a longer one.
        (false, false) => a_text
            .cmp(b_text)
            .then(a_digits.is_empty().cmp(&b_digits.is_empty()).reverse())
            .then_with(|| number_order(a_digits, b_digits)),
    }
}

fn split_digits(part: &str) -> (&str, &str) {
    part.split_at(part.trim_end_matches(|c: char| c.is_ascii_digit()).len())
}

/// Compares digit strings of any length as numbers.
fn number_order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_transformers_does() {
        // sorted(..., key=dot_natural_key) of transformers 5.23.
        let sorted = [
            "0.weight",
            "2.a",
            "10.a",
            "",
            "h.2",
            "h.10",
            "h.a",
            "lm_head.weight",
            "m.layer.w",
            "m.layer2.w",
            "m.layer10.w",
            "m.layers.0",
            "m.layers.0.a",
            "m.layers.01",
            "m.layers.1",
            "m.layers.00000000000000000000000000000000000000000000002",
            "m.layers.99999999999999999999999999999999999999999999",
            "x.weight",
            "x.weight.absmax",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(natural_order(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }
}
