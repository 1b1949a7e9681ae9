//! Elements of any float type, at any alignment, to and from `f32`.

use half::{bf16, f16};

use crate::dtype::FloatType;

/// Widens `out.len()` elements, exactly.
///
/// # Safety
/// `source` holds that many elements of `float_type`.
pub(crate) unsafe fn load(source: *const u8, float_type: FloatType, out: &mut [f32]) {
    // SAFETY: element `i` lies inside the source.
    unsafe {
        match float_type {
            FloatType::F32 => {
                let source = source.cast::<f32>();
                out.iter_mut().enumerate().for_each(|(i, o)| *o = source.add(i).read_unaligned());
            }
            FloatType::F16 => {
                let source = source.cast::<u16>();
                for (i, o) in out.iter_mut().enumerate() {
                    *o = f16::from_bits(source.add(i).read_unaligned()).to_f32();
                }
            }
            FloatType::Bf16 => {
                let source = source.cast::<u16>();
                for (i, o) in out.iter_mut().enumerate() {
                    *o = f32::from_bits(u32::from(source.add(i).read_unaligned()) << 16);
                }
            }
        }
    }
}

/// Rounds `values` to nearest even and stores them.
///
/// # Safety
/// `target` has room for `values.len()` elements of `float_type`.
pub(crate) unsafe fn store(values: &[f32], target: *mut u8, float_type: FloatType) {
    // SAFETY: element `i` lies inside the target.
    unsafe {
        match float_type {
            FloatType::F32 => {
                let target = target.cast::<f32>();
                values.iter().enumerate().for_each(|(i, v)| target.add(i).write_unaligned(*v));
            }
            FloatType::F16 => {
                let target = target.cast::<u16>();
                for (i, v) in values.iter().enumerate() {
                    target.add(i).write_unaligned(f16::from_f32(*v).to_bits());
                }
            }
            FloatType::Bf16 => {
                let target = target.cast::<u16>();
                for (i, v) in values.iter().enumerate() {
                    target.add(i).write_unaligned(bf16::from_f32(*v).to_bits());
                }
            }
        }
    }
}
