//! Which modules transformers protects as heads, when a checkpoint was saved by another class than
//! the one the table describes (a sequence classifier, the base model alone, …).

use std::collections::HashSet;

use super::names::{is_under, leaf, module_of, parent};
use super::table::Row;

/// The module and the parameters that `get_keys_to_not_convert` looks for.
#[derive(Clone, Debug, Default)]
pub struct Heads {
    /// The output embedding.
    pub out: Option<String>,
    /// The last parameter, as far as it can be known.
    pub last: Option<String>,
    /// The same for transformers 4.
    pub last_v4: Option<String>,
    /// Whether the ties of the table hold.
    pub ties: bool,
}

/// Parts of the names of classes that end in an output embedding.
const LANGUAGE_HEADS: [&str; 7] = [
    "ForCausalLM",
    "LMHead",
    "ForMaskedLM",
    "ForConditionalGeneration",
    "ForPreTraining",
    "DoubleHeads",
    "WithLM",
];

/// Last components of task heads, the one registered last first.
const TASK_HEADS: [&str; 9] =
    ["out_proj", "classifier", "score", "qa_outputs", "logits_proj", "lin_out", "head", "dense", "projector"];

/// Whether the table's row speaks of the class that saved the checkpoint.
pub fn is_own_class(row: &Row, architecture: Option<&str>) -> bool {
    architecture.is_none_or(|name| name == row.arch)
}

impl Heads {
    /// As the table has them.
    pub fn of_table(row: &Row) -> Self {
        Heads {
            out: row.out.clone(),
            last: row.last.clone(),
            last_v4: row.last4.clone().or_else(|| row.last.clone()),
            ties: true,
        }
    }

    /// For a class that the table does not describe: from its name and the modules that lie outside
    /// the base model. `modules` are those with a 2-D weight; `exists` asks for a tensor.
    pub fn of_variant<'a>(
        row: &Row,
        architecture: &str,
        modules: impl Iterator<Item = &'a str> + Clone,
        exists: impl Fn(&str) -> bool,
    ) -> Self {
        if LANGUAGE_HEADS.iter().any(|part| architecture.contains(part)) {
            let mut heads = Self::of_table(row);
            if architecture.contains("ForPreTraining") && exists("cls.seq_relationship.bias") {
                heads.last = Some("cls.seq_relationship.bias".to_owned());
                heads.last_v4.clone_from(&heads.last);
            }
            let present = |last: &String| {
                let module = last.trim_end_matches(".bias").trim_end_matches(".weight");
                heads.out.as_deref() == Some(module) || exists(&format!("{module}.weight"))
            };
            if !heads.last.as_ref().is_some_and(present) {
                heads.last = heads.out.as_ref().map(|out| format!("{out}.weight"));
                heads.last_v4.clone_from(&heads.last);
            }
            return heads;
        }
        let parameter = |module: &str| {
            let bias = format!("{module}.bias");
            if exists(&bias) { bias } else { format!("{module}.weight") }
        };
        let last = match row.prefix.as_deref() {
            Some(prefix) if modules.clone().any(|m| is_under(m, prefix)) => {
                last_head(modules.filter(|m| !is_under(m, prefix)))
            }
            _ if architecture.ends_with("Model") => modules.filter(|m| is_pooler(m)).last(),
            _ => last_head(modules.filter(|m| !m.contains('.') || parent(m) == "classifier")),
        };
        let last = last.map(parameter);
        Heads { out: None, last_v4: last.clone(), last, ties: false }
    }
}

fn is_pooler(module: &str) -> bool {
    let module = module.strip_suffix(".dense").unwrap_or(module);
    leaf(module) == "pooler"
}

/// Of several modules of a head the one that is registered last.
fn last_head<'a>(modules: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rank = |module: &&str| TASK_HEADS.iter().position(|t| *t == leaf(module)).unwrap_or(TASK_HEADS.len());
    modules.min_by_key(rank)
}

/// Modules with a 2-D weight, in the order of the checkpoint.
pub fn weight_modules<'a>(names: impl Iterator<Item = (&'a str, usize)>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    names
        .filter(|(name, rank)| *rank == 2 && name.ends_with(".weight"))
        .map(|(name, _)| module_of(name))
        .filter(|module| seen.insert(*module))
        .collect()
}
