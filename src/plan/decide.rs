//! What one version of transformers does with each tensor.

use std::collections::HashSet;

use super::architecture::Architecture;
use super::autoskip::{self, SkipList, automatic_v4, automatic_v5, given, held_in_fp32};
use super::fused::is_fused;
use super::generic::{Kind, is_embedding_leaf, is_expert};
use super::heads::Heads;
use super::matchers::Reader;
use super::names::{leaf, module_of, normalize};
use super::options::Experts;
use super::reason::{Converted, Kept};
use super::table::Row;
use super::types::{Profile, SourceTensor};
use crate::error::Result;

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 4.41.
    V441,
    /// 4.57.
    V457,
    /// 5.23.
    V523,
}

impl Version {
    fn is_v5(self) -> bool {
        self == Version::V523
    }

    fn reader(self) -> Reader {
        if self.is_v5() { Reader::V5 } else { Reader::V4 }
    }

    /// The version's name in words.
    pub const fn name(self) -> &'static str {
        match self {
            Version::V441 => "transformers 4.41",
            Version::V457 => "transformers 4.57",
            Version::V523 => "transformers 5",
        }
    }

    /// The profile that follows this version alone.
    pub const fn profile(self) -> &'static str {
        match self {
            Version::V441 => Profile::V441.name(),
            Version::V457 => Profile::V4.name(),
            Version::V523 => Profile::V5.name(),
        }
    }
}

/// Convert or keep, and why.
pub type Verdict = std::result::Result<Converted, Kept>;

/// The rules of one version, prepared for one checkpoint.
pub struct Rules<'a> {
    version: Version,
    architecture: &'a Architecture<'a>,
    row: Option<&'a Row>,
    /// Normalized paths of matrices that are no linear layers.
    non_linear: HashSet<String>,
    skip: SkipList,
    /// The caller's list has taken the place of the automatic one.
    own_list: bool,
    /// The table does not quite describe this file: its class or its names are others.
    other_names: bool,
    experts: Experts,
}

impl<'a> Rules<'a> {
    /// Prepares them. `list` takes the place of the automatic skip list, as in transformers; `offloaded`
    /// joins either.
    pub fn new(
        version: Version,
        architecture: &'a Architecture<'a>,
        list: Option<&[String]>,
        offloaded: &[String],
        experts: Experts,
    ) -> Result<Self> {
        let row = match version {
            Version::V441 => architecture.row_441.as_ref(),
            _ => architecture.row.as_ref(),
        };
        let non = row.map(|row| if version.is_v5() { row.non_v5() } else { row.non_v4() });
        let non = non.unwrap_or_default();
        let other_names = !(architecture.is_own_class() && architecture.has_all_embeddings(non));
        Ok(Rules {
            version,
            architecture,
            row,
            non_linear: row.map(|row| non_linear(row, non)).unwrap_or_default(),
            skip: skip_list(version, architecture, row, list, offloaded)?,
            own_list: list.is_some(),
            other_names,
            experts,
        })
    }

    /// An upper bound for the work of one verdict.
    pub fn cost(&self) -> u64 {
        self.skip.cost()
    }

    /// Whose rules these are.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Decides about one tensor.
    pub fn verdict(&self, tensor: &SourceTensor) -> Verdict {
        let rank = tensor.shape.dims().len();
        let Some((rows, _)) = tensor.shape.matrix() else {
            let fused = is_fused(self.architecture, tensor);
            return Err(if fused { Kept::FusedExperts } else { Kept::NotMatrix(rank) });
        };
        if !tensor.dtype.is_castable() {
            return Err(Kept::Dtype(tensor.dtype.safetensors_name()));
        }
        if !tensor.name.ends_with(".weight") {
            return self.without_weight(&tensor.name);
        }
        match self.row {
            Some(row) => self.by_table(row, &tensor.name, rows),
            None => self.by_name(&tensor.name, rows),
        }
    }

    /// Why the version's skip list, automatic or given, names a module.
    pub fn skipped(&self, module: &str) -> Option<&Kept> {
        self.skip.hit(self.version.reader(), &self.architecture.reader_paths(module))
    }

    /// Some 5.x layers keep their matrix in files under another name than `.weight`.
    fn without_weight(&self, name: &str) -> Verdict {
        let known = self.row.is_some_and(|row| row.linear.contains(&normalize(name)));
        if known && self.version.is_v5() { Ok(Converted::Linear) } else { Err(Kept::NotWeight) }
    }

    fn by_table(&self, row: &Row, name: &str, rows: u64) -> Verdict {
        let module = module_of(name);
        let table = normalize(&self.architecture.table_path(module));
        let expert = row.experts.contains(&table) || is_expert(module);
        if expert && self.experts == Experts::SixteenBit {
            return Err(Kept::ExpertAsked);
        }
        // Only 5.x says of experts that they are no layers: one by one, they are.
        let asked = expert && self.experts.converts_each();
        if self.non_linear.contains(&table) && !asked {
            return Err(self.why_not_linear(module, rows, expert));
        }
        if let Some(why) = self.by_name_all_the_same(row, name, rows) {
            return Err(why);
        }
        let paths = self.architecture.reader_paths(module);
        if let Some(why) = self.skip.hit(self.version.reader(), &paths) {
            return Err(why.clone());
        }
        Ok(match () {
            () if expert => Converted::Expert,
            () if row.conv1d.iter().any(|c| c == leaf(module)) => Converted::Conv1d,
            () => Converted::Linear,
        })
    }

    /// Files of other writers may have embeddings that the table does not list, and other names for
    /// routers: quantizing one of those would be the worst of mistakes.
    fn by_name_all_the_same(&self, row: &Row, name: &str, rows: u64) -> Option<Kept> {
        let module = module_of(name);
        let hints = &self.architecture.hints;
        if self.other_names && self.version.is_v5() && hints.is_router(module, rows) {
            return Some(Kept::Router);
        }
        let known = || row.linear.contains(&normalize(&self.architecture.table_path(name)));
        (hints.is_embedding(module, rows) && !known()).then_some(Kept::Embedding)
    }

    fn why_not_linear(&self, module: &str, rows: u64, expert: bool) -> Kept {
        match () {
            () if expert => Kept::Expert,
            () if self.architecture.hints.is_router(module, rows) => Kept::Router,
            () if is_embedding_leaf(leaf(module)) => Kept::Embedding,
            () => Kept::NotLinear(self.version.name()),
        }
    }

    fn by_name(&self, name: &str, rows: u64) -> Verdict {
        let module = module_of(name);
        let expert = is_expert(module);
        let keeps_experts = match self.experts {
            Experts::Auto => self.version.is_v5(),
            Experts::SixteenBit => true,
            Experts::FourBit | Experts::FusedFourBit => false,
        };
        if expert && keeps_experts {
            let asked = self.experts == Experts::SixteenBit;
            return Err(if asked { Kept::ExpertAsked } else { Kept::Expert });
        }
        if let Some(why) = self.skip.hit(self.version.reader(), &[module.to_owned()]) {
            return Err(why.clone());
        }
        let kind = self.architecture.hints.kind(name, rows, |n| self.architecture.has(n));
        match kind {
            Kind::Embedding => Err(Kept::Embedding),
            Kind::Fp32 => Err(Kept::Fp32(leaf(module).to_owned())),
            Kind::AttentionOut if self.version.is_v5() => Err(Kept::AttentionOut),
            Kind::Norm => Err(Kept::Norm),
            // The caller's list takes the place of what protects heads, not of what is no layer.
            Kind::Head if !self.own_list => Err(Kept::Head(module.to_owned())),
            Kind::Router => Err(Kept::Router),
            Kind::Linear | Kind::Head | Kind::AttentionOut if expert => Ok(Converted::Expert),
            Kind::Linear | Kind::Head | Kind::AttentionOut => {
                Ok(if self.architecture.is_conv1d(module) { Converted::Conv1d } else { Converted::Linear })
            }
        }
    }
}

/// The table's paths and what transformers 5 calls them; embeddings of the other version as well,
/// because a file may have been written by either.
fn non_linear(row: &Row, own: &[String]) -> HashSet<String> {
    let other = row.non_v4().iter().chain(row.non_v5()).filter(|n| is_embedding_leaf(leaf(n)));
    let all = own.iter().chain(other);
    all.flat_map(|n| row.renamed(n).into_iter().chain([n.clone()])).collect()
}

fn skip_list(
    version: Version,
    architecture: &Architecture,
    row: Option<&Row>,
    list: Option<&[String]>,
    offloaded: &[String],
) -> Result<SkipList> {
    let mut entries: Vec<_> = list.into_iter().flat_map(given).collect();
    if let Some(row) = row {
        let (tied_v5, tied_v4) = architecture.tied;
        let heads: Heads = architecture.heads(row);
        let fp32 = if version.is_v5() { &row.fp32 } else { row.fp32_v4() };
        if list.is_none() {
            entries.extend(match version {
                Version::V523 => automatic_v5(row, &heads, tied_v5),
                Version::V441 | Version::V457 => automatic_v4(row, &heads, tied_v4),
            });
        }
        entries.extend(held_in_fp32(fp32));
    }
    entries.extend(autoskip::offloaded(offloaded));
    SkipList::new(entries)
}
