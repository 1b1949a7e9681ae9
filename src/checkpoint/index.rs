//! `model.safetensors.index.json`: which tensor lies in which file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::header::quoted;
use super::limits::{MAX_FILE_NAME_BYTES, MAX_NAME_BYTES, MAX_SHARDS, MAX_TENSORS};
use crate::config::python_json::python_string;
use crate::error::{Result, err};

/// A checked index.
#[derive(Debug, Default)]
pub struct Index {
    /// The files, in the order of their names.
    pub files: Vec<String>,
    /// Tensor name to a position in `files`.
    pub weight_map: BTreeMap<String, usize>,
}

impl Index {
    /// Reads and checks an index. Its `metadata` carries nothing that reading needs.
    pub fn parse(text: &str) -> Result<Index> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let pairs = reader.deserialize_map(IndexVisitor).map_err(|e| err!(Format, "{e}"))?;
        reader.end().map_err(|e| err!(Format, "{e}"))?;
        let pairs = pairs.ok_or_else(|| err!(Format, "field weight_map is missing"))?;

        let files: BTreeSet<&str> = pairs.iter().map(|(_, file)| file.as_str()).collect();
        if files.len() > MAX_SHARDS {
            return Err(err!(Format, "field weight_map: {} files, at most {MAX_SHARDS}", files.len()));
        }
        for file in &files {
            check_file_name(file)?;
        }
        let files: Vec<String> = files.into_iter().map(str::to_owned).collect();
        let mut weight_map = BTreeMap::new();
        for (name, file) in pairs {
            if name.len() > MAX_NAME_BYTES {
                return Err(err!(
                    Format,
                    "field weight_map: {}: name of {} bytes, at most {MAX_NAME_BYTES}",
                    quoted(&name),
                    name.len()
                ));
            }
            // Found: `files` was collected from the same pairs.
            let position = files.binary_search(&file).unwrap_or_default();
            if weight_map.insert(name.clone(), position).is_some() {
                return Err(err!(Format, "field weight_map: {} stands twice", quoted(&name)));
            }
        }
        Ok(Index { files, weight_map })
    }
}

/// A shard must lie beside its index: no path, no parent, nothing absolute.
fn check_file_name(name: &str) -> Result<()> {
    let refuse = |why: &str| Err(err!(Format, "field weight_map: file name {}: {why}", quoted(name)));
    if name.is_empty() || name == "." || name == ".." {
        return refuse("not the name of a file");
    }
    if name.contains(['/', '\\', '\0', ':']) {
        return refuse("must be a plain name, without a path, of a file beside the index");
    }
    if name.len() > MAX_FILE_NAME_BYTES {
        return refuse("longer than 255 bytes");
    }
    if !name.ends_with(".safetensors") {
        return Err(err!(
            Unsupported,
            "field weight_map: file name {}: only .safetensors files are read; convert the checkpoint to safetensors first",
            quoted(name)
        ));
    }
    Ok(())
}

/// Writes an index as transformers does: two spaces, sorted keys, ASCII, a final newline.
pub fn encode<'a>(total_parameters: u64, total_size: u64, weight_map: &BTreeMap<&'a str, &'a str>) -> String {
    use fmt::Write as _;
    let mut text = String::from("{\n  \"metadata\": {\n");
    let _ = write!(
        text,
        "    \"total_parameters\": {total_parameters},\n    \"total_size\": {total_size}\n  }},\n  \"weight_map\": {{"
    );
    for (i, (name, file)) in weight_map.iter().enumerate() {
        text.push_str(if i == 0 { "\n    " } else { ",\n    " });
        text.push_str(&python_string(name));
        text.push_str(": ");
        text.push_str(&python_string(file));
    }
    text.push_str(if weight_map.is_empty() { "}\n}\n" } else { "\n  }\n}\n" });
    text
}

struct IndexVisitor;

impl<'de> Visitor<'de> for IndexVisitor {
    type Value = Option<Vec<(String, String)>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut weight_map = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
            } else if weight_map.replace(map.next_value_seed(WeightMap)?).is_some() {
                return Err(de::Error::custom("field weight_map stands twice"));
            }
        }
        Ok(weight_map)
    }
}

struct WeightMap;

impl<'de> DeserializeSeed<'de> for WeightMap {
    type Value = Vec<(String, String)>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("field weight_map to be an object of file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            if pairs.len() == MAX_TENSORS {
                return Err(de::Error::custom(format!("field weight_map: more than {MAX_TENSORS} tensors")));
            }
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_leaves_the_directory() {
        for name in [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b.safetensors",
            "..",
            "",
            "a\\b.safetensors",
            "C:x.safetensors",
        ] {
            let text = format!("{{\"weight_map\":{{\"w\":{}}}}}", serde_json::Value::from(name));
            let error = Index::parse(&text).unwrap_err();
            assert!(matches!(error, crate::Error::Format(_)), "{name:?}: {error}");
        }
        let error = Index::parse(r#"{"weight_map":{"w":"pytorch_model-00001-of-00002.bin"}}"#).unwrap_err();
        assert!(matches!(error, crate::Error::Unsupported(_)), "{error}");
    }

    #[test]
    fn writes_as_python_does() {
        // json.dumps({...}, indent=2, sort_keys=True) + "\n"
        let map = BTreeMap::from([("b.é\u{1f600}\"\u{7f}", "f.safetensors"), ("a", "g.safetensors")]);
        assert_eq!(
            encode(3, 4, &map),
            "{\n  \"metadata\": {\n    \"total_parameters\": 3,\n    \"total_size\": 4\n  },\n  \"weight_map\": {\n    \"a\": \"g.safetensors\",\n    \"b.\\u00e9\\ud83d\\ude00\\\"\\u007f\": \"f.safetensors\"\n  }\n}\n"
        );
        assert!(encode(0, 0, &BTreeMap::new()).ends_with("\"weight_map\": {}\n}\n"));
    }
}
