//! Where every byte of a checkpoint will lie, before the first one is written.

use std::collections::BTreeMap;

use super::header::{self, quoted};
use super::index;
use super::limits::{MAX_FILE_TENSORS, MAX_NAME_BYTES, MAX_SHARDS};
use super::shard::{ShardRule, shard_file_name, split};
use super::size::DEFAULT_MAX_SHARD_SIZE;
use crate::dtype::DType;
use crate::error::{Result, err};
use crate::shape::Shape;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputTensor {
    /// The full name.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
}

impl OutputTensor {
    pub(super) fn byte_len(&self) -> Result<u64> {
        self.shape.numel().checked_mul(self.dtype.size() as u64).ok_or_else(|| {
            err!(
                InvalidArgument,
                "tensor {}: {} {}: more than 2^64 bytes",
                quoted(&self.name),
                self.dtype.safetensors_name(),
                self.shape
            )
        })
    }
}

/// What is never split over files: a plain tensor, or a weight with all of its statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The tensors, in any order.
    pub tensors: Vec<OutputTensor>,
    /// Model parameters they stand for, counted as transformers does: two per byte of packed codes.
    pub parameters: u64,
}

impl Unit {
    /// A tensor that is stored as it is.
    pub fn plain(tensor: OutputTensor) -> Unit {
        Unit { parameters: tensor.shape.numel(), tensors: vec![tensor] }
    }
}

/// How to lay out.
#[derive(Clone, Debug)]
pub struct LayoutOptions {
    /// Bytes of tensor data per file; a larger unit gets a file of its own.
    pub max_shard_size: u64,
    /// Whose way of filling shards to follow.
    pub rule: ShardRule,
    /// `__metadata__` of every file.
    pub metadata: Vec<(String, String)>,
}

impl Default for LayoutOptions {
    /// 5 GB, huggingface_hub's rule, `{"format":"pt"}` (without which transformers 4.41 fails).
    fn default() -> Self {
        LayoutOptions {
            max_shard_size: DEFAULT_MAX_SHARD_SIZE,
            rule: ShardRule::Hub,
            metadata: vec![("format".to_owned(), "pt".to_owned())],
        }
    }
}

/// Where a tensor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position of the file among [`Layout::shards`].
    pub shard: usize,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// One file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLayout {
    /// Its final name.
    pub file_name: String,
    /// Everything before the tensor data.
    pub header: Vec<u8>,
    /// Its length in bytes.
    pub file_len: u64,
}

/// All files to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The files, in the order of their numbers.
    pub shards: Vec<ShardLayout>,
    /// The text of the index, if there is more than one file.
    pub index: Option<String>,
    /// Bytes of tensor data in all files.
    pub total_size: u64,
    /// Model parameters that the tensors stand for, as the index counts them.
    pub total_parameters: u64,
    places: Vec<Vec<Place>>,
}

impl Layout {
    /// Lays out `units`, which fill the files in the order given; within a file the tensors lie as
    /// the safetensors library puts them, by descending alignment of their type, then by name.
    pub fn new(units: &[Unit], options: &LayoutOptions) -> Result<Layout> {
        let lens = byte_lens(units)?;
        check_names(units)?;
        let sizes: Vec<u64> = lens.iter().map(|unit| unit.iter().sum()).collect();
        let mut groups = split(&sizes, options.max_shard_size, options.rule)?;
        if groups.is_empty() {
            groups.push(Vec::new());
        }
        if groups.len() > MAX_SHARDS {
            return Err(err!(
                InvalidArgument,
                "max_shard_size {}: {} files would be needed, at most {MAX_SHARDS}",
                options.max_shard_size,
                groups.len()
            ));
        }
        let mut places: Vec<Vec<Place>> = lens
            .iter()
            .map(|unit| unit.iter().map(|&len| Place { shard: 0, offset: 0, len }).collect())
            .collect();
        let mut shards = Vec::with_capacity(groups.len());
        for (i, group) in groups.iter().enumerate() {
            let file_name = shard_file_name(i, groups.len());
            shards.push(lay_out_shard(units, group, i, file_name, &mut places, &options.metadata)?);
        }
        let total_parameters = units.iter().map(|u| u.parameters).sum();
        let total_size = sizes.iter().sum();
        let index = (shards.len() > 1).then(|| {
            let map = weight_map(units, &places, &shards);
            index::encode(total_parameters, total_size, &map)
        });
        Ok(Layout { shards, index, total_size, total_parameters, places })
    }

    /// Where a unit's tensors go, in the order in which the unit lists them.
    pub fn places(&self, unit: usize) -> &[Place] {
        &self.places[unit]
    }
}

fn byte_lens(units: &[Unit]) -> Result<Vec<Vec<u64>>> {
    let mut total = 0u64;
    let mut lens = Vec::with_capacity(units.len());
    for unit in units {
        let of_unit = unit.tensors.iter().map(OutputTensor::byte_len).collect::<Result<Vec<u64>>>()?;
        for (tensor, &len) in unit.tensors.iter().zip(&of_unit) {
            // Offsets count the header as well, which is far below this margin.
            total = total.checked_add(len).filter(|&t| t < i64::MAX as u64 - (1 << 40)).ok_or_else(|| {
                err!(
                    InvalidArgument,
                    "tensor {}: the checkpoint would exceed 2^63 bytes",
                    quoted(&tensor.name)
                )
            })?;
        }
        lens.push(of_unit);
    }
    Ok(lens)
}

fn check_names(units: &[Unit]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for tensor in units.iter().flat_map(|u| &u.tensors) {
        let name = &tensor.name;
        if name.len() > MAX_NAME_BYTES || name.contains('\0') || name == "__metadata__" {
            return Err(err!(
                InvalidArgument,
                "tensor {}: not a name that a file can hold (at most {MAX_NAME_BYTES} bytes, no NUL, not __metadata__)",
                quoted(name)
            ));
        }
        if !seen.insert(name.as_str()) {
            return Err(err!(
                InvalidArgument,
                "tensor {}: the name would stand twice in the output",
                quoted(name)
            ));
        }
    }
    Ok(())
}

/// The safetensors library's order of types, which puts higher alignment first.
fn alignment_rank(dtype: DType) -> u8 {
    match dtype {
        DType::U64 => 0,
        DType::I64 => 1,
        DType::F64 => 2,
        DType::F32 => 3,
        DType::U32 => 4,
        DType::I32 => 5,
        DType::Bf16 => 6,
        DType::F16 => 7,
        DType::U16 => 8,
        DType::I16 => 9,
        DType::F8E4m3 => 10,
        DType::F8E5m2 => 11,
        DType::I8 => 12,
        DType::U8 => 13,
        DType::Bool => 14,
    }
}

fn lay_out_shard(
    units: &[Unit],
    group: &[usize],
    shard: usize,
    file_name: String,
    places: &mut [Vec<Place>],
    metadata: &[(String, String)],
) -> Result<ShardLayout> {
    let mut order: Vec<(usize, usize)> =
        group.iter().flat_map(|&u| (0..units[u].tensors.len()).map(move |t| (u, t))).collect();
    if order.len() > MAX_FILE_TENSORS {
        return Err(err!(
            InvalidArgument,
            "{file_name}: {} tensors, at most {MAX_FILE_TENSORS} in one file; use smaller shards",
            order.len()
        ));
    }
    let tensor = |(u, t): (usize, usize)| &units[u].tensors[t];
    order.sort_by(|&a, &b| {
        let (a, b) = (tensor(a), tensor(b));
        alignment_rank(a.dtype).cmp(&alignment_rank(b.dtype)).then_with(|| a.name.cmp(&b.name))
    });
    let mut end = 0;
    for &(u, t) in &order {
        let place = &mut places[u][t];
        (place.shard, place.offset) = (shard, end);
        end += place.len;
    }
    let described = order.iter().map(|&(u, t)| {
        let (tensor, place) = (&units[u].tensors[t], &places[u][t]);
        (tensor.name.as_str(), tensor.dtype, &tensor.shape, place.offset..place.offset + place.len)
    });
    let header = header::encode(metadata, described).map_err(|e| e.in_place(&file_name))?;
    for &(u, t) in &order {
        places[u][t].offset += header.len() as u64;
    }
    let file_len = header.len() as u64 + end;
    Ok(ShardLayout { file_name, header, file_len })
}

fn weight_map<'a>(
    units: &'a [Unit],
    places: &[Vec<Place>],
    shards: &'a [ShardLayout],
) -> BTreeMap<&'a str, &'a str> {
    let mut weight_map = BTreeMap::new();
    for (unit, places) in units.iter().zip(places) {
        for (tensor, place) in unit.tensors.iter().zip(places) {
            weight_map.insert(tensor.name.as_str(), shards[place.shard].file_name.as_str());
        }
    }
    weight_map
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::Dtype as Theirs;

    #[test]
    fn types_stand_in_the_order_of_the_safetensors_library() {
        let mut ours: Vec<DType> = DType::names().filter_map(DType::from_safetensors_name).collect();
        let theirs = |d: DType| serde_json::from_value::<Theirs>(d.safetensors_name().into()).unwrap();
        ours.sort_by_key(|&d| alignment_rank(d));
        assert!(ours.windows(2).all(|w| theirs(w[0]) > theirs(w[1])), "{ours:?}");
    }
}
