//! A plan's tensors, folded: blocks that are decided alike become one, and in them lists (of experts)
//! that are decided alike.

use std::collections::BTreeMap;

use fourbit::device_map::MapDevice;
use fourbit::dtype::DType;
use fourbit::plan::{Action, PlanEntry};
use fourbit::shape::Shape;

use crate::cli::names::{is_number, normalize, ranges};

/// What is decided about a tensor, apart from its numbers: the reason may name neighbours in the same
/// block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Decision {
    shape: Vec<u64>,
    stored: &'static str,
    converted: bool,
    transposed: bool,
    target: &'static str,
    reason: String,
    device: Option<MapDevice>,
}

/// Tensors of a group that are decided alike.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    /// The name within the block, numbers of lists as ranges: `mlp.experts.0-7.w1`.
    pub name: String,
    /// The first of them.
    pub first: &'a PlanEntry,
    /// Why, with `*` for numbers where they differ.
    pub reason: String,
    /// Tensors.
    pub count: usize,
    /// Bytes of all of them in the source.
    pub before: u64,
    /// Bytes of all of them in the output.
    pub after: u64,
}

/// Blocks that are alike, or the tensors outside of any.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    /// `model.layers.0-29`; empty for what lies outside.
    pub name: String,
    /// Number of blocks; 0 for what lies outside.
    pub blocks: usize,
    /// In the order of the checkpoint.
    pub rows: Vec<Row<'a>>,
}

impl Group<'_> {
    /// Tensors, and their bytes before and after.
    pub fn totals(&self) -> (usize, u64, u64) {
        let sum = |(n, before, after): (usize, u64, u64), row: &Row| {
            (n + row.count, before.saturating_add(row.before), after.saturating_add(row.after))
        };
        self.rows.iter().fold((0, 0, 0), sum)
    }
}

/// A block's rows before they are merged with those of its like: key, numbers, entry.
type Parts<'a> = BTreeMap<(usize, String, Decision), Vec<(Vec<u64>, &'a PlanEntry)>>;

/// Folds entries, which come in natural order.
pub(crate) fn fold<'a>(entries: impl IntoIterator<Item = &'a PlanEntry>) -> Vec<Group<'a>> {
    let mut outside = Vec::new();
    let mut blocks: Vec<(String, u64, Vec<(&'a str, &'a PlanEntry)>)> = Vec::new();
    for entry in entries {
        let name = entry.source.name.as_str();
        match block_of(name) {
            None => outside.push((name, entry)),
            Some((list, number, rest)) => match blocks.last_mut() {
                Some((last, n, members)) if last == list && *n == number => members.push((rest, entry)),
                _ => blocks.push((list.to_owned(), number, vec![(rest, entry)])),
            },
        }
    }
    let mut groups = Vec::new();
    if !outside.is_empty() {
        let rows = rows(&parts(&outside), 1);
        groups.push(Group { name: String::new(), blocks: 0, rows });
    }
    groups.extend(alike(blocks));
    groups
}

/// `model.layers.3.mlp.up_proj.weight`: `model.layers`, 3, `mlp.up_proj.weight`.
pub(crate) fn block_of(name: &str) -> Option<(&str, u64, &str)> {
    let mut at = 0;
    for component in name.split('.') {
        let end = at + component.len();
        // Only plain numbers, so that writing them back gives the name.
        let number = is_number(component).then(|| component.parse::<u64>().ok()).flatten();
        if let Some(number) = number.filter(|n| n.to_string() == component && end < name.len()) {
            return Some((name[..at].trim_end_matches('.'), number, &name[end + 1..]));
        }
        at = end + 1;
    }
    None
}

/// What a block's parts have in common with those of its like.
fn signature(parts: &Parts) -> Vec<(String, Decision, Vec<Vec<u64>>)> {
    let numbers = |members: &[(Vec<u64>, &PlanEntry)]| members.iter().map(|(n, _)| n.clone()).collect();
    parts.iter().map(|((_, name, decision), m)| (name.clone(), decision.clone(), numbers(m))).collect()
}

/// Puts blocks of a list that are alike into one group, the one with the first of them first.
fn alike<'a>(blocks: Vec<(String, u64, Vec<(&'a str, &'a PlanEntry)>)>) -> Vec<Group<'a>> {
    struct Kind<'a> {
        list: String,
        signature: Vec<(String, Decision, Vec<Vec<u64>>)>,
        numbers: Vec<u64>,
        merged: Parts<'a>,
    }
    let mut kinds: Vec<Kind> = Vec::new();
    let mut known: BTreeMap<(String, Vec<(String, Decision, Vec<Vec<u64>>)>), usize> = BTreeMap::new();
    for (list, number, members) in blocks {
        let parts = parts(&members);
        let signature = signature(&parts);
        match known.get(&(list.clone(), signature.clone())) {
            Some(&i) => {
                kinds[i].numbers.push(number);
                for (key, mut members) in parts {
                    kinds[i].merged.entry(key).or_default().append(&mut members);
                }
            }
            None => {
                known.insert((list.clone(), signature.clone()), kinds.len());
                kinds.push(Kind { list, signature, numbers: vec![number], merged: parts });
            }
        }
    }
    let group = |kind: Kind<'a>| {
        debug_assert_eq!(kind.signature.len(), kind.merged.len());
        let dot = if kind.list.is_empty() { "" } else { "." };
        Group {
            name: format!("{}{dot}{}", kind.list, ranges(&kind.numbers)),
            blocks: kind.numbers.len(),
            rows: rows(&kind.merged, kind.numbers.len()),
        }
    };
    kinds.into_iter().map(group).collect()
}

/// Groups the tensors of one block by name without numbers and decision, in the order of the first.
fn parts<'a>(members: &[(&'a str, &'a PlanEntry)]) -> Parts<'a> {
    let mut order: BTreeMap<(String, Decision), usize> = BTreeMap::new();
    let mut parts: Parts = BTreeMap::new();
    for (name, entry) in members {
        let (pattern, numbers) = normalize(name);
        let key = (pattern, Decision::of(entry));
        let next = order.len();
        let position = *order.entry(key.clone()).or_insert(next);
        parts.entry((position, key.0, key.1)).or_default().push((numbers, entry));
    }
    parts
}

impl Decision {
    fn of(entry: &PlanEntry) -> Self {
        let (converted, transposed, target) = match entry.action {
            Action::Quantize { dtype, transpose } => (true, transpose, DType::from(dtype)),
            Action::Keep { dtype } => (false, false, dtype),
        };
        Decision {
            shape: Shape::dims(&entry.source.shape).to_vec(),
            stored: entry.source.dtype.safetensors_name(),
            converted,
            transposed,
            target: target.safetensors_name(),
            reason: without_numbers(&entry.reason),
            device: entry.device,
        }
    }
}

/// A reason with `*` for the numbers of the paths in it.
fn without_numbers(reason: &str) -> String {
    let word = |word: &str| if word.contains('.') { normalize(word).0 } else { word.to_owned() };
    reason.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn rows<'a>(parts: &Parts<'a>, blocks: usize) -> Vec<Row<'a>> {
    let row =
        |((_, pattern, decision), members): (&(usize, String, Decision), &Vec<(Vec<u64>, &'a PlanEntry)>)| {
            let first = members[0].1;
            let same = members.iter().all(|(_, entry)| entry.reason == first.reason);
            let sum = |bytes: fn(&PlanEntry) -> u64| members.iter().map(|(_, e)| bytes(e)).sum();
            Row {
                name: with_ranges(pattern, members, blocks),
                first,
                reason: if same { first.reason.clone() } else { decision.reason.clone() },
                count: members.len(),
                before: sum(|e| e.bytes_before),
                after: sum(|e| e.bytes_after),
            }
        };
    parts.iter().map(row).collect()
}

/// The pattern with the numbers of a list in place of its `*`, as far as that says all.
fn with_ranges(pattern: &str, members: &[(Vec<u64>, &PlanEntry)], blocks: usize) -> String {
    let Some((first, _)) = members.first() else { return pattern.to_owned() };
    let once = members.len() == blocks;
    if !(once || first.len() == 1) {
        return pattern.to_owned();
    }
    let mut numbers = first.iter();
    let fill = |component: &str| match component {
        "*" if once => numbers.next().map_or("*".to_owned(), u64::to_string),
        "*" => {
            let mut all: Vec<u64> = members.iter().filter_map(|(n, _)| n.first().copied()).collect();
            all.sort_unstable();
            all.dedup();
            ranges(&all)
        }
        other => other.to_owned(),
    };
    pattern.split('.').map(fill).collect::<Vec<_>>().join(".")
}
