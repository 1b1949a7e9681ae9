use super::context::fourbit_context;
use super::device::fourbit_device;
use super::guard::{guard, not_null};
use super::handle::{self, Handle, get};
use super::sized::{Growing, write};
use super::status::fourbit_status;
use super::tensor::{FOURBIT_MAX_RANK, fourbit_dtype};
use super::weight_parts::CParts;
use crate::codebook::QuantType;
use crate::device::Device;
use crate::weight::Weight;

/// A 4-bit weight: packed codes and quant state. Immutable; any number of threads may use one.
pub struct fourbit_weight {
    pub(super) weight: Weight,
    /// Names and shapes of the parts, for views that borrow from the handle.
    pub(super) parts: CParts,
}

impl Handle for fourbit_weight {
    const NAME: &'static str = "fourbit_weight";
}

impl fourbit_weight {
    pub(super) fn new(weight: Weight) -> Self {
        let parts = CParts::of(&weight);
        fourbit_weight { weight, parts }
    }
}

/// 4-bit data types.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum fourbit_quant_type {
    /// NormalFloat4.
    Nf4 = 0,
    /// 4-bit float.
    Fp4 = 1,
}

impl From<QuantType> for fourbit_quant_type {
    fn from(quant_type: QuantType) -> Self {
        match quant_type {
            QuantType::Nf4 => fourbit_quant_type::Nf4,
            QuantType::Fp4 => fourbit_quant_type::Fp4,
        }
    }
}

/// What a weight is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_weight_info {
    /// sizeof(fourbit_weight_info), set by the caller.
    pub struct_size: u32,
    /// A fourbit_quant_type.
    pub quant_type: u32,
    /// Elements per absmax.
    pub block_size: u32,
    /// 1 if the absmax values are quantized themselves.
    pub double_quant: u32,
    /// Where the weight is.
    pub device: fourbit_device,
    /// The dtype of the original: the default to dequantize to.
    pub dtype: fourbit_dtype,
    /// The dtype the packed bytes are labelled with.
    pub storage: fourbit_dtype,
    /// Number of dimensions of the original.
    pub ndim: i32,
    /// Zero.
    pub reserved: u32,
    /// The original shape, [out, in] for a linear layer; `ndim` values, then zeros.
    pub shape: [i64; FOURBIT_MAX_RANK],
    /// Elements of the original.
    pub element_count: u64,
    /// Bytes of all parts.
    pub byte_size: u64,
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_weight_info {
    const NAME: &'static str = "fourbit_weight_info";
}

pub(super) fn dims_of(shape: &crate::shape::Shape) -> [i64; FOURBIT_MAX_RANK] {
    let mut dims = [0; FOURBIT_MAX_RANK];
    for (to, from) in dims.iter_mut().zip(shape.dims()) {
        *to = *from as i64;
    }
    dims
}

/// Describes a weight.
///
/// # Safety
/// `weight` is live; `out_info` is NULL or writable for the bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_query(
    weight: *const fourbit_weight,
    out_info: *mut fourbit_weight_info,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let weight = unsafe { &get(weight)?.weight };
        let info = fourbit_weight_info {
            struct_size: 0,
            quant_type: fourbit_quant_type::from(weight.quant_type()) as u32,
            block_size: weight.block_size().get() as u32,
            double_quant: weight.is_double_quantized().into(),
            device: Device::CPU.into(),
            dtype: crate::dtype::DType::from(weight.dtype()).into(),
            storage: weight.storage().dtype().into(),
            ndim: weight.shape().dims().len() as i32,
            reserved: 0,
            shape: dims_of(&weight.shape()),
            element_count: weight.shape().numel(),
            byte_size: weight.byte_size(),
        };
        // SAFETY: this function's contract.
        unsafe { write(out_info, info) }
    })
}

/// A weight with the same contents on the context's device. On the same device the bytes are
/// shared, not copied.
///
/// # Safety
/// Handles are live; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_copy_to(
    weight: *const fourbit_weight,
    context: *const fourbit_context,
    out: *mut *mut fourbit_weight,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            get(context)?;
            let copy = get(weight)?.weight.clone();
            handle::give(out, fourbit_weight::new(copy))
        }
    })
}

/// Matrix `index` of a weight of three dimensions (fused experts: [experts, out, in] or [experts, in,
/// out]) as a weight of its own, for fourbit_gemm and fourbit_grouped_gemm; where it is [in, out], with
/// FOURBIT_GEMM_TRANSPOSE. The codes are shared, not copied. The scales are shared too, but for a
/// double-quantized weight whose matrices are no multiple of 256 blocks: those are decoded into four
/// bytes per block. It may outlive `weight`. The matrices must consist of whole blocks.
///
/// # Safety
/// `weight` is live; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_expert(
    weight: *const fourbit_weight,
    index: u64,
    out: *mut *mut fourbit_weight,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let expert = get(weight)?.weight.expert(index)?;
            handle::give(out, fourbit_weight::new(expert))
        }
    })
}

/// Gives a weight up; NULL is allowed. Views and names borrowed from it become invalid.
///
/// # Safety
/// No other call uses this handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_weight_destroy(weight: *mut fourbit_weight) {
    // SAFETY: this function's contract.
    unsafe { handle::destroy(weight) };
}
