//! The table of architectures: what 601 model types look like from inside transformers.
//!
//! Fields are explained in `tools/plan_table.py`, which packs and unpacks the data.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::names::rename;
use crate::error::{Error, Result, err};

/// One model type.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Row {
    /// The class whose plan this is.
    pub arch: String,
    /// `v4` or `v5` where the other one lacks the type.
    pub only: Option<String>,
    /// Name of the base model within a model that has a head.
    pub prefix: Option<String>,
    /// `arch` is itself the base model.
    pub bare: bool,
    pub tie: bool,
    pub tie4: Option<bool>,
    pub out: Option<String>,
    pub out_mods: Vec<String>,
    pub last: Option<String>,
    pub last4: Option<String>,
    pub tied: Vec<(String, String)>,
    pub tied4: Option<Vec<Vec<String>>>,
    pub non: Option<Vec<String>>,
    pub non4: Option<Vec<String>>,
    pub linear: Vec<String>,
    pub experts: Vec<String>,
    pub conv1d: Vec<String>,
    pub fp32: Vec<String>,
    pub fp32_4: Option<Vec<String>>,
    pub strict: Vec<String>,
    pub strict4: Vec<String>,
    pub f32: Vec<String>,
    pub names: Option<Vec<(String, String)>>,
    pub ren: Vec<(String, String)>,
    pub no_split: Vec<String>,
    v441: Option<Map<String, Value>>,
}

/// The last components of modules that are GPT-2's `Conv1D`, whose plain weights are `[in, out]`;
/// none for a model type that is not in the table.
pub fn conv1d_modules(model_type: Option<&str>) -> Result<Vec<String>> {
    let row = model_type.map(Row::find).transpose()?.flatten();
    Ok(row.map(|row| row.conv1d).unwrap_or_default())
}

impl Row {
    /// The row of a model type.
    pub fn find(model_type: &str) -> Result<Option<Row>> {
        let Packed { pool, types } = packed()?;
        match types.get(model_type) {
            Some(Value::Object(fields)) => resolve(fields, pool).map(Some),
            _ => Ok(None),
        }
    }

    /// The row as transformers 4.41 has it.
    pub fn as_of_441(&self, model_type: &str) -> Result<Row> {
        let Packed { pool, types } = packed()?;
        match (&self.v441, types.get(model_type)) {
            (Some(changes), Some(Value::Object(fields))) => {
                let mut fields = fields.clone();
                fields.extend(changes.clone());
                resolve(&fields, pool)
            }
            _ => Ok(self.clone()),
        }
    }

    /// Whether the row knows what transformers 4 does; else 4 is taken to do as 5.
    fn knows_v4(&self) -> bool {
        self.non4.is_some() || self.tied4.is_some() || self.fp32_4.is_some()
    }

    /// Modules with a 2-D weight that are no linear layer for 4.57.
    pub fn non_v4(&self) -> &[String] {
        let own = if self.knows_v4() { &self.non4 } else { &self.non };
        own.as_deref().unwrap_or_default()
    }

    /// Modules with a 2-D weight that are no linear layer for 5.23.
    pub fn non_v5(&self) -> &[String] {
        let own = if self.only.as_deref() == Some("v4") { &self.non4 } else { &self.non };
        own.as_deref().unwrap_or_default()
    }

    /// `_keep_in_fp32_modules` of 4.57.
    pub fn fp32_v4(&self) -> &[String] {
        match &self.fp32_4 {
            Some(list) => list,
            None if self.knows_v4() => &[],
            None => &self.fp32,
        }
    }

    /// Groups of names that 4.57 ties.
    pub fn tied_v4(&self) -> Vec<Vec<String>> {
        match &self.tied4 {
            Some(groups) => groups.clone(),
            None if self.knows_v4() => Vec::new(),
            None => self.tied.iter().map(|(a, b)| vec![a.clone(), b.clone()]).collect(),
        }
    }

    /// Every path that transformers 5 may have for a path of the table, where it is another one.
    pub fn renamed(&self, path: &str) -> Vec<String> {
        let paths: Vec<String> = match &self.names {
            Some(names) => {
                let specific = |from: &str| {
                    let parts = from.split('.').filter(|part| !part.is_empty());
                    (parts.clone().count(), parts.filter(|part| *part != "*").count())
                };
                let fitting =
                    names.iter().filter_map(|(from, to)| Some((specific(from), rename(path, from, to)?)));
                fitting.max_by_key(|(specific, _)| *specific).map(|(_, new)| new).into_iter().collect()
            }
            None => self.ren.iter().filter_map(|(from, to)| rename(path, from, to)).collect(),
        };
        paths.into_iter().filter(|new| new != path).collect()
    }
}

struct Packed {
    pool: Vec<Value>,
    types: Map<String, Value>,
}

fn packed() -> Result<&'static Packed> {
    static TABLE: OnceLock<Option<Packed>> = OnceLock::new();
    let parse = || {
        let Ok(Value::Object(mut top)) = serde_json::from_str(include_str!("table.json")) else {
            return None;
        };
        match (top.remove("pool")?, top.remove("types")?) {
            (Value::Array(pool), Value::Object(types)) => Some(Packed { pool, types }),
            _ => None,
        }
    };
    TABLE.get_or_init(parse).as_ref().ok_or_else(damaged)
}

/// Puts pooled values in place of their numbers.
fn resolve(fields: &Map<String, Value>, pool: &[Value]) -> Result<Row> {
    let mut row = Map::new();
    for (key, value) in fields {
        let value = match value.as_u64() {
            Some(index) => pool.get(index as usize).ok_or_else(damaged)?,
            None => value,
        };
        row.insert(key.clone(), value.clone());
    }
    serde_json::from_value(Value::Object(row)).map_err(|_| damaged())
}

fn damaged() -> Error {
    err!(Format, "the table of architectures is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_reads() {
        let types = &packed().unwrap().types;
        assert!(types.len() >= 601, "{} model types", types.len());
        for model_type in types.keys() {
            let row = Row::find(model_type).unwrap().unwrap();
            assert!(!row.arch.is_empty(), "{model_type}");
            row.as_of_441(model_type).unwrap();
        }
        assert!(Row::find("no_such_model").unwrap().is_none());
    }

    #[test]
    fn versions_differ_where_they_should() {
        let fuyu = Row::find("fuyu").unwrap().unwrap();
        assert_eq!(fuyu.out.as_deref(), Some("language_model.lm_head"));
        assert_eq!(fuyu.as_of_441("fuyu").unwrap().out, None);
        let mixtral = Row::find("mixtral").unwrap().unwrap();
        assert!(mixtral.non_v5().iter().any(|n| n.ends_with("gate")));
        assert_eq!(mixtral.non_v4(), ["model.embed_tokens"]);
    }
}
