//! A weight as the named tensors bitsandbytes stores, and back.

use super::state_json::{self, State};
use super::{Absmax, Fields, Nested, Packing, Weight};
use crate::codebook::QuantType;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::memory::{Bytes, F32Values};
use crate::quant::{BlockSize, Geometry, Storage};
use crate::shape::Shape;

/// One named tensor of a weight, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// `""` (the packed codes), `absmax`, `quant_map`, `nested_absmax`, `nested_quant_map` or
    /// `quant_state.bitsandbytes__nf4` / `__fp4`.
    pub name: &'static str,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
    /// Little-endian, compact.
    pub bytes: &'a [u8],
}

/// One named tensor to build a weight from.
#[derive(Clone)]
pub struct PartSource<'n> {
    /// The part's name alone, or a full tensor name (`model.….weight.absmax`) in all of them.
    pub name: &'n str,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
    /// Little-endian, compact.
    pub bytes: Bytes,
}

const STATE_PREFIX: &str = "quant_state.bitsandbytes__";

/// The name of the quant state part of a type.
pub(crate) const fn state_part_name(quant_type: QuantType) -> &'static str {
    match quant_type {
        QuantType::Nf4 => "quant_state.bitsandbytes__nf4",
        QuantType::Fp4 => "quant_state.bitsandbytes__fp4",
    }
}

fn shape_of(dims: &[u64]) -> Shape {
    Shape::new(dims).expect("sizes of data in memory fit")
}

impl Weight {
    /// The parts, in the order bitsandbytes writes them: packed codes, `absmax`, `quant_map`,
    /// (`nested_absmax`, `nested_quant_map`,) quant state.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let vector = |name, dtype: DType, bytes: &'_ [u8]| -> (_, _, u64) {
            (name, dtype, bytes.len() as u64 / dtype.size() as u64)
        };
        let part = move |(name, dtype, len): (&'static str, DType, u64), bytes| Part {
            name,
            dtype,
            shape: shape_of(&[len]),
            bytes,
        };
        let codes = self.codes.as_slice();
        let count = codes.len() as u64 / self.packing.storage.size() as u64;
        let packed_shape = if self.packing.is_row { [1, count] } else { [count, 1] };
        let packed = Part {
            name: "",
            dtype: self.packing.storage.dtype(),
            shape: shape_of(&packed_shape),
            bytes: codes,
        };
        let map = self.quant_map.as_bytes();
        let mut parts = vec![packed];
        match &self.absmax {
            Absmax::Plain(values) => {
                parts.push(part(vector("absmax", DType::F32, values.as_bytes()), values.as_bytes()));
                parts.push(part(vector("quant_map", DType::F32, map), map));
            }
            Absmax::Double { codes, nested } => {
                let codes = codes.as_slice();
                parts.push(part(vector("absmax", DType::U8, codes), codes));
                parts.push(part(vector("quant_map", DType::F32, map), map));
                for (name, values) in [("nested_absmax", &nested.absmax), ("nested_quant_map", &nested.map)] {
                    parts.push(part(vector(name, DType::F32, values.as_bytes()), values.as_bytes()));
                }
            }
        }
        let state = self.state_json.as_bytes();
        parts.push(part(vector(state_part_name(self.quant_type), DType::U8, state), state));
        parts.into_iter()
    }

    /// Builds a weight from its parts, in any order, checking every part against the quant state.
    /// Bytes are shared, not copied (except `f32` values at odd addresses).
    pub fn from_parts(parts: &[PartSource<'_>]) -> Result<Self> {
        let named = NamedParts::sort(parts)?;
        let state = state_json::read(named.state.bytes.as_slice(), named.quant_type)?;
        named.build(state)
    }
}

/// The parts by role.
struct NamedParts<'a, 'n> {
    quant_type: QuantType,
    state: &'a PartSource<'n>,
    packed: &'a PartSource<'n>,
    absmax: &'a PartSource<'n>,
    quant_map: &'a PartSource<'n>,
    nested_absmax: Option<&'a PartSource<'n>>,
    nested_map: Option<&'a PartSource<'n>>,
}

impl<'a, 'n> NamedParts<'a, 'n> {
    fn sort(parts: &'a [PartSource<'n>]) -> Result<Self> {
        let mut states = parts.iter().filter(|p| p.name.contains(STATE_PREFIX));
        let state = states.next().ok_or_else(|| {
            err!(
                Format,
                "no part named {STATE_PREFIX}nf4 or {STATE_PREFIX}fp4: not a bitsandbytes 4-bit weight"
            )
        })?;
        if let Some(second) = states.next() {
            return Err(err!(Format, "two quant states: {} and {}", state.name, second.name));
        }
        let (prefix, type_name) = state.name.split_once(STATE_PREFIX).expect("the filter found it");
        let quant_type = QuantType::parse(type_name)
            .map_err(|_| err!(Format, "{}: expected {STATE_PREFIX}nf4 or {STATE_PREFIX}fp4", state.name))?;
        let owner = prefix.strip_suffix('.').unwrap_or(prefix);
        let mut named = (None, None, None, None, None);
        for part in parts.iter().filter(|p| !std::ptr::eq(*p, state)) {
            let slot = match part.name.strip_prefix(prefix) {
                _ if part.name == owner => &mut named.0,
                Some("absmax") => &mut named.1,
                Some("quant_map") => &mut named.2,
                Some("nested_absmax") => &mut named.3,
                Some("nested_quant_map") => &mut named.4,
                _ => {
                    return Err(err!(
                        Format,
                        "part \"{}\": expected \"{owner}\" or {prefix}absmax, quant_map, nested_absmax, \
                         nested_quant_map",
                        part.name
                    ));
                }
            };
            if slot.replace(part).is_some() {
                return Err(err!(Format, "part \"{}\" stands twice", part.name));
            }
        }
        let required = |part: Option<&'a PartSource<'n>>, name: &str| {
            part.ok_or_else(|| err!(Format, "part \"{name}\" is missing"))
        };
        Ok(NamedParts {
            quant_type,
            state,
            packed: required(named.0, owner)?,
            absmax: required(named.1, &format!("{prefix}absmax"))?,
            quant_map: required(named.2, &format!("{prefix}quant_map"))?,
            nested_absmax: named.3,
            nested_map: named.4,
        })
    }

    fn build(&self, state: State) -> Result<Weight> {
        let block_size =
            BlockSize::new(state.blocksize).map_err(|e| err!(Format, "quant_state: blocksize: {e}"))?;
        let dtype = FloatType::parse(&state.dtype).map_err(|e| err!(Format, "quant_state: {e}"))?;
        let (packing, codes) = self.packed()?;
        let shape = match &state.shape {
            Some(dims) => Shape::new(dims).map_err(|e| err!(Format, "quant_state: {e}"))?,
            None => Shape::new(&[codes.as_slice().len() as u64 * 2])?,
        };
        let geometry = Geometry { numel: shape.numel(), block_size };
        if codes.as_slice().len() as u64 != geometry.packed_bytes() {
            return Err(err!(
                Format,
                "packed codes: {} bytes, shape {shape} needs {}",
                codes.as_slice().len(),
                geometry.packed_bytes()
            ));
        }
        Ok(Weight::from_fields(Fields {
            shape,
            shape_known: state.shape.is_some(),
            dtype,
            quant_type: self.quant_type,
            block_size,
            packing,
            codes,
            quant_map: self.quant_map()?,
            absmax: self.absmax(&state, geometry.blocks())?,
        }))
    }

    fn packed(&self) -> Result<(Packing, Bytes)> {
        let storage = Storage::from_dtype(self.packed.dtype).ok_or_else(|| {
            let name = self.packed.dtype.safetensors_name();
            err!(Format, "packed codes: dtype {name}, expected U8, F16, BF16 or F32")
        })?;
        let is_row = match *self.packed.shape.dims() {
            [1, n] if n != 1 => true,
            [_, 1] => false,
            _ => {
                let shape = self.packed.shape;
                return Err(err!(Format, "packed codes: shape {shape}, expected [n, 1] or [1, n]"));
            }
        };
        check_bytes(self.packed)?;
        Ok((Packing { storage, is_row }, self.packed.bytes.clone()))
    }

    /// Older writers rounded the table differently; anything further off is not this codebook.
    fn quant_map(&self) -> Result<F32Values> {
        let values = f32_part(self.quant_map, 16)?;
        for (i, (value, named)) in values.as_slice().iter().zip(self.quant_type.codebook()).enumerate() {
            let near = (value - named).abs() <= 1e-3;
            if !near {
                return Err(err!(
                    Format,
                    "quant_map[{i}] is {value}, but {} has {named} there",
                    self.quant_type.name()
                ));
            }
        }
        Ok(values)
    }

    fn absmax(&self, state: &State, blocks: u64) -> Result<Absmax> {
        let Some(nested_absmax) = self.nested_absmax else {
            if self.nested_map.is_some() {
                return Err(err!(Format, "nested_quant_map without nested_absmax"));
            }
            return Ok(Absmax::Plain(f32_part(self.absmax, blocks)?));
        };
        let map = self.nested_map.ok_or_else(|| err!(Format, "nested_absmax without nested_quant_map"))?;
        let offset = state
            .nested_offset
            .ok_or_else(|| err!(Format, "quant_state: nested_offset is missing beside nested_absmax"))?;
        let block_size = nested_block_size(state)?;
        let dtype = state.nested_dtype.clone().unwrap_or_else(|| "float32".into());
        FloatType::parse(&dtype).map_err(|e| err!(Format, "quant_state: nested_dtype: {e}"))?;
        let codes = &self.absmax;
        if codes.dtype != DType::U8 || codes.shape.numel() != blocks {
            return Err(err!(
                Format,
                "absmax: {} {}, expected U8 [{blocks}] beside nested_absmax",
                codes.dtype.safetensors_name(),
                codes.shape
            ));
        }
        check_bytes(codes)?;
        let map = f32_part(map, 256)?;
        if let Some(i) = map.as_slice().iter().position(|v| !v.is_finite()) {
            return Err(err!(
                Format,
                "nested_quant_map[{i}] is {}, expected a finite value",
                map.as_slice()[i]
            ));
        }
        Ok(Absmax::Double {
            codes: codes.bytes.clone(),
            nested: Nested {
                absmax: f32_part(nested_absmax, blocks.div_ceil(u64::from(block_size)))?,
                map,
                block_size,
                dtype,
                offset: offset as f32,
            },
        })
    }
}

fn nested_block_size(state: &State) -> Result<u32> {
    match state.nested_blocksize {
        Some(n @ 32..=4096) if n.is_power_of_two() => Ok(n as u32),
        Some(n) => {
            Err(err!(Format, "quant_state: nested_blocksize {n}: expected 256 (a power of two, 32 to 4096)"))
        }
        None => Err(err!(Format, "quant_state: nested_blocksize is missing beside nested_absmax")),
    }
}

fn check_bytes(part: &PartSource<'_>) -> Result<()> {
    let needed = part.shape.numel().checked_mul(part.dtype.size() as u64);
    if needed == Some(part.bytes.as_slice().len() as u64) {
        return Ok(());
    }
    let dtype = part.dtype.safetensors_name();
    Err(err!(
        Format,
        "part \"{}\": {} bytes do not fit {dtype} {}",
        part.name,
        part.bytes.as_slice().len(),
        part.shape
    ))
}

fn f32_part(part: &PartSource<'_>, count: u64) -> Result<F32Values> {
    if part.dtype != DType::F32 || part.shape.numel() != count {
        return Err(err!(
            Format,
            "part \"{}\": {} {}, expected F32 [{count}]",
            part.name,
            part.dtype.safetensors_name(),
            part.shape
        ));
    }
    check_bytes(part)?;
    F32Values::new(part.bytes.clone())
}
