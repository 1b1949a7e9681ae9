//! Dotted names: their parts, their numbers, and the renamings between files and modules.

use std::cmp::Ordering;

/// The last component.
pub fn leaf(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, leaf)| leaf)
}

/// Everything before the last component; empty for a path of one.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The module that owns a `.weight`.
pub fn module_of(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}

/// Whether a component is a number.
pub fn is_number(component: &str) -> bool {
    !component.is_empty() && component.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `path` is `head` or lies under it.
pub fn is_under(path: &str, head: &str) -> bool {
    path.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The path with every number replaced by `*`: what layers and experts have in common.
pub fn normalize(path: &str) -> String {
    if !path.contains('.') {
        return path.to_owned();
    }
    let mut out = String::with_capacity(path.len());
    for (i, component) in path.split('.').enumerate() {
        if i > 0 {
            out.push('.');
        }
        out.push_str(if is_number(component) { "*" } else { component });
    }
    out
}

/// `path` with its start `from` replaced by `to`, where the starts are whole components and a `*` of
/// `from` (a number, or a `*` of a normalized path) is carried over to the `*` of `to`. `None` if the
/// path does not start so.
pub fn rename(path: &str, from: &str, to: &str) -> Option<String> {
    let mut rest = path.split('.');
    let mut numbers = Vec::new();
    for expected in components(from) {
        let found = rest.next()?;
        if expected == "*" && (found == "*" || is_number(found)) {
            numbers.push(found);
        } else if expected != found {
            return None;
        }
    }
    let mut numbers = numbers.into_iter();
    let mut out: Vec<&str> = Vec::new();
    for component in components(to) {
        out.push(if component == "*" { numbers.next()? } else { component });
    }
    out.extend(rest);
    (!out.is_empty()).then(|| out.join("."))
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|c| !c.is_empty())
}

/// Order of paths with numbers compared as numbers: `layers.2` before `layers.10`.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let mut left = a.split('.');
    let mut right = b.split('.');
    loop {
        let (x, y) = match (left.next(), right.next()) {
            (Some(x), Some(y)) => (x, y),
            (x, y) => return x.is_some().cmp(&y.is_some()),
        };
        let order = if is_number(x) && is_number(y) {
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            x.cmp(y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_stars() {
        assert_eq!(normalize("model.layers.10.mlp.experts.3.w1"), "model.layers.*.mlp.experts.*.w1");
        assert_eq!(normalize("0.weight"), "*.weight");
        assert_eq!(normalize("linear1.2b"), "linear1.2b");
        assert_eq!(normalize("12"), "12");
    }

    #[test]
    fn renaming_carries_numbers() {
        let r = |p, a, b| rename(p, a, b);
        assert_eq!(
            r("model.layers.3.moe.gate", "model.layers.*.moe", "m.layers.*.mlp").unwrap(),
            "m.layers.3.mlp.gate"
        );
        assert_eq!(r("layers.0.x", "", "model").unwrap(), "model.layers.0.x");
        assert_eq!(r("language_model.lm_head", "language_model", "").unwrap(), "lm_head");
        assert_eq!(r("a.*.e.*.w1", "a.*.e.*.w1", "a.*.e.w").unwrap(), "a.*.e.w");
        assert_eq!(r("language_models.x", "language_model", "m"), None);
        assert_eq!(r("a.x", "a.*", "b.*"), None);
    }

    #[test]
    fn layers_sort_by_number() {
        let mut paths = ["b", "l.10.x", "l.2.y", "l.2.x", "l", "l.2"];
        paths.sort_by(|a, b| natural_order(a, b));
        assert_eq!(paths, ["b", "l", "l.2", "l.2.x", "l.2.y", "l.10.x"]);
    }
}
