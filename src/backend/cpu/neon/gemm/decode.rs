//! Nibbles to values: the four bytes of the codebook's values stand in four registers; `tbl` looks up
//! sixteen nibbles in each, and interleaving the planes, bytes then words, yields the values.

use std::arch::aarch64::*;

/// Bytes of codes that are decoded at a time.
pub(super) const BYTES: usize = 16;

/// The codebook, byte plane by byte plane.
pub(super) struct Planes([uint8x16_t; 4]);

impl Planes {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(codebook: &[f32; 16]) -> Self {
        // SAFETY: 16 values are 64 bytes; the load takes every fourth byte together.
        let planes = unsafe { vld4q_u8(codebook.as_ptr().cast()) };
        Planes([planes.0, planes.1, planes.2, planes.3])
    }

    /// The values of sixteen nibbles, one to a byte, in their order.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn look_up(&self, nibbles: uint8x16_t) -> [float32x4_t; 4] {
        let (b0, b1) = (vqtbl1q_u8(self.0[0], nibbles), vqtbl1q_u8(self.0[1], nibbles));
        let (b2, b3) = (vqtbl1q_u8(self.0[2], nibbles), vqtbl1q_u8(self.0[3], nibbles));
        let (low0, low1) = (vzip1q_u8(b0, b1), vzip2q_u8(b0, b1));
        let (high0, high1) = (vzip1q_u8(b2, b3), vzip2q_u8(b2, b3));
        [
            words(low0, high0, false),
            words(low0, high0, true),
            words(low1, high1, false),
            words(low1, high1, true),
        ]
    }
}

/// Values from their lower and upper halves, the first or the second four.
#[inline]
#[target_feature(enable = "neon")]
fn words(low: uint8x16_t, high: uint8x16_t, second: bool) -> float32x4_t {
    let (low, high) = (vreinterpretq_u16_u8(low), vreinterpretq_u16_u8(high));
    vreinterpretq_f32_u16(if second { vzip2q_u16(low, high) } else { vzip1q_u16(low, high) })
}

/// The upper and the lower nibbles of sixteen bytes: their first elements and their second.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn nibbles(bytes: uint8x16_t) -> [uint8x16_t; 2] {
    [vshrq_n_u8::<4>(bytes), vandq_u8(bytes, vdupq_n_u8(15))]
}

/// Sixteen bytes of codes; zeros beyond `count`.
///
/// # Safety
/// The bytes exist.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn load(source: *const u8, count: usize) -> uint8x16_t {
    // SAFETY: the bytes exist, or are copied to where sixteen do.
    unsafe {
        if count >= BYTES {
            return vld1q_u8(source);
        }
        let mut bytes = [0u8; BYTES];
        source.copy_to_nonoverlapping(bytes.as_mut_ptr(), count);
        vld1q_u8(bytes.as_ptr())
    }
}

/// The 32 values of sixteen bytes in the order of elements.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn in_order(planes: &Planes, bytes: uint8x16_t) -> [float32x4_t; 8] {
    let [first, second] = nibbles(bytes);
    let (low, high) = (planes.look_up(vzip1q_u8(first, second)), planes.look_up(vzip2q_u8(first, second)));
    [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]]
}
