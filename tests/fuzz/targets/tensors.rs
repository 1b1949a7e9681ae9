//! Tensor structs as a careless caller fills them.

use std::ptr;

use fourbit::ffi::*;

use super::operands::*;

/// More than this is not allocated here: such tensors get no memory, and must be refused.
const LARGEST: i128 = 1 << 16;

/// The bytes before and after element 0 that a tensor reaches, if it has elements.
fn reach(shape: &[i64], strides: &[i64], size: i128) -> Option<(i128, i128)> {
    let mut numel = 1i128;
    let (mut low, mut high) = (0i128, 0i128);
    for (d, s) in shape.iter().zip(strides) {
        numel = numel.saturating_mul(i128::from(*d).max(0));
        let far = (i128::from(*d) - 1).max(0).saturating_mul(i128::from(*s));
        low = low.saturating_add(far.min(0));
        high = high.saturating_add(far.max(0));
    }
    (numel > 0 && numel <= LARGEST)
        .then(|| (low.saturating_mul(size), high.saturating_add(1).saturating_mul(size)))
}

fn number(input: &mut Input<'_>) -> i64 {
    match input.byte() {
        n @ 0..=199 => i64::from(n) % 20 - 2,
        200..=219 => i64::from(input.word()),
        220..=239 => 1 << (input.byte() % 63),
        _ => input.long() as i64,
    }
}

/// A struct with any rank, sizes, strides, offset, dtype and device is copied and quantized.
pub fn tensor(data: &[u8]) {
    let mut input = Input(data);
    let context = context(&mut input);
    let ndim = if input.byte() < 230 { i32::from(input.byte() % 5) } else { input.word() as i32 - 32768 };
    let rank = ndim.clamp(0, 9) as usize;
    let shape: Vec<i64> = (0..rank).map(|_| number(&mut input)).collect();
    let strides: Option<Vec<i64>> =
        (input.byte() & 1 == 1).then(|| (0..rank).map(|_| number(&mut input)).collect());
    let dtype = match input.byte() {
        0..=199 => input.pick(&FLOATS),
        _ => fourbit_dtype { code: input.byte() % 16, bits: input.byte(), lanes: input.word() % 3 },
    };
    let byte_offset = if input.byte() < 200 { u64::from(input.byte()) } else { input.long() };
    let compact: Vec<i64> =
        (0..rank).map(|i| shape[i + 1..].iter().fold(1, |n: i64, d| n.wrapping_mul((*d).max(1)))).collect();
    let size = (i128::from(dtype.bits) + 7).div_euclid(8).max(1);
    let span = reach(&shape, strides.as_deref().unwrap_or(&compact), size);
    let memory = span
        .filter(|(low, high)| high - low <= LARGEST && byte_offset < 1 << 20)
        .map(|(low, high)| (low, exact((high - low) as usize, 0x3c)));
    let data = memory.as_ref().map_or(ptr::null_mut(), |(low, bytes)| {
        bytes.as_ptr().cast_mut().wrapping_offset(-*low as isize).wrapping_sub(byte_offset as usize)
    });
    let source = fourbit_tensor {
        ndim,
        device: fourbit_device { kind: if input.byte() < 240 { 1 } else { input.byte().into() }, index: 0 },
        byte_offset,
        ..view(data, dtype, &shape, strides.as_deref())
    };
    copy(context, &source, &shape, size, memory.is_some());
    let quantizer = Quantizer::new(context, 0, 64, input.byte() & 1 == 1);
    let mut weight = ptr::null_mut();
    // SAFETY: what the struct describes is allocated, or its data is NULL.
    if checked(unsafe { fourbit_quantize(quantizer.0, &source, &mut weight) }) {
        drop(Held(weight));
    }
}

/// Copies to compact memory of the same shape and dtype, if there is memory at all.
fn copy(
    context: *const fourbit_context,
    source: &fourbit_tensor,
    shape: &[i64],
    size: i128,
    has_memory: bool,
) {
    let numel: i128 = if has_memory { shape.iter().map(|d| i128::from(*d)).product() } else { 0 };
    let mut target = exact((numel * size) as usize, 0);
    let destination = fourbit_tensor {
        data: if has_memory { target.as_mut_ptr().cast() } else { ptr::null_mut() },
        strides: ptr::null(),
        byte_offset: 0,
        ..*source
    };
    // SAFETY: what the structs describe is allocated, or their data is NULL.
    if checked(unsafe { fourbit_tensor_copy(context, source, &destination) }) {
        assert!(target.iter().all(|b| *b == 0x3c), "copied from elsewhere");
    }
}
