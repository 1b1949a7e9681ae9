//! The JSON of a safetensors header, read without building anything that the limits do not bound.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::header::quoted;
use super::limits::MAX_FILE_TENSORS;
use crate::dtype::DType;
use crate::shape::MAX_RANK;

/// A header as it stands, unchecked beyond its JSON form, dtypes and ranks.
#[derive(Default)]
pub(super) struct RawHeader {
    pub metadata: Vec<(String, String)>,
    pub tensors: Vec<(String, RawTensor)>,
}

/// One tensor as it stands.
pub(super) struct RawTensor {
    pub dtype: DType,
    dims: [u64; MAX_RANK],
    rank: usize,
    pub data_offsets: [u64; 2],
}

impl RawTensor {
    pub fn shape(&self) -> &[u64] {
        &self.dims[..self.rank]
    }
}

/// Reads the outer object.
pub(super) struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader::default();
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(de::Error::custom("__metadata__ stands twice"));
                }
                header.metadata = map.next_value_seed(MetadataSeed)?;
            } else if header.tensors.len() == MAX_FILE_TENSORS {
                return Err(de::Error::custom(format!("more than {MAX_FILE_TENSORS} tensors")));
            } else {
                let tensor = map
                    .next_value_seed(TensorSeed)
                    .map_err(|e| de::Error::custom(format!("tensor {}: {e}", quoted(&name))))?;
                header.tensors.push((name, tensor));
            }
        }
        Ok(header)
    }
}

/// `__metadata__`: an object of strings, or null.
struct MetadataSeed;

impl<'de> DeserializeSeed<'de> for MetadataSeed {
    type Value = Vec<(String, String)>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("__metadata__ to be an object of strings")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct TensorSeed;

impl<'de> DeserializeSeed<'de> for TensorSeed {
    type Value = RawTensor;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<RawTensor, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TensorSeed {
    type Value = RawTensor;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawTensor, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(field) = map.next_key::<String>()? {
            let in_field = |e: A::Error| de::Error::custom(format!("field {field}: {e}"));
            let again = match field.as_str() {
                "dtype" => {
                    let name = map.next_value::<String>().map_err(in_field)?;
                    let known = DType::from_safetensors_name(&name).ok_or_else(|| {
                        de::Error::custom(format!(
                            "dtype {}: expected one of {}",
                            quoted(&name),
                            known_dtypes()
                        ))
                    })?;
                    dtype.replace(known).is_some()
                }
                "shape" => {
                    let list = map.next_value_seed(List::<MAX_RANK>).map_err(in_field)?;
                    shape.replace(list).is_some()
                }
                "data_offsets" => {
                    let list = map.next_value_seed(List::<2>).map_err(in_field)?;
                    offsets.replace(list).is_some()
                }
                // As the safetensors library does: fields from the future are passed over.
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if again {
                return Err(de::Error::custom(format!("field {field} stands twice")));
            }
        }
        let missing = |field: &str| de::Error::custom(format!("field {field} is missing"));
        let (dims, rank) = shape.ok_or_else(|| missing("shape"))?;
        let (data_offsets, count) = offsets.ok_or_else(|| missing("data_offsets"))?;
        if count != 2 {
            return Err(de::Error::custom(format!("field data_offsets: {count} numbers, expected 2")));
        }
        Ok(RawTensor { dtype: dtype.ok_or_else(|| missing("dtype"))?, dims, rank, data_offsets })
    }
}

fn known_dtypes() -> String {
    DType::names().collect::<Vec<_>>().join(", ")
}

/// At most `N` unsigned numbers, and how many there were.
struct List<const N: usize>;

impl<'de, const N: usize> DeserializeSeed<'de> for List<N> {
    type Value = ([u64; N], usize);
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for List<N> {
    type Value = ([u64; N], usize);

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of at most {N} non-negative whole numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut numbers = [0; N];
        let mut count = 0;
        while let Some(number) = seq.next_element::<u64>()? {
            let slot =
                numbers.get_mut(count).ok_or_else(|| de::Error::custom(format!("more than {N} numbers")))?;
            *slot = number;
            count += 1;
        }
        Ok((numbers, count))
    }
}
