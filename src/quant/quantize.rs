//! A float tensor to a 4-bit weight.

use super::double::double_quantize;
use super::{Geometry, NESTED_BLOCK_SIZE, QuantSpec};
use crate::backend::QuantizeJob;
use crate::codebook::DYNAMIC_MAP;
use crate::context::Context;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::memory::{AlignedBytes, Bytes, F32Values};
use crate::shape::Shape;
use crate::tensor::TensorRef;
use crate::weight::{Absmax, Fields, Nested, Packing, Weight};

/// Quantizes a float32, float16 or bfloat16 tensor of any shape and strides. The shape and dtype
/// become the weight's own.
pub fn quantize(context: &Context, spec: &QuantSpec, source: TensorRef<'_>) -> Result<Weight> {
    let dtype = float_type(source.raw().dtype, "source")?;
    if source.raw().is_compact() {
        return quantize_compact(context, spec, source, dtype);
    }
    let mut packed = AlignedBytes::zeroed_u64(source.shape().numel() * dtype.size() as u64)?;
    source.pack_into(packed.as_mut_slice());
    let packed = TensorRef::from_bytes(packed.as_slice(), dtype.into(), source.shape())?;
    quantize_compact(context, spec, packed, dtype)
}

fn quantize_compact(
    context: &Context,
    spec: &QuantSpec,
    source: TensorRef<'_>,
    dtype: FloatType,
) -> Result<Weight> {
    let shape = source.shape();
    let geometry = Geometry { numel: shape.numel(), block_size: spec.block_size };
    check_storage(spec, &geometry)?;
    let mut codes = AlignedBytes::zeroed_u64(geometry.packed_bytes())?;
    let mut absmax = AlignedBytes::zeroed_u64(geometry.blocks() * 4)?;
    let job = QuantizeJob {
        source: source.raw().data,
        source_type: dtype,
        numel: geometry.numel,
        block_size: spec.block_size,
        quant_type: spec.quant_type,
        rule: spec.rule,
        codes: codes.as_mut_slice().as_mut_ptr(),
        absmax: absmax.as_f32_mut().as_mut_ptr(),
    };
    // SAFETY: the source is compact with `numel` elements, and both outputs have just been sized.
    unsafe { context.backend().quantize(&job)? };
    assemble(spec, shape, dtype, codes, absmax)
}

/// A weight of codes and absmax values that were quantized by `spec` from a tensor of this shape and
/// type, and sized for it.
pub(crate) fn assemble(
    spec: &QuantSpec,
    shape: Shape,
    dtype: FloatType,
    codes: AlignedBytes,
    absmax: AlignedBytes,
) -> Result<Weight> {
    Ok(Weight::from_fields(Fields {
        shape,
        shape_known: true,
        dtype,
        quant_type: spec.quant_type,
        block_size: spec.block_size,
        packing: Packing { storage: spec.storage, is_row: false },
        codes: Bytes::owned(codes),
        quant_map: F32Values::copy_of(spec.quant_type.codebook())?,
        absmax: finish_absmax(spec, absmax)?,
    }))
}

fn finish_absmax(spec: &QuantSpec, mut absmax: AlignedBytes) -> Result<Absmax> {
    if !spec.double_quant {
        return Ok(Absmax::Plain(F32Values::new(Bytes::owned(absmax))?));
    }
    let double = double_quantize(spec.rule, absmax.as_f32_mut())?;
    Ok(Absmax::Double {
        codes: Bytes::owned(double.codes),
        nested: Nested {
            absmax: F32Values::new(Bytes::owned(double.nested_absmax))?,
            map: F32Values::copy_of(&DYNAMIC_MAP)?,
            block_size: NESTED_BLOCK_SIZE,
            dtype: FloatType::F32.torch_name().into(),
            offset: double.offset,
        },
    })
}

/// A wider storage dtype must divide the packed bytes, as in bitsandbytes.
pub(crate) fn check_storage(spec: &QuantSpec, geometry: &Geometry) -> Result<()> {
    let (bytes, size) = (geometry.packed_bytes(), spec.storage.size() as u64);
    if bytes.is_multiple_of(size) {
        return Ok(());
    }
    Err(err!(
        InvalidArgument,
        "quant storage {}: {bytes} packed bytes are not a multiple of {size}; use uint8",
        spec.storage.torch_name()
    ))
}

/// The float type of an operand, or an error that names it.
pub(crate) fn float_type(dtype: DType, operand: &str) -> Result<FloatType> {
    dtype.float().ok_or_else(|| {
        let name = dtype.safetensors_name();
        err!(DtypeUnsupported, "{operand}: dtype {name}, expected float32, float16 or bfloat16")
    })
}
