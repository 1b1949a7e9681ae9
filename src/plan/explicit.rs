//! An explicit `llm_int8_skip_modules` that every reader reads alike.
//!
//! Full module paths mean the same to all four matchers, with few exceptions; where a path would also
//! name a layer that is to be converted, that layer is kept too, and the list is checked at the end.

use std::collections::{BTreeSet, HashMap};

use super::decide::Verdict;
use super::generic::is_expert;
use super::matchers::{PatternSet, Reader, is_plain};
use super::names::{is_number, leaf, natural_order, parent};
use super::reason::Kept;
use crate::error::{Result, err};

/// A module with a 2-D weight.
pub struct Module {
    /// Every path some reader may have for it, the file's first.
    pub paths: Vec<String>,
    /// What is to become of it.
    pub verdict: Verdict,
    /// Whether some reader takes it for a linear layer, so that the list must name it if it is kept.
    pub is_layer: bool,
}

/// Layers that vLLM fuses into one: their leaves and the fused one's.
const FUSED: [(&[&str], &str); 2] =
    [(&["q_proj", "k_proj", "v_proj"], "qkv_proj"), (&["gate_proj", "up_proj"], "gate_up_proj")];

/// Look-ups that a list may cost: far above any real checkpoint.
const MAX_WORK: u64 = 2_000_000_000;

/// Makes the list for these readers. `heads` are paths of layers that the file may lack (a tied output head); `hints`
/// are paths worth naming if that harms nothing. Verdicts of layers that the list cannot help naming
/// are changed to kept.
pub fn skip_list(
    modules: &mut [Module],
    heads: &[String],
    hints: &[String],
    readers: &[Reader],
) -> Result<Vec<String>> {
    let mut list: BTreeSet<String> = heads.iter().filter_map(|path| entry(path)).collect();
    for module in modules.iter().filter(|m| m.is_layer && m.verdict.is_err()) {
        list.extend(entries(module));
    }
    loop {
        let shadowed = keep_shadowed(modules, &list, readers)?;
        let fused = if readers.contains(&Reader::Vllm) { keep_fused(modules) } else { Vec::new() };
        for i in shadowed.iter().chain(&fused) {
            list.extend(entries(&modules[*i]));
        }
        if shadowed.is_empty() && fused.is_empty() {
            break;
        }
    }
    let mut optional: BTreeSet<String> = hints.iter().filter_map(|path| entry(path)).collect();
    optional.extend(fused_names(modules));
    list.extend(harmless(modules, optional, readers)?);
    if let Some(odd) = list.iter().find(|path| !is_plain(path)) {
        return Err(err!(
            Unsupported,
            "module \"{odd}\" stays in 16 bit, but its name has characters that transformers 5 would \
             read as a regular expression: no skip list can say so to every reader"
        ));
    }
    let mut list: Vec<String> = list.into_iter().collect();
    list.sort_by(|a, b| natural_order(a, b));
    match lint(modules, &list, readers)?.first() {
        Some(disagreement) => Err(err!(Unsupported, "llm_int8_skip_modules: {disagreement}")),
        None => Ok(list),
    }
}

/// Where a reader would not do with a layer what its verdict says, in words.
pub fn lint(modules: &[Module], list: &[String], readers: &[Reader]) -> Result<Vec<String>> {
    let set = PatternSet::new(list)?;
    check_work(modules.len(), &set)?;
    let mut found = Vec::new();
    for module in modules.iter().filter(|m| m.is_layer || m.verdict.is_ok()) {
        for reader in readers {
            for path in &module.paths {
                let hit = set.skips(*reader, path);
                match (&module.verdict, hit) {
                    (Ok(_), Some(entry)) => found.push(format!(
                        "{} would skip \"{path}\", which is converted, because of \"{entry}\"",
                        reader.name()
                    )),
                    (Err(_), None) => {
                        found.push(format!("{} would convert \"{path}\", which is kept", reader.name()))
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}

/// Keeps converted modules that an entry names besides; their numbers.
fn keep_shadowed(modules: &mut [Module], list: &BTreeSet<String>, readers: &[Reader]) -> Result<Vec<usize>> {
    // Regular expressions are no part of a list of paths: odd names are refused later.
    let set = PatternSet::new(list.iter().filter(|path| is_plain(path)))?;
    check_work(modules.len(), &set)?;
    let mut kept = Vec::new();
    for (i, module) in modules.iter_mut().enumerate().filter(|(_, m)| m.verdict.is_ok()) {
        let hit = readers.iter().find_map(|reader| {
            let entry = module.paths.iter().find_map(|path| set.skips(*reader, path))?;
            Some(Kept::Shadowed { entry: entry.to_owned(), reader: reader.name() })
        });
        if let Some(why) = hit {
            module.verdict = Err(why);
            module.is_layer = true;
            kept.push(i);
        }
    }
    Ok(kept)
}

/// Keeps converted modules of which a fused sibling is kept; their numbers.
fn keep_fused(modules: &mut [Module]) -> Vec<usize> {
    let mut siblings: HashMap<(String, &str), Vec<usize>> = HashMap::new();
    for (i, module) in modules.iter().enumerate().filter(|(_, m)| m.is_layer || m.verdict.is_ok()) {
        if let Some(fused) = fused_leaf(&module.paths[0]) {
            siblings.entry((parent(&module.paths[0]).to_owned(), fused)).or_default().push(i);
        }
    }
    let mut kept = Vec::new();
    for group in siblings.into_values() {
        let Some(first) = group.iter().find(|&&i| modules[i].verdict.is_err()) else { continue };
        let why = Kept::Fused(leaf(&modules[*first].paths[0]).to_owned());
        for i in group {
            if modules[i].verdict.is_ok() {
                modules[i].verdict = Err(why.clone());
                modules[i].is_layer = true;
                kept.push(i);
            }
        }
    }
    kept.sort_unstable();
    kept
}

fn fused_leaf(path: &str) -> Option<&'static str> {
    FUSED.iter().find(|(leaves, _)| leaves.contains(&leaf(path))).map(|(_, fused)| *fused)
}

/// The names vLLM gives to kept layers that it fuses.
fn fused_names(modules: &[Module]) -> impl Iterator<Item = String> {
    let kept = modules.iter().filter(|m| m.is_layer && m.verdict.is_err() && !is_expert(&m.paths[0]));
    kept.flat_map(|m| &m.paths).filter_map(|path| {
        let fused = fused_leaf(path)?;
        Some(format!("{}.{fused}", parent(path)))
    })
}

/// Of optional entries those that name no converted module.
fn harmless(
    modules: &[Module],
    mut optional: BTreeSet<String>,
    readers: &[Reader],
) -> Result<BTreeSet<String>> {
    optional.retain(|path| is_plain(path));
    loop {
        let set = PatternSet::new(&optional)?;
        check_work(modules.len(), &set)?;
        let converted = modules.iter().filter(|m| m.verdict.is_ok()).flat_map(|m| &m.paths);
        let hits: BTreeSet<String> = converted
            .flat_map(|path| readers.iter().filter_map(|reader| set.skips(*reader, path)))
            .map(str::to_owned)
            .collect();
        if hits.is_empty() {
            return Ok(optional);
        }
        optional.retain(|path| !hits.contains(path));
    }
}

fn entries(module: &Module) -> impl Iterator<Item = String> {
    let expert = is_expert(&module.paths[0]);
    module.paths.iter().filter_map(move |path| if expert { container(path) } else { entry(path) })
}

/// The path as it stands in a list: the container where the last component is a number (`layers.1`
/// also matches `layers.10` where matches are not anchored).
fn entry(path: &str) -> Option<String> {
    let mut path = path;
    while is_number(leaf(path)) {
        path = parent(path);
    }
    (!path.is_empty()).then(|| path.to_owned())
}

/// All experts of a layer: one by one they would make the list as long as the checkpoint.
fn container(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.iter().rposition(|part| *part == "experts") {
        Some(at) => Some(parts[..=at].join(".")),
        None => entry(path),
    }
}

fn check_work(modules: usize, set: &PatternSet) -> Result<()> {
    let work = (modules as u64).saturating_mul(4).saturating_mul(set.cost());
    if work > MAX_WORK {
        return Err(err!(
            Unsupported,
            "{modules} modules and a skip list as irregular as this one are too many to check against \
             each other: give a skip list of containers, or profile v4 or v5"
        ));
    }
    Ok(())
}
