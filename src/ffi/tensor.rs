use std::ffi::c_void;

use super::context::fourbit_context;
use super::device::fourbit_device;
use super::guard::{guard, not_null};
use super::handle::get;
use super::status::fourbit_status;
use crate::device::DeviceKind;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::memory::AlignedBytes;
use crate::quant::Storage;
use crate::shape::Shape;
use crate::tensor::{RawTensor, TensorMut, TensorRef};

/// Element type codes. The numbers are DLPack's DLDataTypeCode.
#[repr(u8)]
pub enum fourbit_dtype_code {
    /// Signed integer.
    Int = 0,
    /// Unsigned integer.
    Uint = 1,
    /// IEEE 754 float.
    Float = 2,
    /// bfloat16.
    Bfloat = 4,
    /// Boolean, one byte.
    Bool = 6,
    /// 8-bit float, 4 exponent bits.
    Float8E4m3fn = 10,
    /// 8-bit float, 5 exponent bits.
    Float8E5m2 = 12,
}

/// An element type. Same layout as DLPack's DLDataType. All zero means "the default" where an
/// option asks for one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct fourbit_dtype {
    /// A fourbit_dtype_code.
    pub code: u8,
    /// Bits per element.
    pub bits: u8,
    /// 1.
    pub lanes: u16,
}

/// A view of someone's memory; it owns nothing. Same layout as DLPack's DLTensor, so a pointer to
/// one may be passed as the other.
///
/// Element 0 is at (char *)data + byte_offset. `strides` count elements; NULL means compact
/// row-major. Any alignment is accepted; FOURBIT_ALIGNMENT is the fast case. Rank 0 to 8. Inputs
/// are only read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct fourbit_tensor {
    /// The memory.
    pub data: *mut c_void,
    /// Where the memory is. All zero is taken for the CPU.
    pub device: fourbit_device,
    /// Number of dimensions.
    pub ndim: i32,
    /// Element type.
    pub dtype: fourbit_dtype,
    /// `ndim` sizes, outermost first. May be NULL for rank 0.
    pub shape: *const i64,
    /// `ndim` distances in elements, or NULL.
    pub strides: *const i64,
    /// Added to `data`.
    pub byte_offset: u64,
}

/// The alignment in bytes of every allocation the library makes, and the one kernels like best.
pub const FOURBIT_ALIGNMENT: usize = 64;

const _: () = assert!(size_of::<fourbit_tensor>() == 48 && size_of::<fourbit_dtype>() == 4);
/// The largest rank of a tensor.
pub const FOURBIT_MAX_RANK: usize = 8;

const _: () = assert!(FOURBIT_MAX_RANK == crate::shape::MAX_RANK);
const _: () = assert!(FOURBIT_ALIGNMENT == crate::memory::ALIGNMENT);

const DTYPES: [(DType, fourbit_dtype_code, u8); 15] = {
    use fourbit_dtype_code::*;
    [
        (DType::F64, Float, 64),
        (DType::F32, Float, 32),
        (DType::F16, Float, 16),
        (DType::Bf16, Bfloat, 16),
        (DType::F8E4m3, Float8E4m3fn, 8),
        (DType::F8E5m2, Float8E5m2, 8),
        (DType::I64, Int, 64),
        (DType::I32, Int, 32),
        (DType::I16, Int, 16),
        (DType::I8, Int, 8),
        (DType::U64, Uint, 64),
        (DType::U32, Uint, 32),
        (DType::U16, Uint, 16),
        (DType::U8, Uint, 8),
        (DType::Bool, Bool, 8),
    ]
};

impl From<DType> for fourbit_dtype {
    fn from(dtype: DType) -> Self {
        let (_, code, bits) = &DTYPES[dtype as usize];
        // SAFETY: a fieldless enum of representation u8.
        let code = unsafe { *(code as *const fourbit_dtype_code).cast::<u8>() };
        fourbit_dtype { code, bits: *bits, lanes: 1 }
    }
}

impl fourbit_dtype {
    /// All zero: the default is asked for.
    pub(super) const DEFAULT: fourbit_dtype = fourbit_dtype { code: 0, bits: 0, lanes: 0 };

    pub(super) fn checked(self, name: &str) -> Result<DType> {
        let known = DTYPES.iter().map(|(d, _, _)| *d).find(|d| fourbit_dtype::from(*d) == self);
        known.ok_or_else(|| {
            let fourbit_dtype { code, bits, lanes } = self;
            err!(DtypeUnsupported, "{name}: no dtype has code {code}, {bits} bits, {lanes} lanes")
        })
    }

    pub(super) fn float_or(self, default: Option<FloatType>, name: &str) -> Result<Option<FloatType>> {
        if self == Self::DEFAULT {
            return Ok(default);
        }
        let dtype = self.checked(name)?;
        let float = dtype.float().ok_or_else(|| {
            let dtype = dtype.safetensors_name();
            err!(DtypeUnsupported, "{name}: dtype {dtype}, expected float32, float16 or bfloat16")
        })?;
        Ok(Some(float))
    }

    pub(super) fn storage(self, name: &str) -> Result<Storage> {
        if self == Self::DEFAULT {
            return Ok(Storage::U8);
        }
        let dtype = self.checked(name)?;
        Storage::from_dtype(dtype).ok_or_else(|| {
            let dtype = dtype.safetensors_name();
            err!(DtypeUnsupported, "{name}: dtype {dtype}, expected uint8, float16, bfloat16 or float32")
        })
    }
}

/// Checks a tensor struct: rank, sizes, dtype, device, overflow of everything it reaches.
///
/// # Safety
/// `tensor` is NULL or readable, and so are its `shape` and `strides` for `ndim` values.
pub(super) unsafe fn read_raw(tensor: *const fourbit_tensor, name: &str) -> Result<RawTensor> {
    not_null(tensor, name)?;
    // SAFETY: not NULL, and the caller's promise.
    let t = unsafe { tensor.read_unaligned() };
    if !(0..=FOURBIT_MAX_RANK as i32).contains(&t.ndim) {
        return Err(err!(InvalidArgument, "{name}.ndim is {}, expected 0 to {FOURBIT_MAX_RANK}", t.ndim));
    }
    if t.device.checked(name)?.kind != DeviceKind::Cpu {
        return Err(err!(DeviceMismatch, "{name} is on another device than the context (cpu)"));
    }
    let rank = t.ndim as usize;
    let dtype = t.dtype.checked(&format!("{name}.dtype"))?;
    let mut dims = [0u64; FOURBIT_MAX_RANK];
    let mut strides = [0i64; FOURBIT_MAX_RANK];
    if rank > 0 {
        not_null(t.shape, &format!("{name}.shape"))?;
    }
    for i in 0..rank {
        // SAFETY: the caller's promise on `shape`.
        let d = unsafe { t.shape.add(i).read_unaligned() };
        dims[i] = u64::try_from(d)
            .map_err(|_| err!(InvalidArgument, "{name}.shape[{i}] is {d}, expected 0 or more"))?;
        if !t.strides.is_null() {
            // SAFETY: the caller's promise on `strides`.
            strides[i] = unsafe { t.strides.add(i).read_unaligned() };
        }
    }
    let shape = Shape::new(&dims[..rank]).map_err(|e| e.in_place(name))?;
    let strides = (!t.strides.is_null()).then_some(&strides[..rank]);
    let data = t.data.cast::<u8>().wrapping_add(t.byte_offset as usize);
    let data = if t.data.is_null() { std::ptr::null_mut() } else { data };
    let raw = RawTensor::new(data, dtype, shape, strides).map_err(|e| e.in_place(name))?;
    check_reach(&raw, t.byte_offset, name)?;
    Ok(raw)
}

/// No element may lie outside the address space.
fn check_reach(raw: &RawTensor, byte_offset: u64, name: &str) -> Result<()> {
    let size = raw.dtype.size() as i128;
    let reach = raw.shape.dims().iter().zip(raw.strides()).fold(0i128, |sum, (d, s)| {
        sum.saturating_add((*d as i128 - 1).max(0).saturating_mul((*s as i128).abs()))
    });
    let bytes = reach.saturating_mul(size).saturating_add(size + i128::from(byte_offset));
    if bytes > isize::MAX as i128 {
        return Err(err!(
            InvalidArgument,
            "{name}: shape, strides and offset reach beyond the address space"
        ));
    }
    Ok(())
}

/// # Safety
/// As for [`read_raw`]; the memory it describes is readable and unchanged during the call.
pub(super) unsafe fn read_tensor<'a>(tensor: *const fourbit_tensor, name: &str) -> Result<TensorRef<'a>> {
    // SAFETY: the caller's promise.
    unsafe { Ok(TensorRef::from_raw(read_raw(tensor, name)?)) }
}

/// # Safety
/// As for [`read_raw`]; the memory it describes is writable and untouched by others during the call.
pub(super) unsafe fn read_tensor_mut<'a>(tensor: *const fourbit_tensor, name: &str) -> Result<TensorMut<'a>> {
    // SAFETY: the caller's promise.
    let raw = unsafe { read_raw(tensor, name)? };
    if raw.shape.dims().iter().zip(raw.strides()).any(|(d, s)| *d > 1 && *s == 0) {
        return Err(err!(InvalidArgument, "{name}: a stride of 0 makes elements share memory"));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { TensorMut::from_raw(raw) })
}

/// Copies a tensor to another of the same shape and dtype; strides may differ.
///
/// # Safety
/// Both tensors describe valid memory that does not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_tensor_copy(
    context: *const fourbit_context,
    source: *const fourbit_tensor,
    destination: *const fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let (source, mut destination) = unsafe {
            get(context)?;
            (read_tensor(source, "source")?, read_tensor_mut(destination, "destination")?)
        };
        let (from, to) = (*source.raw(), *destination.raw());
        if from.shape != to.shape {
            return Err(err!(ShapeMismatch, "source has shape {}, destination {}", from.shape, to.shape));
        }
        if from.dtype != to.dtype {
            let (a, b) = (from.dtype.safetensors_name(), to.dtype.safetensors_name());
            return Err(err!(
                DtypeUnsupported,
                "source is {a}, destination {b}: tensor_copy does not convert"
            ));
        }
        let bytes = from.shape.numel() * from.dtype.size() as u64;
        if from.is_compact() && to.is_compact() {
            // SAFETY: both reach exactly `bytes`; they do not overlap by contract.
            unsafe { std::ptr::copy(from.data, to.data, bytes as usize) };
            return Ok(());
        }
        let mut packed = AlignedBytes::zeroed_u64(bytes)?;
        source.pack_into(packed.as_mut_slice());
        destination.unpack_from(packed.as_slice());
        Ok(())
    })
}
