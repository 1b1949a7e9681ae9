//! Finding the tensor that a person means.

use std::collections::BTreeSet;

use fourbit::plan::PlanEntry;
use fourbit::{Error, Result};

use super::fold::{Group, block_of, fold};
use crate::cli::names::{normalize, printable, short};

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Found {
    /// The tensor, the first one of several that are decided alike.
    pub index: usize,
    /// How many are decided alike and fit the name.
    pub alike: usize,
    /// Names of all of these, folded.
    pub names: String,
}

/// Names of candidates that are listed.
const MAX_LISTED: usize = 12;

/// Looks for the tensor or module `query`: its whole name, the end of it (whole components), or a
/// pattern with `*`; `layers.*` and a name without numbers stand for all layers if those are decided
/// alike. Errors list what else it may have meant.
pub(super) fn find(entries: &[PlanEntry], skip_list: &[String], query: &str) -> Result<Found> {
    let wanted = short(query);
    let levels: [&dyn Fn(&str) -> bool; 5] = [
        &|name| name == query,
        &|name| short(name) == wanted,
        &|name| ends_with(short(name), wanted) || ends_with(name, wanted),
        &|name| wanted.contains('*') && (pattern_ends(short(name), wanted) || pattern_ends(name, wanted)),
        &|name| normalized_ends(short(name), wanted),
    ];
    for level in levels {
        let hits: Vec<usize> = (0..entries.len()).filter(|&i| level(&entries[i].source.name)).collect();
        if !hits.is_empty() {
            return one(entries, &hits, query);
        }
    }
    // A module with layers in it, such as a block.
    let within = |name: &str| contains_module(name, wanted);
    let hits: Vec<usize> = (0..entries.len()).filter(|&i| within(&entries[i].source.name)).collect();
    match hits.is_empty() {
        false => one(entries, &hits, query),
        true if skip_list.iter().any(|entry| entry == wanted) => Err(Error::NotFound(format!(
            "\"{}\" is in llm_int8_skip_modules, but has no tensor in this checkpoint, as when it is tied to another",
            printable(query)
        ))),
        true => Err(unknown(entries, query)),
    }
}

/// The one decision among the hits, if there is one.
fn one(entries: &[PlanEntry], hits: &[usize], query: &str) -> Result<Found> {
    let groups = fold(hits.iter().map(|&i| &entries[i]));
    let names = group_names(&groups);
    if let ([group], [name]) = (groups.as_slice(), names.as_slice())
        && let [row] = group.rows.as_slice()
    {
        let index = hits.iter().find(|&&i| std::ptr::eq(&entries[i], row.first));
        return Ok(Found { index: index.copied().unwrap_or(hits[0]), alike: row.count, names: name.clone() });
    }
    Err(Error::InvalidArgument(format!(
        "\"{}\" stands for {} tensors that are not decided alike:{}",
        printable(query),
        hits.len(),
        listed(&names)
    )))
}

fn group_names(groups: &[Group]) -> Vec<String> {
    let name = |group: &Group, row: &str| match group.blocks {
        0 => printable(row),
        _ => printable(&format!("{}.{row}", group.name)),
    };
    groups.iter().flat_map(|g| g.rows.iter().map(move |row| name(g, &row.name))).collect()
}

fn listed(names: &[String]) -> String {
    let mut text: String = names.iter().take(MAX_LISTED).map(|name| format!("\n  {name}")).collect();
    if names.len() > MAX_LISTED {
        text += &format!("\n  … and {} more", names.len() - MAX_LISTED);
    }
    text
}

fn ends_with(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether the end of the name is the pattern, component by component, `*` being any characters.
fn pattern_ends(name: &str, pattern: &str) -> bool {
    let names: Vec<&str> = name.split('.').collect();
    let parts: Vec<&str> = pattern.split('.').collect();
    let Some(start) = names.len().checked_sub(parts.len()) else { return false };
    names[start..].iter().zip(&parts).all(|(name, part)| glob(part, name))
}

/// Whether `*`s of the pattern can be filled so that it becomes the text: each part as early as it comes.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// `layers.self_attn.q_proj` for `model.layers.3.self_attn.q_proj`.
fn normalized_ends(name: &str, wanted: &str) -> bool {
    let plain = |path: &str| normalize(path).0.replace(".*", "");
    !wanted.is_empty()
        && ends_with(&plain(name), &plain(wanted))
        && normalize(wanted).1.iter().all(|n| normalize(name).1.contains(n))
}

fn contains_module(name: &str, module: &str) -> bool {
    !module.is_empty() && format!(".{name}").contains(&format!(".{module}."))
}

/// Names like this one: each block's once.
fn unknown(entries: &[PlanEntry], query: &str) -> Error {
    let mut seen = BTreeSet::new();
    let wanted = short(query);
    let mut near: Vec<(usize, &str)> = Vec::new();
    for entry in entries {
        let name = short(&entry.source.name);
        let within = block_of(name).map_or(name, |(_, _, rest)| rest);
        if seen.insert(normalize(name).0) {
            let leaf = name.rsplit('.').next().unwrap_or(name);
            let distance = [name, within, leaf].into_iter().map(|n| edits(n, wanted)).min();
            near.push((distance.unwrap_or(usize::MAX), name));
        }
        if seen.len() >= MAX_COMPARED {
            break;
        }
    }
    near.sort();
    let limit = wanted.chars().count() / 3 + 1;
    let names: Vec<String> =
        near.iter().filter(|(d, _)| *d <= limit).take(5).map(|(_, name)| printable(name)).collect();
    let query = printable(query);
    Error::NotFound(match names.is_empty() {
        true => format!("no tensor or module is called \"{query}\""),
        false => format!("no tensor or module is called \"{query}\"; near to it are:{}", listed(&names)),
    })
}

/// Names that near misses are looked for in.
const MAX_COMPARED: usize = 10_000;

/// Characters to change, add or remove until one name is the other; of long names, of their starts.
fn edits(a: &str, b: &str) -> usize {
    const MOST: usize = 96;
    let b: Vec<char> = b.chars().take(MOST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(MOST).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_whole_components() {
        assert!(ends_with("a.b.q_proj", "q_proj") && ends_with("q_proj", "q_proj"));
        assert!(!ends_with("a.b.xq_proj", "q_proj"));
        assert!(pattern_ends("model.layers.3.mlp.up_proj", "layers.*.mlp.*_proj"));
        assert!(!pattern_ends("layers.3.mlp", "model.layers.3.mlp"));
        assert!(normalized_ends("model.layers.3.mlp.up_proj", "layers.mlp.up_proj"));
        assert!(!normalized_ends("model.layers.3.mlp.up_proj", "layers.4.mlp.up_proj"));
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("q_proj", "q_proj"), 0);
        assert_eq!(edits("q_proj", "qproj"), 1);
        assert_eq!(edits("up_proj", "pu_proj"), 2);
        assert_eq!(edits("", "abc"), 3);
    }
}
