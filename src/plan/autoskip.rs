//! The list of modules that transformers leaves alone when no `llm_int8_skip_modules` is given
//! (`get_keys_to_not_convert` of 4.41 to 4.57 and of 5.x), with the reason for each entry.

use super::architecture::Architecture;
use super::heads::Heads;
use super::matchers::{PatternSet, Reader};
use super::reason::Kept;
use super::table::Row;
use crate::error::Result;

/// A skip list and what each entry stands for.
#[derive(Debug, Default)]
pub struct SkipList {
    entries: Vec<(String, Kept)>,
    patterns: PatternSet,
}

impl SkipList {
    /// Of several entries of the same name the first one gives the reason.
    pub fn new(entries: Vec<(String, Kept)>) -> Result<Self> {
        let patterns = PatternSet::new(entries.iter().map(|(name, _)| name))?;
        Ok(SkipList { entries, patterns })
    }

    /// Why `reader` skips one of these paths of a module, if it does.
    pub fn hit(&self, reader: Reader, paths: &[String]) -> Option<&Kept> {
        let pattern = paths.iter().find_map(|path| self.patterns.skips(reader, path))?;
        self.entries.iter().find(|(name, _)| name == pattern).map(|(_, why)| why)
    }

    /// An upper bound for the work of one match.
    pub fn cost(&self) -> u64 {
        self.patterns.cost()
    }
}

/// The automatic list of transformers 5: tied names if anything is tied, the last parameter, the
/// output embedding; of each only a trailing `.weight` is taken off.
pub fn automatic_v5(row: &Row, heads: &Heads, tied: bool) -> Vec<(String, Kept)> {
    let strip = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_owned();
    let mut list = Vec::new();
    if let Some(out) = &heads.out {
        // A file may have either of the head's names.
        let names = row.out_mods.iter().chain([out]);
        list.extend(names.map(|name| (name.clone(), Kept::Head(name.clone()))));
    }
    if tied && heads.ties {
        for (target, source) in &row.tied {
            list.push((strip(target), Kept::Tied(source.clone())));
            list.push((strip(source), Kept::Tied(target.clone())));
        }
    }
    if let Some(last) = &heads.last {
        list.push((strip(last), Kept::Last(strip(last))));
    }
    list
}

/// The automatic list of transformers 4: the output embedding alone, unless something is tied or
/// there is none; then tied names and the last parameter, with `.weight` and `.bias` taken out
/// wherever they stand.
pub fn automatic_v4(row: &Row, heads: &Heads, tied: bool) -> Vec<(String, Kept)> {
    let strip = |name: &str| name.replace(".weight", "").replace(".bias", "");
    let groups = if tied && heads.ties { row.tied_v4() } else { Vec::new() };
    let head = heads.out.as_ref().map(|out| (out.clone(), Kept::Head(out.clone())));
    if groups.is_empty() && head.is_some() {
        return head.into_iter().collect();
    }
    let mut list = Vec::new();
    for group in &groups {
        for name in group {
            let other = group.iter().find(|other| *other != name).unwrap_or(name);
            let why = match &heads.out {
                Some(out) if strip(name) == *out => Kept::Head(out.clone()),
                _ => Kept::Tied(other.clone()),
            };
            list.push((strip(name), why));
        }
    }
    if let Some(last) = &heads.last_v4 {
        list.push((strip(last), Kept::Last(strip(last))));
    }
    list
}

impl Architecture<'_> {
    /// Names of the automatic list of transformers 4.
    pub fn automatic_skip_v4(&self, row: &Row) -> Vec<String> {
        let list = automatic_v4(row, &self.heads(row), self.tied.1);
        list.into_iter().map(|(name, _)| name).collect()
    }
}

/// Names of `_keep_in_fp32_modules`, which join every list.
pub fn held_in_fp32(names: &[String]) -> impl Iterator<Item = (String, Kept)> + '_ {
    names.iter().map(|name| (name.clone(), Kept::Fp32(name.clone())))
}

/// Modules that an explicit device map offloads.
pub fn offloaded(names: &[String]) -> impl Iterator<Item = (String, Kept)> + '_ {
    names.iter().map(|name| (name.clone(), Kept::Offloaded(name.clone())))
}

/// The caller's own list.
pub fn given(names: &[String]) -> impl Iterator<Item = (String, Kept)> + '_ {
    names.iter().map(|name| (name.clone(), Kept::Skip(name.clone())))
}
