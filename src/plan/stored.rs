//! Which float type a tensor is cast to.

use regex_lite::Regex;

use super::architecture::Architecture;
use super::decide::Version;
use super::names::{is_under, module_of, normalize};
use super::table::Row;
use crate::dtype::FloatType;
use crate::error::{Result, err};

/// The casts of one version of transformers for one checkpoint.
///
/// 5.x casts everything to the load dtype, except: `_keep_in_fp32_modules` stay float32 when loading in
/// float16 (names searched in the parameter's name), `_keep_in_fp32_modules_strict` in float16 and
/// bfloat16, and a few parameters that the model creates in float32. 4.x holds
/// `_keep_in_fp32_modules` in float32 whatever the load dtype once bitsandbytes is at work, and matches
/// whole runs of components.
pub struct Casts<'a> {
    load: FloatType,
    row: Option<&'a Row>,
    /// Names that are held in float32: words, and what is more than a word.
    words: Vec<String>,
    float32: Option<Regex>,
}

impl<'a> Casts<'a> {
    /// Prepares them for loading in `load`.
    pub fn new(architecture: &'a Architecture, version: Version, load: FloatType) -> Result<Self> {
        let v5 = version == Version::V523;
        let row = match version {
            Version::V441 => architecture.row_441.as_ref(),
            _ => architecture.row.as_ref(),
        };
        let mut names: Vec<String> = Vec::new();
        if let Some(row) = row.filter(|_| load != FloatType::F32) {
            let (fp32, strict) =
                if v5 { (row.fp32.as_slice(), &row.strict) } else { (row.fp32_v4(), &row.strict4) };
            if !v5 || load == FloatType::F16 {
                names.extend(fp32.iter().cloned());
            }
            names.extend(strict.iter().cloned());
        }
        // Nearly all names are plain words, which need no regular expression to be searched for.
        let is_word = |name: &String| v5 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let (words, patterns): (Vec<String>, Vec<String>) = names.into_iter().partition(is_word);
        let expression = |name: &String| match v5 {
            true => format!("(?:{})", name.replace('*', ".*")),
            false => format!(r"(?:^|\.)(?:{name})(?:$|\.)"),
        };
        let alternatives: Vec<String> = patterns.iter().map(expression).collect();
        let float32 = (!alternatives.is_empty())
            .then(|| Regex::new(&alternatives.join("|")))
            .transpose()
            .map_err(|_| err!(Format, "the table of architectures is damaged"))?;
        Ok(Casts { load, row: row.filter(|row| v5 && !row.f32.is_empty()), words, float32 })
    }

    /// The type of a float tensor that is quantized next (`quant_state.dtype`) or stored.
    pub fn of(&self, architecture: &Architecture, tensor: &str, quantized: bool) -> FloatType {
        if self.float32.is_none() && self.row.is_none() && self.words.is_empty() {
            return self.load;
        }
        let paths = architecture.reader_paths(module_of(tensor));
        let suffix = if tensor.ends_with(".weight") { ".weight" } else { "" };
        let is_float32 = |path: &String| {
            let name = format!("{path}{suffix}");
            self.words.iter().any(|word| name.contains(word.as_str()))
                || self.float32.as_ref().is_some_and(|r| r.is_match(&name))
                || (!quantized && self.created_float32(&name))
        };
        if paths.iter().any(is_float32) { FloatType::F32 } else { self.load }
    }

    fn created_float32(&self, name: &str) -> bool {
        let Some(row) = self.row else { return false };
        let name = normalize(name);
        row.f32.iter().any(|start| is_under(&name, start))
    }
}
