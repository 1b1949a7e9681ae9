//! A checkpoint seen as an architecture: its row of the table, its names, its ties.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::generic::{Hints, is_embedding_leaf};
use super::heads::{Heads, is_own_class, weight_modules};
use super::names::{is_under, leaf, natural_order, normalize};
use super::table::Row;
use super::types::{Mode, SourceTensor};
use crate::config;
use crate::error::Result;

/// Everything that is known before a single decision is made.
pub struct Architecture<'a> {
    /// `model_type` of the config.
    pub model_type: Option<&'a str>,
    /// The first of the config's `architectures`.
    pub class: Option<&'a str>,
    /// The row of the table, as 4.57 and 5.23 have it.
    pub row: Option<Row>,
    /// The row as 4.41 has it.
    pub row_441: Option<Row>,
    /// What the config says to the generic rules.
    pub hints: Hints,
    /// Whether embeddings are tied for transformers 5 and 4.
    pub tied: (bool, bool),
    prefix: Prefix,
    tensors: HashSet<&'a str>,
    modules: Vec<&'a str>,
    normalized: HashSet<String>,
    has_conv1d: bool,
}

/// Modules looked at in search of a base model's name.
const MAX_STARTS: usize = 4096;

/// Last components that `Conv1D` modules have.
const CONV1D: [&str; 4] = ["c_attn", "c_proj", "c_fc", "q_attn"];

/// How names of the file become names of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Prefix {
    Same,
    Add(String),
    Strip(String),
    /// Another first component than the table's.
    Swap {
        file: String,
        table: String,
    },
}

impl<'a> Architecture<'a> {
    /// Looks at config and tensors.
    pub fn new(config: &'a Value, tensors: &'a [SourceTensor]) -> Result<Self> {
        let model_type = config::model_type(config);
        let row = model_type.map(Row::find).transpose()?.flatten();
        let row_441 = match (&row, model_type) {
            (Some(row), Some(name)) => Some(row.as_of_441(name)?),
            _ => None,
        };
        let modules = weight_modules(tensors.iter().map(|t| (t.name.as_str(), t.shape.dims().len())));
        let mut this = Architecture {
            model_type,
            class: config::architecture(config),
            tied: ties(config, row.as_ref()),
            hints: Hints::new(config),
            prefix: Prefix::Same,
            tensors: tensors.iter().map(|t| t.name.as_str()).collect(),
            normalized: modules.iter().map(|m| normalize(m)).collect(),
            has_conv1d: row.is_none() && has_conv1d(tensors),
            modules,
            row,
            row_441,
        };
        this.prefix = this.find_prefix();
        Ok(this)
    }

    /// Whether the table decides.
    pub fn mode(&self) -> Mode {
        if self.row.is_some() { Mode::Table } else { Mode::Generic }
    }

    /// Whether the checkpoint has a tensor of this name.
    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains(tensor)
    }

    /// Whether the row describes the class that saved the checkpoint.
    pub fn is_own_class(&self) -> bool {
        self.row.as_ref().is_none_or(|row| is_own_class(row, self.class))
    }

    /// What is protected as a head, for the class that saved the checkpoint.
    pub fn heads(&self, row: &Row) -> Heads {
        let mut heads = self.heads_of_class(row);
        // The table's model had two layers: the last parameter is that of the last layer.
        heads.last = heads.last.map(|name| self.highest_numbered(name));
        heads.last_v4 = heads.last_v4.map(|name| self.highest_numbered(name));
        heads
    }

    fn highest_numbered(&self, name: String) -> String {
        let pattern = normalize(&name);
        if !pattern.contains('*') {
            return name;
        }
        let alike = self.tensors.iter().filter(|tensor| normalize(tensor) == pattern);
        alike.max_by(|a, b| natural_order(a, b)).map_or(name, |tensor| (*tensor).to_owned())
    }

    fn heads_of_class(&self, row: &Row) -> Heads {
        match self.class {
            Some(class) if !is_own_class(row, self.class) => {
                Heads::of_variant(row, class, self.modules.iter().copied(), |name| self.has(name))
            }
            _ => Heads::of_table(row),
        }
    }

    /// The path under which the table knows a module of the file.
    pub fn table_path(&self, module: &str) -> String {
        match &self.prefix {
            Prefix::Add(prefix) if !self.is_head_path(module) => format!("{prefix}.{module}"),
            Prefix::Strip(prefix) if is_under(module, prefix) && module != prefix => {
                module[prefix.len() + 1..].to_owned()
            }
            Prefix::Swap { file, table } if is_under(module, file) => {
                format!("{table}{}", &module[file.len()..])
            }
            _ => module.to_owned(),
        }
    }

    /// Every path that some reader may have for a module of the file, its own first.
    pub fn reader_paths(&self, module: &str) -> Vec<String> {
        let mut paths = vec![module.to_owned()];
        let mut put = |path: String| {
            if !paths.contains(&path) {
                paths.push(path);
            }
        };
        let table = self.table_path(module);
        let Some(row) = &self.row else { return paths };
        match &self.prefix {
            Prefix::Strip(prefix) => {
                row.renamed(&table).into_iter().for_each(|new| put(format!("{prefix}.{new}")));
            }
            // The class is none of the table's: what else its modules are called is not known.
            Prefix::Swap { .. } => {}
            _ => {
                put(table.clone());
                row.renamed(&table).into_iter().for_each(&mut put);
            }
        }
        paths
    }

    /// Whether the table knows a path of its own as no linear layer.
    pub fn knows_non_linear(&self, table_path: &str) -> bool {
        let path = normalize(table_path);
        let Some(row) = &self.row else { return false };
        row.non_v5().iter().chain(row.non_v4()).any(|n| *n == path)
    }

    /// Whether every embedding among these normalized paths is in the file: then the file's names are
    /// those of the table.
    pub fn has_all_embeddings(&self, non_linear: &[String]) -> bool {
        let mut embeddings = non_linear.iter().filter(|n| is_embedding_leaf(leaf(n)));
        embeddings.all(|n| self.modules_match(n, &self.prefix))
    }

    /// Whether a module of a type that is not in the table is GPT-2's `Conv1D`, which stores `[in, out]`:
    /// one of its names, in a file where such a module has as many biases as columns, not rows.
    pub fn is_conv1d(&self, module: &str) -> bool {
        self.has_conv1d && CONV1D.contains(&leaf(module))
    }

    fn is_head_path(&self, module: &str) -> bool {
        let out = self.row.as_ref().and_then(|row| row.out.as_deref());
        out.is_some_and(|out| module.split('.').next() == out.split('.').next())
    }

    fn modules_match(&self, table_path: &str, prefix: &Prefix) -> bool {
        match prefix {
            Prefix::Same => self.normalized.contains(table_path),
            Prefix::Add(prefix) => table_path
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| self.normalized.contains(rest)),
            Prefix::Strip(prefix) => self.normalized.contains(&format!("{prefix}.{table_path}")),
            Prefix::Swap { file, table } => {
                is_under(table_path, table)
                    && self.normalized.contains(&format!("{file}{}", &table_path[table.len()..]))
            }
        }
    }

    /// Checkpoints of a base model lack the prefix that the same modules have under a head, and the
    /// other way round: whichever way finds more of the table's modules is right.
    fn find_prefix(&self) -> Prefix {
        let Some(row) = &self.row else { return Prefix::Same };
        let Some(name) = &row.prefix else { return Prefix::Same };
        let mut others =
            if row.bare { vec![Prefix::Strip(name.clone())] } else { vec![Prefix::Add(name.clone())] };
        let first = |m: &&'a str| m.split('.').next().unwrap_or_default();
        let starts: BTreeSet<&str> = self.modules.iter().map(first).take(MAX_STARTS).collect();
        let swap = |file: &&str| Prefix::Swap { file: (*file).to_owned(), table: name.clone() };
        others.extend(starts.iter().map(swap));
        let known: HashSet<&String> = row.non_v5().iter().chain(row.non_v4()).collect();
        // A bare model without embeddings gives nothing to count.
        if known.is_empty() && row.bare && starts.contains(name.as_str()) {
            return others.swap_remove(0);
        }
        let found = |prefix: &Prefix| known.iter().filter(|n| self.modules_match(n, prefix)).count();
        let same = found(&Prefix::Same);
        let counted = others.into_iter().map(|other| (found(&other), other));
        // Of equals the first one: what is known to happen before what is guessed.
        let best = counted.rev().max_by_key(|(count, _)| *count);
        best.filter(|(count, _)| *count > same).map_or(Prefix::Same, |(_, other)| other)
    }
}

/// `tie_word_embeddings` for transformers 5 (the model's own, else its class default) and 4 (that of
/// the text config).
fn ties(config: &Value, row: Option<&Row>) -> (bool, bool) {
    let stated = |place: &Value| place.get("tie_word_embeddings").and_then(Value::as_bool);
    let default = row.is_some_and(|row| row.tie);
    let default_v4 = row.and_then(|row| row.tie4).unwrap_or(default);
    let v5 = stated(config).unwrap_or(default);
    let v4 = match config::text_config(config) {
        Some(text) => stated(text).unwrap_or(default_v4),
        None => stated(config).unwrap_or(default_v4),
    };
    (v5, v4)
}

/// Looks for a `Conv1D` weight that is not square: its bias has the length of a row.
fn has_conv1d(tensors: &[SourceTensor]) -> bool {
    let module = |t: &'_ SourceTensor, suffix: &str| {
        let name = t.name.strip_suffix(suffix)?;
        CONV1D.contains(&leaf(name)).then(|| name.to_owned())
    };
    let biases: HashMap<String, u64> =
        tensors.iter().filter_map(|t| Some((module(t, ".bias")?, t.shape.numel()))).collect();
    tensors.iter().any(|t| match (module(t, ".weight"), t.shape.matrix()) {
        (Some(name), Some((rows, columns))) => rows != columns && biases.get(&name) == Some(&columns),
        _ => false,
    })
}
