//! A model made of a plan: modules from the names of tensors, sizes from what becomes of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::flavour::Flavour;
use super::registration::registration_order;
use super::ties::groups_of_pairs;
use super::tree::{Model, ModuleRow, ModuleTree, TensorRow};
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::plan::{Action, Architecture, Plan, PlanEntry, SourceTensor};
use crate::quant::{Geometry, QuantSpec};

/// Bytes of all module paths together: far above any real model's.
const MAX_PATH_BYTES: usize = 1 << 28;

/// What a device map is computed from: the modules that the names of a plan's tensors tell of, with the
/// blocks that stay whole. `spec` is what weights are quantized with.
///
/// Blocks are the items of the outermost lists of modules (`model.layers.3`); where the table of
/// architectures knows a class of embeddings that is not split, modules called `embeddings` are blocks
/// too. Modules without tensors in the file (rotary embeddings) are not there, but for heads that are
/// tied to an embedding.
pub fn model_of_plan(config: &Value, plan: &Plan, spec: &QuantSpec) -> Result<Model> {
    let sources: Vec<SourceTensor> = plan.entries.iter().map(|entry| entry.source.clone()).collect();
    let architecture = Architecture::new(config, &sources)?;
    let flavour = Flavour::from(plan.profile);
    let present: HashSet<&str> = sources.iter().map(|t| t.name.as_str()).collect();
    let tied = tied_groups(&architecture, flavour, &present);
    let mut rows = Rows { classes: no_split(&architecture), modules: HashMap::new(), path_bytes: 0 };
    let mut shared = HashSet::new();
    let mut shapes: HashMap<&str, &PlanEntry> = HashMap::new();
    for group in &tied {
        let source =
            group.iter().filter(|n| present.contains(n.as_str())).min_by(|a, b| registration_order(a, b));
        shared.extend(group.iter().filter(|name| Some(*name) != source).map(String::as_str));
    }
    for entry in &plan.entries {
        shapes.insert(&entry.source.name, entry);
        rows.add(&entry.source.name, tensor(entry, spec, shared.contains(entry.source.name.as_str())))?;
    }
    for name in tied.iter().flatten().filter(|name| !present.contains(name.as_str())) {
        let group = tied.iter().find(|group| group.contains(name));
        let source = group.and_then(|group| group.iter().find_map(|n| shapes.get(n.as_str())));
        if let Some(entry) = source {
            rows.add(name, tensor(entry, spec, true))?;
        }
    }
    let (not_converted, fp32) = not_converted(&architecture, plan, flavour);
    let special_dtypes = special_dtypes(plan, &not_converted, &fp32);
    let (rows, no_split) = rows.finish();
    Ok(Model { tree: ModuleTree::new(rows)?, no_split, tied, not_converted, special_dtypes })
}

fn tensor(entry: &PlanEntry, spec: &QuantSpec, tied: bool) -> TensorRow {
    let numel = entry.source.shape.numel();
    let (dtype, quantized, bytes) = match entry.action {
        Action::Quantize { dtype, .. } => {
            let geometry = Geometry { numel, block_size: spec.block_size };
            (DType::from(dtype), true, geometry.part_bytes(spec.double_quant))
        }
        Action::Keep { dtype } => (dtype, false, numel.saturating_mul(dtype.size() as u64)),
    };
    TensorRow { name: String::new(), numel, dtype, quantized, tied, bytes }
}

/// Groups that are tied in this checkpoint, as far as the file has one of the names.
fn tied_groups(architecture: &Architecture, flavour: Flavour, present: &HashSet<&str>) -> Vec<Vec<String>> {
    let Some(row) = &architecture.row else { return Vec::new() };
    let (tied, groups) = match flavour {
        Flavour::V523 => (architecture.tied.0, groups_of_pairs(&row.tied)),
        Flavour::V457 | Flavour::V441 => (architecture.tied.1, row.tied_v4()),
    };
    if !tied || !architecture.heads(row).ties {
        return Vec::new();
    }
    groups.into_iter().filter(|group| group.iter().any(|name| present.contains(name.as_str()))).collect()
}

/// What 4.x counts in full: parameters whose names contain an entry of `not_converted`, in the load
/// dtype, or the name of a module held in float32.
fn special_dtypes(plan: &Plan, not_converted: &[String], fp32: &[String]) -> HashMap<String, FloatType> {
    let contains = |name: &str, entries: &[String]| entries.iter().any(|entry| name.contains(entry.as_str()));
    let special = |name: &str| match () {
        () if contains(name, fp32) => Some(FloatType::F32),
        () if contains(name, not_converted) => Some(plan.dtype),
        () => None,
    };
    let names = plan.entries.iter().map(|entry| &entry.source.name);
    names.filter_map(|name| Some((name.clone(), special(name)?))).collect()
}

/// The list of modules that 4.x does not convert, and which of them it holds in float32.
fn not_converted(architecture: &Architecture, plan: &Plan, flavour: Flavour) -> (Vec<String>, Vec<String>) {
    let row = if flavour == Flavour::V441 { &architecture.row_441 } else { &architecture.row };
    let fp32 = row.as_ref().map(|row| row.fp32_v4().to_vec()).unwrap_or_default();
    let automatic = || row.as_ref().map(|row| architecture.automatic_skip_v4(row)).unwrap_or_default();
    let mut list = plan.skip_modules.clone().unwrap_or_else(automatic);
    list.extend(fp32.iter().cloned());
    (list, fp32)
}

/// Classes of the table that stay on one device.
struct NoSplit {
    /// The class of layers, if there is but one.
    layer: Option<String>,
    /// The class of blocks of embeddings.
    embeddings: Option<String>,
}

fn no_split(architecture: &Architecture) -> NoSplit {
    let classes = architecture.row.as_ref().map(|row| row.no_split.clone()).unwrap_or_default();
    let (embeddings, mut layers): (Vec<String>, Vec<String>) =
        classes.into_iter().partition(|class| class.ends_with("Embeddings"));
    layers.retain(|class| class.ends_with("Layer") || class.ends_with("Block"));
    let layer = if layers.len() == 1 { layers.pop() } else { None };
    NoSplit { layer, embeddings: embeddings.into_iter().next() }
}

/// Modules as they are found.
struct Rows {
    classes: NoSplit,
    modules: HashMap<String, Vec<TensorRow>>,
    path_bytes: usize,
}

impl Rows {
    /// Adds a tensor, and the modules that it lies in.
    fn add(&mut self, name: &str, tensor: TensorRow) -> Result<()> {
        let (path, own) = name.rsplit_once('.').unwrap_or(("", name));
        let mut above = path;
        while !self.modules.contains_key(above) {
            self.path_bytes += above.len() + 1;
            if self.path_bytes > MAX_PATH_BYTES {
                return Err(err!(
                    Unsupported,
                    "device map: the paths of all modules take more than {MAX_PATH_BYTES} bytes"
                ));
            }
            self.modules.insert(above.to_owned(), Vec::new());
            above = above.rsplit_once('.').map_or("", |(above, _)| above);
        }
        let tensor = TensorRow { name: own.to_owned(), ..tensor };
        self.modules.entry(path.to_owned()).or_default().push(tensor);
        Ok(())
    }

    /// The rows in order, and the classes that are not split.
    fn finish(mut self) -> (Vec<ModuleRow>, HashSet<String>) {
        self.modules.entry(String::new()).or_default();
        let parents: HashSet<&str> =
            self.modules.keys().filter_map(|path| path.rsplit_once('.')).map(|(above, _)| above).collect();
        let blocks: BTreeSet<String> =
            parents.into_iter().filter(|path| self.is_block(path)).map(str::to_owned).collect();
        let mut no_split = HashSet::new();
        let mut rows: Vec<ModuleRow> = Vec::with_capacity(self.modules.len());
        for (path, mut parameters) in std::mem::take(&mut self.modules) {
            parameters.sort_by(|a, b| registration_order(&a.name, &b.name));
            let class = if blocks.contains(&path) { self.class(&path) } else { String::new() };
            if !class.is_empty() {
                no_split.insert(class.clone());
            }
            rows.push(ModuleRow { path, class, parameters, buffers: Vec::new() });
        }
        rows.sort_by(|a, b| match (a.path.is_empty(), b.path.is_empty()) {
            (false, false) => registration_order(&a.path, &b.path),
            (x, y) => y.cmp(&x),
        });
        (rows, no_split)
    }

    /// The item of an outermost list, or a block of embeddings.
    fn is_block(&self, path: &str) -> bool {
        let is_number =
            |component: &str| !component.is_empty() && component.bytes().all(|b| b.is_ascii_digit());
        let mut numbers = path.split('.').map(is_number);
        let (last, leaf) = (numbers.next_back(), path.rsplit('.').next());
        let embeddings = self.classes.embeddings.is_some() && leaf == Some("embeddings");
        numbers.all(|number| !number) && (last == Some(true) || embeddings)
    }

    fn class(&self, path: &str) -> String {
        let (above, leaf) = path.rsplit_once('.').unwrap_or(("", path));
        match (&self.classes.embeddings, &self.classes.layer) {
            (Some(class), _) if leaf == "embeddings" => class.clone(),
            (_, Some(class)) => class.clone(),
            _ => format!("{above}.*"),
        }
    }
}
