//! A checkpoint with the rules that apply to it: every tensor's verdict, and the skip list.

use super::architecture::Architecture;
use super::decide::{Rules, Verdict, Version};
use super::devices;
use super::exclude::ModulePatterns;
use super::explicit::{Module, skip_list};
use super::fused;
use super::generic::{is_embedding_leaf, is_expert};
use super::matchers::Reader;
use super::names::{leaf, module_of, parent};
use super::notes::notes;
use super::options::{Experts, PlanOptions};
use super::reason::Kept;
use super::types::{Mode, Profile, SourceTensor};
use crate::error::{Result, err};

/// Look-ups that deciding may cost: far above any real checkpoint.
const MAX_WORK: u64 = 2_000_000_000;

impl Profile {
    /// The versions whose plans are intersected.
    pub(super) fn versions(self, architecture: &Architecture) -> Vec<Version> {
        let only = architecture.row.as_ref().and_then(|row| row.only.as_deref());
        match (self, only) {
            (Profile::Portable, Some("v5")) | (Profile::V5, _) => vec![Version::V523],
            (Profile::Portable, Some("v4")) | (Profile::V4, _) => vec![Version::V457],
            (Profile::Portable, _) => vec![Version::V523, Version::V457],
            (Profile::V441, _) => vec![Version::V441],
        }
    }

    /// Whose reading an explicit list must agree with.
    fn readers(self) -> &'static [Reader] {
        match self {
            Profile::Portable => &Reader::ALL,
            Profile::V5 => &[Reader::V5],
            Profile::V4 | Profile::V441 => &[Reader::V4],
        }
    }

    /// The version whose casts are followed.
    pub(super) fn casts_like(self) -> Version {
        match self {
            Profile::Portable | Profile::V5 => Version::V523,
            Profile::V4 => Version::V457,
            Profile::V441 => Version::V441,
        }
    }
}

/// A checkpoint with the rules that apply to it.
pub struct Draft<'a> {
    architecture: &'a Architecture<'a>,
    tensors: &'a [SourceTensor],
    options: &'a PlanOptions,
    rules: Vec<Rules<'a>>,
    /// The caller's patterns, where they are the library's own.
    skip: ModulePatterns,
    include: ModulePatterns,
    /// An explicit device map keeps modules unquantized.
    offloads: bool,
}

impl<'a> Draft<'a> {
    /// Prepares the rules of every version that has a say.
    pub fn new(
        architecture: &'a Architecture<'a>,
        tensors: &'a [SourceTensor],
        options: &'a PlanOptions,
    ) -> Result<Self> {
        let portable = options.profile == Profile::Portable;
        let list = if portable { None } else { options.skip.as_deref() };
        let own = if portable { options.skip.as_deref() } else { None };
        let offloaded = devices::offloaded(options)?;
        let rules = options.profile.versions(architecture).into_iter();
        let rules: Vec<_> = rules
            .map(|version| Rules::new(version, architecture, list, &offloaded, options.experts))
            .collect::<Result<_>>()?;
        let work = rules.iter().map(Rules::cost).sum::<u64>().saturating_mul(tensors.len() as u64);
        if work > MAX_WORK {
            return Err(err!(
                InvalidArgument,
                "a skip list of {} irregular entries is too long for {} tensors",
                list.unwrap_or_default().len(),
                tensors.len()
            ));
        }
        Ok(Draft {
            architecture,
            tensors,
            options,
            rules,
            skip: ModulePatterns::new(own.unwrap_or_default()),
            include: ModulePatterns::new(&options.include),
            offloads: !offloaded.is_empty(),
        })
    }

    /// Every tensor's verdict, and the skip list to write.
    pub fn finish(&self) -> Result<(Vec<Verdict>, Option<Vec<String>>)> {
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(self.tensors.len());
        let mut modules = Vec::new();
        let mut owners = Vec::new();
        let mut routers = Vec::new();
        let mut kept_fused = Vec::new();
        for (i, tensor) in self.tensors.iter().enumerate() {
            let each: Vec<Verdict> = self.rules.iter().map(|r| r.verdict(tensor)).collect();
            let verdict = self.intersect(tensor, &each);
            if tensor.shape.matrix().is_some() && tensor.name.ends_with(".weight") {
                let is_layer = each.iter().any(is_layer) || self.may_be_layer(&verdict);
                if !is_layer && verdict == Err(Kept::Router) {
                    routers.extend(self.architecture.reader_paths(module_of(&tensor.name)));
                }
                let paths = self.architecture.reader_paths(module_of(&tensor.name));
                modules.push(Module { paths, verdict: verdict.clone(), is_layer });
                owners.push(i);
            }
            if self.converts_fused(&each) && verdict.is_err() {
                kept_fused.extend(self.architecture.reader_paths(module_of(&tensor.name)));
            }
            verdicts.push(verdict);
        }
        if !self.needs_list() {
            return Ok((verdicts, self.options.skip.clone()));
        }
        let (mut heads, mut hints) = self.absent_heads();
        // Nobody else looks for them, but whoever reads this list must know that they are plain.
        heads.extend(kept_fused);
        hints.extend(routers);
        let mut list = skip_list(&mut modules, &heads, &hints, self.options.profile.readers())?;
        for (module, i) in modules.into_iter().zip(owners) {
            verdicts[i] = module.verdict;
        }
        if let (Some(given), false) = (&self.options.skip, self.options.profile == Profile::Portable) {
            list.extend(given.iter().filter(|entry| !list.contains(entry)).cloned().collect::<Vec<_>>());
        }
        Ok((verdicts, Some(list)))
    }

    /// Whether what is decided differs from what the version would decide by itself, or might, where
    /// there is no table to know it.
    fn needs_list(&self) -> bool {
        self.options.profile == Profile::Portable
            || (self.architecture.mode() == Mode::Generic && self.options.skip.is_none())
            || !self.include.is_empty()
            || self.options.experts != Experts::Auto
            || self.offloads
    }

    /// Converted only if every version converts it and nothing else speaks against it.
    fn intersect(&self, tensor: &SourceTensor, each: &[Verdict]) -> Verdict {
        let module = module_of(&tensor.name);
        let fused = self.converts_fused(each);
        let own = fused.then(|| self.fused(tensor));
        if let Some(kept) = own.iter().chain(each.iter().filter(|_| !fused)).find(|v| v.is_err()) {
            return kept.clone();
        }
        let paths = || self.architecture.reader_paths(module);
        if self.options.profile == Profile::Portable {
            let rows = tensor.shape.dims()[0];
            if self.architecture.hints.is_router(module, rows) {
                return Err(Kept::Router);
            }
            if self.is_mamba_projection(module) {
                return Err(Kept::Mamba);
            }
            if is_expert(module) && self.options.experts == Experts::Auto {
                return Err(Kept::Expert);
            }
            if let Some(pattern) = self.skip.hit(&paths()) {
                return Err(Kept::Skip(pattern.to_owned()));
            }
        }
        if !self.include.is_empty() && self.include.hit(&paths()).is_none() {
            return Err(Kept::NotIncluded);
        }
        own.or_else(|| each.first().cloned()).unwrap_or(Err(Kept::NotWeight))
    }

    /// Whether a tensor holds fused experts that are to be converted if possible.
    fn converts_fused(&self, each: &[Verdict]) -> bool {
        self.options.experts == Experts::FusedFourBit && each.contains(&Err(Kept::FusedExperts))
    }

    /// What this library does with fused experts, which no version of transformers converts.
    fn fused(&self, tensor: &SourceTensor) -> Verdict {
        let named = self.rules.iter().find_map(|rules| rules.skipped(module_of(&tensor.name)));
        match named {
            Some(why) => Err(why.clone()),
            None => fused::verdict(self.architecture, tensor, self.options.spec.block_size),
        }
    }

    /// `dt_proj`, `x_proj` and `out_proj` of a Mamba mixer, which is known by its parameters.
    fn is_mamba_projection(&self, module: &str) -> bool {
        let mixer = parent(module);
        matches!(leaf(module), "dt_proj" | "x_proj" | "out_proj")
            && self.architecture.has(&format!("{mixer}.A_log"))
            && self.architecture.has(&format!("{mixer}.D"))
    }

    /// Without a table nobody can tell for sure that a kept matrix is no linear layer.
    fn may_be_layer(&self, verdict: &Verdict) -> bool {
        let unsure = self.architecture.mode() == Mode::Generic;
        match verdict {
            Err(Kept::Norm | Kept::Router | Kept::NotLinear(_)) => unsure,
            Err(Kept::Dtype(_)) => true,
            _ => false,
        }
    }

    /// Output heads that the file may lack because they are tied, under all their names: those that must
    /// be in a list, and those that had better be.
    fn absent_heads(&self) -> (Vec<String>, Vec<String>) {
        let architecture = self.architecture;
        let Some(row) = &architecture.row else {
            return (Vec::new(), vec!["lm_head".to_owned()]);
        };
        let heads = architecture.heads(row);
        let mut paths: Vec<String> = heads.out.iter().cloned().collect();
        if heads.out.is_some() {
            paths.extend(row.out_mods.iter().cloned());
        }
        if heads.ties && (architecture.tied.0 || architecture.tied.1) {
            let names = row.tied.iter().flat_map(|(target, source)| [target, source]);
            let modules = names.filter_map(|name| name.strip_suffix(".weight"));
            let layers = modules.filter(|m| {
                !is_embedding_leaf(leaf(m)) && !leaf(m).contains("norm") && !architecture.knows_non_linear(m)
            });
            paths.extend(layers.map(str::to_owned));
        }
        let renamed: Vec<String> = paths.iter().flat_map(|p| row.renamed(p)).collect();
        paths.extend(renamed);
        (paths, Vec::new())
    }

    /// What a person should know besides the list of tensors.
    pub fn notes(&self, verdicts: &[Verdict]) -> Vec<String> {
        let converts = |rules: &Rules| self.tensors.iter().filter(|t| rules.verdict(t).is_ok()).count();
        let by_version: Vec<_> = if verdicts.iter().any(Result::is_ok) || self.rules.len() == 1 {
            Vec::new()
        } else {
            self.rules.iter().map(|rules| (rules.version(), converts(rules))).collect()
        };
        notes(self.architecture, self.tensors, verdicts, self.options, &self.idle(), &by_version)
    }

    fn idle(&self) -> Vec<String> {
        let modules: Vec<Vec<String>> = if self.skip.is_empty() && self.include.is_empty() {
            Vec::new()
        } else {
            let weights = self.tensors.iter().filter(|t| t.name.ends_with(".weight"));
            weights.map(|t| self.architecture.reader_paths(module_of(&t.name))).collect()
        };
        let idle = self.skip.idle(&modules).into_iter().chain(self.include.idle(&modules));
        idle.map(str::to_owned).collect()
    }
}

/// Whether a version takes a matrix for a linear layer, converted or not.
fn is_layer(verdict: &Verdict) -> bool {
    match verdict {
        Ok(_) => true,
        Err(kept) => !matches!(
            kept,
            Kept::Embedding
                | Kept::Norm
                | Kept::Router
                | Kept::NotLinear(_)
                | Kept::NotWeight
                | Kept::NotMatrix(_)
                | Kept::FusedExperts
                | Kept::FusedBlocks { .. }
                | Kept::Dtype(_)
        ),
    }
}
