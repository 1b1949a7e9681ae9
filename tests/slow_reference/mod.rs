//! Quantize, dequantize and multiply written a second time, as slowly and plainly as can be, from the
//! description of what bitsandbytes 0.50.2 does: no table or routine of the library is used.

/// NF4 and FP4 codes by nibble.
pub const NF4: [u32; 16] = [
    0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f, 0xbdba7871, 0, 0x3da2faff,
    0x3e24cae3, 0x3e7c04dd, 0x3ead033a, 0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000,
];
const FP4_MAGNITUDES: [u32; 8] =
    [0, 0x3baaaaab, 0x3f2aaaab, 0x3f800000, 0x3eaaaaab, 0x3f000000, 0x3e2aaaab, 0x3e800000];

/// The value of a code.
pub fn value(is_nf4: bool, nibble: u8) -> f32 {
    if is_nf4 {
        return f32::from_bits(NF4[nibble as usize]);
    }
    let magnitude = f32::from_bits(FP4_MAGNITUDES[nibble as usize & 7]);
    // The stored map has +0 for both zeros.
    if nibble > 8 { -magnitude } else { magnitude }
}

/// On a CPU: the number of midpoints of the sorted codes that lie below `s`.
fn code_on_cpu(is_nf4: bool, s: f32) -> u8 {
    // Sorting FP4 puts nibble 0 before nibble 8, both of which are zero.
    const FP4_ORDER: [u8; 16] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];
    let order: Vec<u8> = if is_nf4 { (0..16).collect() } else { FP4_ORDER.to_vec() };
    let sorted: Vec<f32> = order.iter().map(|n| value(is_nf4, *n)).collect();
    if s.is_nan() {
        return order[15];
    }
    let below = sorted.windows(2).filter(|pair| (pair[0] + pair[1]) / 2.0 < s).count();
    order[below]
}

/// In CUDA: a decision tree over decimal literals.
// The literals stand as in the CUDA source; how they are rounded is the point.
#[allow(clippy::excessive_precision)]
fn code_in_cuda(is_nf4: bool, s: f32) -> u8 {
    const NF4_BOUNDS: [f32; 15] = [
        -0.8480964004993439,
        -0.6106329262256622,
        -0.4599952697753906,
        -0.33967943489551544,
        -0.23460740596055984,
        -0.13791173323988914,
        -0.045525018125772476,
        0.03979014977812767,
        0.1202552504837513,
        0.2035212516784668,
        0.2920137718319893,
        0.3893125355243683,
        0.5016634166240692,
        0.6427869200706482,
        0.8614784181118011,
    ];
    const FP4_BOUNDS: [(f32, u8); 7] = [
        (0.00260417, 1),
        (0.0859375, 6),
        (0.20833333, 7),
        (0.29166667, 4),
        (0.4166667, 5),
        (0.583333, 2),
        (0.8333333, 3),
    ];
    if s.is_nan() {
        return 0;
    }
    if is_nf4 {
        return NF4_BOUNDS.iter().filter(|b| s > **b).count() as u8;
    }
    let magnitude = FP4_BOUNDS.iter().rev().find(|(bound, _)| s.abs() > *bound).map_or(0, |(_, code)| *code);
    if s < 0.0 { magnitude + 8 } else { magnitude }
}

/// A denormal as CUDA's fast arithmetic sees it.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// Packed codes and absmax.
pub fn quantize(is_nf4: bool, is_cuda: bool, block_size: usize, values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let (mut nibbles, mut scales) = (Vec::new(), Vec::new());
    for block in values.chunks(block_size) {
        let full = block.len() == block_size;
        if is_cuda {
            // A thread beyond the end reads zero.
            let behind = if full { None } else { Some(&0.0f32) };
            let seen = block.iter().chain(behind).map(|x| flushed(*x).abs()).filter(|x| !x.is_nan());
            let largest = seen.fold(f32::MIN, f32::max);
            let reciprocal = flushed(1.0 / largest);
            nibbles.extend(block.iter().map(|x| code_in_cuda(is_nf4, flushed(flushed(*x) * reciprocal))));
            scales.push(largest);
        } else {
            let has_nan = block.iter().any(|x| x.is_nan());
            let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let largest = if has_nan { f32::NAN } else { largest };
            let least = if has_nan { f32::NAN } else { largest.max(1e-38) };
            let scaled = |x: &f32| if full { x * (1.0 / least) } else { x / least };
            nibbles.extend(block.iter().map(|x| code_on_cpu(is_nf4, scaled(x).clamp(-1.0, 1.0))));
            scales.push(if full { largest } else { least });
        }
    }
    if nibbles.len() % 2 == 1 {
        nibbles.push(if is_nf4 { 7 } else { 0 });
    }
    (nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect(), scales)
}

/// Element `index` in float32.
pub fn decode(is_nf4: bool, block_size: usize, packed: &[u8], scales: &[f32], index: usize) -> f32 {
    let byte = packed[index / 2];
    let nibble = if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
    value(is_nf4, nibble) * scales[index / block_size]
}

/// What the second level of double quantization says of absmax number `index`.
pub fn nested(codes: &[u8], map: &[f32], absmax: &[f32], offset: f32, index: usize) -> f32 {
    map[codes[index] as usize] * absmax[index / 256] + offset
}
