//! The header of a safetensors file: eight bytes of length, then a JSON object. Nothing in it is
//! believed before all of it has been checked against the file's size.
//!
//! The safetensors crate checks the same arithmetic, but its errors name neither tensor nor field,
//! a repeated name passes silently, and the memory that a header may cost is not bounded; so the
//! parsing here is our own, and the crate is what the tests compare it with.

use std::collections::HashSet;
use std::ops::Range;

use serde::de::Deserializer as _;

use super::header_json::{HeaderVisitor, RawTensor};
use super::limits::{MAX_HEADER_BYTES, MAX_NAME_BYTES};
use crate::dtype::DType;
use crate::error::{Result, err};
use crate::shape::Shape;

/// Bytes before the JSON text: its length as a little-endian `u64`.
pub const PREFIX_BYTES: u64 = 8;

/// One tensor of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTensor {
    /// The full name.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
    /// Where the data lies, counted from the start of the file.
    pub range: Range<u64>,
}

/// A checked header. The tensors cover the rest of the file without holes or overlaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `__metadata__`, in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// The tensors, in the order of their data.
    pub tensors: Vec<HeaderTensor>,
}

/// Checks the length prefix of a file of `file_len` bytes; returns the length of the JSON text.
pub fn check_prefix(prefix: [u8; PREFIX_BYTES as usize], file_len: u64) -> Result<u64> {
    if &prefix == b"version " {
        return Err(err!(
            Format,
            "this is a Git LFS pointer, not the weights themselves: fetch them with \"git lfs pull\""
        ));
    }
    let len = u64::from_le_bytes(prefix);
    if len > MAX_HEADER_BYTES {
        return Err(err!(
            Format,
            "header length {len}: at most {MAX_HEADER_BYTES} bytes (not a safetensors file?)"
        ));
    }
    if len > file_len.saturating_sub(PREFIX_BYTES) {
        return Err(err!(
            Format,
            "header length {len}: the file has only {file_len} bytes (cut short, or not a safetensors file)"
        ));
    }
    Ok(len)
}

impl Header {
    /// Reads and checks the header of a whole file held in memory.
    pub fn from_image(image: &[u8]) -> Result<Header> {
        let Some(prefix) = image.first_chunk() else {
            return Err(too_short(image.len() as u64));
        };
        let file_len = image.len() as u64;
        let len = check_prefix(*prefix, file_len)?;
        let json = &image[PREFIX_BYTES as usize..(PREFIX_BYTES + len) as usize];
        Header::parse(json, file_len)
    }

    /// Checks the JSON text of a header that stands in a file of `file_len` bytes.
    pub fn parse(json: &[u8], file_len: u64) -> Result<Header> {
        let text = std::str::from_utf8(json)
            .map_err(|e| err!(Format, "header: not UTF-8 after byte {}", e.valid_up_to()))?;
        if !text.starts_with('{') {
            return Err(err!(Format, "header: expected a JSON object that starts with '{{' at once"));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let raw = reader.deserialize_map(HeaderVisitor).map_err(|e| err!(Format, "header: {e}"))?;
        reader.end().map_err(|e| err!(Format, "header: {e}"))?;

        let data_start = PREFIX_BYTES + json.len() as u64;
        let mut tensors = Vec::with_capacity(raw.tensors.len());
        for (name, tensor) in raw.tensors {
            let checked = check_tensor(&name, &tensor, data_start)?;
            tensors.push(HeaderTensor { name, ..checked });
        }
        tensors.sort_by_key(|t| (t.range.start, t.range.end));
        check_coverage(&tensors, data_start, file_len)?;
        check_names(&tensors)?;
        Ok(Header { metadata: raw.metadata, tensors })
    }
}

pub(super) fn too_short(file_len: u64) -> crate::Error {
    err!(
        Format,
        "file of {file_len} bytes: a safetensors file starts with {PREFIX_BYTES} bytes of header length"
    )
}

/// A name for an error message: quoted, control characters escaped, cut where it is absurdly long.
pub(super) fn quoted(name: &str) -> String {
    match name.char_indices().nth(200) {
        Some((cut, _)) => format!("{:?}…", &name[..cut]),
        None => format!("{name:?}"),
    }
}

/// The name is filled in by the caller.
fn check_tensor(name: &str, raw: &RawTensor, data_start: u64) -> Result<HeaderTensor> {
    let place = || format!("tensor {}", quoted(name));
    if name.len() > MAX_NAME_BYTES {
        return Err(err!(Format, "{}: name of {} bytes, at most {MAX_NAME_BYTES}", place(), name.len()));
    }
    if name.contains('\0') {
        return Err(err!(Format, "{}: name with a NUL character", place()));
    }
    let dtype = raw.dtype;
    let shape = Shape::new(raw.shape()).map_err(|e| err!(Format, "{}: field shape: {e}", place()))?;
    let expected = shape.numel().checked_mul(dtype.size() as u64);
    let [start, end] = raw.data_offsets;
    if end < start {
        return Err(err!(Format, "{}: field data_offsets: [{start}, {end}] ends before it starts", place()));
    }
    if expected != Some(end - start) {
        return Err(err!(
            Format,
            "{}: field data_offsets: [{start}, {end}] holds {} bytes, but {} {shape} takes {}",
            place(),
            end - start,
            dtype.safetensors_name(),
            expected.map_or("more than 2^64".to_owned(), |n| n.to_string()),
        ));
    }
    let from_start = |offset: u64| {
        data_start
            .checked_add(offset)
            .ok_or_else(|| err!(Format, "{}: field data_offsets: {offset} is out of range", place()))
    };
    Ok(HeaderTensor { name: String::new(), dtype, shape, range: from_start(start)?..from_start(end)? })
}

/// The data must start right after the header, leave no hole, and end with the file.
fn check_coverage(tensors: &[HeaderTensor], data_start: u64, file_len: u64) -> Result<()> {
    let mut end = data_start;
    for t in tensors {
        if t.range.start != end {
            let what =
                if t.range.start < end { "overlaps the data before it" } else { "leaves a hole before it" };
            return Err(err!(
                Format,
                "tensor {}: field data_offsets: starts at {} where {} was expected: {what}",
                quoted(&t.name),
                t.range.start - data_start,
                end - data_start,
            ));
        }
        end = t.range.end;
    }
    match end.cmp(&file_len) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => {
            let last = tensors.iter().find(|t| t.range.end > file_len).map_or("", |t| &t.name);
            Err(err!(
                Format,
                "tensor {}: the header describes a file of {end} bytes, but it has {file_len}: cut short",
                quoted(last)
            ))
        }
        std::cmp::Ordering::Less => Err(err!(
            Format,
            "the header describes a file of {end} bytes, but it has {file_len}: data that no tensor owns"
        )),
    }
}

fn check_names(tensors: &[HeaderTensor]) -> Result<()> {
    let mut seen = HashSet::with_capacity(tensors.len());
    match tensors.iter().find(|t| !seen.insert(t.name.as_str())) {
        Some(t) => Err(err!(Format, "tensor {}: the name stands twice in the header", quoted(&t.name))),
        None => Ok(()),
    }
}

/// The bytes before the data, as the safetensors library writes them: length, JSON text, spaces up
/// to a multiple of eight. `tensors` come in the order of their data, which starts at 0 here.
pub fn encode<'a>(
    metadata: &[(String, String)],
    tensors: impl Iterator<Item = (&'a str, DType, &'a Shape, Range<u64>)>,
) -> Result<Vec<u8>> {
    use std::fmt::Write as _;
    let mut json = String::from("{");
    if !metadata.is_empty() {
        json.push_str("\"__metadata__\":{");
        for (i, (key, value)) in metadata.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(json, "{comma}{}:{}", json_string(key), json_string(value));
        }
        json.push('}');
    }
    for (name, dtype, shape, range) in tensors {
        let comma = if json.len() == 1 { "" } else { "," };
        let _ = write!(
            json,
            "{comma}{}:{{\"dtype\":\"{}\",\"shape\":[",
            json_string(name),
            dtype.safetensors_name()
        );
        for (i, dim) in shape.dims().iter().enumerate() {
            let _ = write!(json, "{}{dim}", if i == 0 { "" } else { "," });
        }
        let _ = write!(json, "],\"data_offsets\":[{},{}]}}", range.start, range.end);
    }
    json.push('}');
    let len = (json.len() as u64).next_multiple_of(8);
    if len > MAX_HEADER_BYTES {
        return Err(err!(
            InvalidArgument,
            "a header of {len} bytes is needed: at most {MAX_HEADER_BYTES}; use smaller shards"
        ));
    }
    let mut bytes = Vec::with_capacity((PREFIX_BYTES + len) as usize);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize((PREFIX_BYTES + len) as usize, b' ');
    Ok(bytes)
}

fn json_string(text: &str) -> serde_json::Value {
    // `Value`'s Display is compact JSON with serde_json's escapes: those of the safetensors library.
    serde_json::Value::String(text.to_owned())
}
