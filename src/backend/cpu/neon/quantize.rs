//! Quantize with Advanced SIMD: the absmax as an integer maximum of magnitudes, the code by a
//! binary search whose bounds come from `tbl`.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::backend::QuantizeJob;
use crate::backend::cpu::quantize::{QuantizeArm, Run, drive};
use crate::dtype::FloatType;

const F32: u8 = FloatType::F32 as u8;
const F16: u8 = FloatType::F16 as u8;
const BF16: u8 = FloatType::Bf16 as u8;

/// Elements encoded at a time; a divisor of the runs' step and of every block size.
const STEP: usize = 32;

/// Quantizes the job.
///
/// # Safety
/// The job's pointers are as its fields say; Advanced SIMD.
pub(crate) unsafe fn quantize(job: &QuantizeJob) {
    // SAFETY: passed on.
    unsafe { drive::<Neon>(job) }
}

struct Neon;

impl QuantizeArm for Neon {
    type Search = Search;

    #[target_feature(enable = "neon")]
    unsafe fn search(bounds: &[f32; 16]) -> Search {
        Search::new(bounds)
    }

    #[target_feature(enable = "neon")]
    unsafe fn absmax(source: *const u8, source_type: FloatType, block_size: usize, bits: &mut [u32]) {
        // SAFETY: passed on.
        unsafe { absmax(source, source_type, block_size, bits) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn encode(run: &Run, search: &Search) {
        // SAFETY: passed on.
        unsafe {
            match (run.source_type, run.flush) {
                (FloatType::F32, false) => encode::<F32, false>(run, search),
                (FloatType::F32, true) => encode::<F32, true>(run, search),
                // Denormals of binary16 are normal numbers in binary32.
                (FloatType::F16, _) => encode::<F16, false>(run, search),
                (FloatType::Bf16, false) => encode::<BF16, false>(run, search),
                (FloatType::Bf16, true) => encode::<BF16, true>(run, search),
            }
        }
    }
}

/// See [`QuantizeArm::absmax`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn absmax(source: *const u8, source_type: FloatType, block_size: usize, bits: &mut [u32]) {
    let block_bytes = block_size * source_type.size();
    for (block, bits) in bits.iter_mut().enumerate() {
        // SAFETY: the block lies inside the source.
        unsafe {
            let block = source.add(block * block_bytes);
            *bits = match source_type {
                FloatType::F32 => absmax_32(block, block_bytes),
                FloatType::Bf16 => u32::from(absmax_16(block, block_bytes)) << 16,
                FloatType::F16 => {
                    let widest = vdupq_n_u16(absmax_16(block, block_bytes));
                    vgetq_lane_u32::<0>(vreinterpretq_u32_f32(widen_f16_low(widest)))
                }
            };
        }
    }
}

/// # Safety
/// `block` holds `bytes` bytes, a multiple of 64. Advanced SIMD.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn absmax_32(block: *const u8, bytes: usize) -> u32 {
    let magnitude = vdupq_n_u32(0x7fff_ffff);
    let mut largest = [vdupq_n_u32(0); 4];
    for at in (0..bytes).step_by(64) {
        for (i, largest) in largest.iter_mut().enumerate() {
            // SAFETY: inside the block.
            let x = unsafe { vreinterpretq_u32_u8(vld1q_u8(block.add(at + 16 * i))) };
            *largest = vmaxq_u32(*largest, vandq_u32(x, magnitude));
        }
    }
    vmaxvq_u32(vmaxq_u32(vmaxq_u32(largest[0], largest[1]), vmaxq_u32(largest[2], largest[3])))
}

/// # Safety
/// As [`absmax_32`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn absmax_16(block: *const u8, bytes: usize) -> u16 {
    let magnitude = vdupq_n_u16(0x7fff);
    let mut largest = [vdupq_n_u16(0); 4];
    for at in (0..bytes).step_by(64) {
        for (i, largest) in largest.iter_mut().enumerate() {
            // SAFETY: inside the block.
            let x = unsafe { vreinterpretq_u16_u8(vld1q_u8(block.add(at + 16 * i))) };
            *largest = vmaxq_u16(*largest, vandq_u16(x, magnitude));
        }
    }
    vmaxvq_u16(vmaxq_u16(vmaxq_u16(largest[0], largest[1]), vmaxq_u16(largest[2], largest[3])))
}

/// See [`QuantizeArm::encode`].
#[target_feature(enable = "neon")]
unsafe fn encode<const TYPE: u8, const FLUSH: bool>(run: &Run, search: &Search) {
    // SAFETY: sixteen bytes.
    let codes = unsafe { vld1q_u8(run.codes.as_ptr()) };
    let size = run.source_type.size();
    for step in 0..run.numel / STEP {
        let multiplier = vdupq_n_f32(run.multipliers[(step * STEP) >> run.shift]);
        let mut bytes = [vdupq_n_u32(0); 4];
        for (i, bytes) in bytes.iter_mut().enumerate() {
            // SAFETY: the eight elements lie inside the run.
            let (even, odd) = unsafe { even_odd::<TYPE>(run.source.add((step * STEP + 8 * i) * size)) };
            let high = search.bounds_below::<FLUSH>(even, multiplier);
            let low = search.bounds_below::<FLUSH>(odd, multiplier);
            *bytes = vsliq_n_u32::<4>(low, high);
        }
        // The low bytes of sixteen lanes.
        let words = |a, b| vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
        let (first, second) = (words(bytes[0], bytes[1]), words(bytes[2], bytes[3]));
        let mut packed = vuzp1q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(second));
        if !run.ascending {
            let low = vqtbl1q_u8(codes, vandq_u8(packed, vdupq_n_u8(15)));
            packed = vsliq_n_u8::<4>(low, vqtbl1q_u8(codes, vshrq_n_u8::<4>(packed)));
        }
        // SAFETY: inside the output.
        unsafe { vst1q_u8(run.output.add(step * STEP / 2), packed) };
    }
}

/// The even and the odd ones of eight elements, as `f32`.
///
/// # Safety
/// `source` holds eight elements. Advanced SIMD.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn even_odd<const TYPE: u8>(source: *const u8) -> (float32x4_t, float32x4_t) {
    // SAFETY: the caller's contract.
    unsafe {
        let first = vld1q_u8(source);
        if TYPE == BF16 {
            let pairs = vreinterpretq_u32_u8(first);
            let odd = vandq_u32(pairs, vdupq_n_u32(0xffff_0000));
            return (vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs)), vreinterpretq_f32_u32(odd));
        }
        let (a, b) = if TYPE == F32 {
            (vreinterpretq_f32_u8(first), vreinterpretq_f32_u8(vld1q_u8(source.add(16))))
        } else {
            let half = vreinterpretq_u16_u8(first);
            (widen_f16_low(half), widen_f16_low(vextq_u16::<4>(half, half)))
        };
        (vuzp1q_f32(a, b), vuzp2q_f32(a, b))
    }
}

/// The four lower binary16 values. (The intrinsic needs a type that Rust has not stabilised.)
#[inline]
#[target_feature(enable = "neon")]
fn widen_f16_low(half: uint16x8_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: one instruction of Advanced SIMD between two registers.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) half, options(pure, nomem, nostack));
    }
    wide
}

/// The bounds as the four steps of a binary search read them.
struct Search {
    middle: float32x4_t,
    quarters: uint8x16_t,
    eighths: uint8x16_t,
    sixteenths: uint8x16x2_t,
}

impl Search {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(bounds: &[f32; 16]) -> Self {
        let b = bounds;
        let table = |a, b, c, d| {
            // SAFETY: four floats.
            vreinterpretq_u8_f32(unsafe { vld1q_f32([a, b, c, d].as_ptr()) })
        };
        Search {
            middle: vdupq_n_f32(b[7]),
            quarters: table(b[3], b[11], 0.0, 0.0),
            eighths: table(b[1], b[5], b[9], b[13]),
            sixteenths: uint8x16x2_t(table(b[0], b[2], b[4], b[6]), table(b[8], b[10], b[12], b[14])),
        }
    }

    /// How many bounds are below `x * multiplier`; with `FLUSH`, denormal `x` is zero.
    #[inline]
    #[target_feature(enable = "neon")]
    fn bounds_below<const FLUSH: bool>(&self, x: float32x4_t, multiplier: float32x4_t) -> uint32x4_t {
        let mut scaled = vmulq_f32(x, multiplier);
        if FLUSH {
            let normal = vtstq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x7f80_0000));
            scaled = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(scaled), normal));
        }
        // Byte offsets of an entry: four times its index, plus 0 to 3.
        let offsets = |i| {
            let entry = vmlaq_u32(vdupq_n_u32(0x0302_0100), i, vdupq_n_u32(0x0404_0404));
            vreinterpretq_u8_u32(entry)
        };
        // The comparison's mask is minus one.
        let next = |i, bound| vsubq_u32(vaddq_u32(i, i), vcgtq_f32(scaled, bound));
        let i = next(vdupq_n_u32(0), self.middle);
        let i = next(i, vreinterpretq_f32_u8(vqtbl1q_u8(self.quarters, offsets(i))));
        let i = next(i, vreinterpretq_f32_u8(vqtbl1q_u8(self.eighths, offsets(i))));
        next(i, vreinterpretq_f32_u8(vqtbl2q_u8(self.sixteenths, offsets(i))))
    }
}
