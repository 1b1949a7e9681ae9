//! The 8-bit step of double quantization: the dynamic map and which of its codes a value takes.

use std::sync::LazyLock;

use super::Rule;
use super::tables::from_bits;

/// `create_dynamic_map(signed=True, max_exponent_bits=7, total_bits=8)` of bitsandbytes, ascending.
///
/// As bit patterns: 42 of its entries depend on whether the host's `linspace` fuses multiply and
/// add. These are the fused ones, which x86-64 hosts with AVX2 (nearly all of them) write. When a
/// checkpoint is read its own stored map is used.
pub static DYNAMIC_MAP: [f32; 256] = from_bits([
    0xbf7e3333, 0xbf7a999a, 0xbf770000, 0xbf736666, 0xbf6fcccd, 0xbf6c3333, 0xbf68999a, 0xbf650000,
    0xbf616666, 0xbf5dcccd, 0xbf5a3333, 0xbf56999a, 0xbf530000, 0xbf4f6666, 0xbf4bcccd, 0xbf483333,
    0xbf44999a, 0xbf410000, 0xbf3d6666, 0xbf39cccd, 0xbf363334, 0xbf32999a, 0xbf2f0000, 0xbf2b6666,
    0xbf27cccd, 0xbf243334, 0xbf20999a, 0xbf1d0000, 0xbf196666, 0xbf15cccd, 0xbf123334, 0xbf0e999a,
    0xbf0b0000, 0xbf076666, 0xbf03cccc, 0xbf003333, 0xbef93332, 0xbef20000, 0xbeeacccc, 0xbee3999a,
    0xbedc6666, 0xbed53333, 0xbece0000, 0xbec6cccc, 0xbebf999a, 0xbeb86666, 0xbeb13333, 0xbeaa0000,
    0xbea2cccc, 0xbe9b999a, 0xbe946666, 0xbe8d3334, 0xbe860000, 0xbe7d9999, 0xbe6f3333, 0xbe60cccd,
    0xbe526666, 0xbe440000, 0xbe35999a, 0xbe273333, 0xbe18cccd, 0xbe0a6666, 0xbdf80000, 0xbddb3334,
    0xbdc9eb85, 0xbdc428f7, 0xbdbe6667, 0xbdb8a3d7, 0xbdb2e148, 0xbdad1eb8, 0xbda75c2a, 0xbda1999a,
    0xbd9bd70a, 0xbd96147b, 0xbd9051eb, 0xbd8a8f5d, 0xbd84cccd, 0xbd7e147b, 0xbd728f5d, 0xbd670a3d,
    0xbd5b851f, 0xbd500000, 0xbd447ae1, 0xbd38f5c3, 0xbd2d70a3, 0xbd21eb85, 0xbd166667, 0xbd0ae148,
    0xbcfeb852, 0xbce7ae15, 0xbcd0a3d7, 0xbcb9999a, 0xbca28f5d, 0xbc8b851f, 0xbc68f5c3, 0xbc3ae148,
    0xbc1f3b64, 0xbc160418, 0xbc0ccccd, 0xbc039581, 0xbbf4bc6a, 0xbbe24dd3, 0xbbcfdf3b, 0xbbbd70a4,
    0xbbab020d, 0xbb989374, 0xbb8624dd, 0xbb676c8a, 0xbb428f5c, 0xbb1db22d, 0xbaf1a9fc, 0xbaa7ef9d,
    0xba7765ff, 0xba59e83e, 0xba3c6a80, 0xba1eecc1, 0xba016f01, 0xb9c7e283, 0xb98ce705, 0xb923d70b,
    0xb8ba1f4b, 0xb88aefb3, 0xb8378034, 0xb7b24206, 0xb70205ff, 0xb65a1a94, 0xb513a3b7, 0x00000000,
    0x3513a3b7, 0x365a1a94, 0x370205ff, 0x37b24206, 0x38378034, 0x388aefb3, 0x38ba1f4b, 0x3923d70b,
    0x398ce705, 0x39c7e283, 0x3a016f01, 0x3a1eecc1, 0x3a3c6a80, 0x3a59e83e, 0x3a7765ff, 0x3aa7ef9d,
    0x3af1a9fc, 0x3b1db22d, 0x3b428f5c, 0x3b676c8a, 0x3b8624dd, 0x3b989374, 0x3bab020d, 0x3bbd70a4,
    0x3bcfdf3b, 0x3be24dd3, 0x3bf4bc6a, 0x3c039581, 0x3c0ccccd, 0x3c160418, 0x3c1f3b64, 0x3c3ae148,
    0x3c68f5c3, 0x3c8b851f, 0x3ca28f5d, 0x3cb9999a, 0x3cd0a3d7, 0x3ce7ae15, 0x3cfeb852, 0x3d0ae148,
    0x3d166667, 0x3d21eb85, 0x3d2d70a3, 0x3d38f5c3, 0x3d447ae1, 0x3d500000, 0x3d5b851f, 0x3d670a3d,
    0x3d728f5d, 0x3d7e147b, 0x3d84cccd, 0x3d8a8f5d, 0x3d9051eb, 0x3d96147b, 0x3d9bd70a, 0x3da1999a,
    0x3da75c2a, 0x3dad1eb8, 0x3db2e148, 0x3db8a3d7, 0x3dbe6667, 0x3dc428f7, 0x3dc9eb85, 0x3ddb3334,
    0x3df80000, 0x3e0a6666, 0x3e18cccd, 0x3e273333, 0x3e35999a, 0x3e440000, 0x3e526666, 0x3e60cccd,
    0x3e6f3333, 0x3e7d9999, 0x3e860000, 0x3e8d3334, 0x3e946666, 0x3e9b999a, 0x3ea2cccc, 0x3eaa0000,
    0x3eb13333, 0x3eb86666, 0x3ebf999a, 0x3ec6cccc, 0x3ece0000, 0x3ed53333, 0x3edc6666, 0x3ee3999a,
    0x3eeacccc, 0x3ef20000, 0x3ef93332, 0x3f003333, 0x3f03cccc, 0x3f076666, 0x3f0b0000, 0x3f0e999a,
    0x3f123334, 0x3f15cccd, 0x3f196666, 0x3f1d0000, 0x3f20999a, 0x3f243334, 0x3f27cccd, 0x3f2b6666,
    0x3f2f0000, 0x3f32999a, 0x3f363334, 0x3f39cccd, 0x3f3d6666, 0x3f410000, 0x3f44999a, 0x3f483333,
    0x3f4bcccd, 0x3f4f6666, 0x3f530000, 0x3f56999a, 0x3f5a3333, 0x3f5dcccd, 0x3f616666, 0x3f650000,
    0x3f68999a, 0x3f6c3333, 0x3f6fcccd, 0x3f736666, 0x3f770000, 0x3f7a999a, 0x3f7e3333, 0x3f800000,
]);

/// Midpoints of neighbouring entries.
static MIDPOINTS: LazyLock<[f32; 255]> =
    LazyLock::new(|| std::array::from_fn(|i| 0.5 * (DYNAMIC_MAP[i] + DYNAMIC_MAP[i + 1])));

/// bitsandbytes' CPU code looks codes up in 65,536 equal bins over [-1, 1]: bin `i` holds the code
/// of its own value. Near zero, where codes are denser than bins, this is not the nearest code.
static CPU_BINS: LazyLock<Box<[u8; 65536]>> = LazyLock::new(|| {
    let mut bins = Box::new([0u8; 65536]);
    for (i, bin) in bins.iter_mut().enumerate() {
        let value = -1.0 + 2.0 * i as f32 / 65535.0;
        *bin = MIDPOINTS.partition_point(|m| *m < value) as u8;
    }
    bins
});

/// The largest magnitude of a block. NaN is ignored; the CUDA rule flushes denormals.
pub fn dynamic_absmax(rule: Rule, values: &[f32]) -> f32 {
    let absmax = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    if rule == Rule::BnbCuda && absmax < f32::MIN_POSITIVE { 0.0 } else { absmax }
}

/// The 8-bit codes of a block whose largest magnitude is `absmax`.
pub fn dynamic_codes(rule: Rule, values: &[f32], absmax: f32, codes: &mut [u8]) {
    let inverse = 1.0 / absmax;
    match rule {
        Rule::BnbCpu if absmax == 0.0 => codes.fill(0),
        Rule::BnbCpu => {
            let bins: &[u8; 65536] = &CPU_BINS;
            for (code, value) in codes.iter_mut().zip(values) {
                // NaN takes bin 0, as the saturating conversion does.
                let scaled = (value * inverse).clamp(-1.0, 1.0);
                *code = bins[((scaled + 1.0) * 0.5 * 65535.0 + 0.5) as u16 as usize];
            }
        }
        Rule::BnbCuda => {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = nearest_even(value * inverse);
            }
        }
    }
}

/// The nearest code; an exact midpoint goes to the even index, NaN to 0.
fn nearest_even(scaled: f32) -> u8 {
    if scaled.is_nan() {
        return 0;
    }
    let lower = MIDPOINTS.partition_point(|m| *m < scaled);
    let tie = lower < 255 && MIDPOINTS[lower] == scaled;
    if tie && lower % 2 == 1 { lower as u8 + 1 } else { lower as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dynamic_code(rule: Rule, value: f32, absmax: f32) -> u8 {
        let mut code = [0];
        dynamic_codes(rule, &[value], absmax, &mut code);
        code[0]
    }

    #[test]
    fn the_map_ascends_with_zero_at_127_and_one_at_255() {
        assert!(DYNAMIC_MAP.windows(2).all(|w| w[0] < w[1]));
        assert_eq!((DYNAMIC_MAP[127], DYNAMIC_MAP[255]), (0.0, 1.0));
    }

    #[test]
    fn cuda_rule_is_the_nearest_code_with_ties_to_even() {
        for (i, value) in DYNAMIC_MAP.iter().enumerate() {
            assert_eq!(dynamic_code(Rule::BnbCuda, *value, 1.0) as usize, i);
        }
        for (i, middle) in MIDPOINTS.iter().enumerate() {
            assert_eq!(dynamic_code(Rule::BnbCuda, *middle, 1.0) % 2, 0, "midpoint {i}");
        }
    }

    #[test]
    fn zero_and_special_values() {
        assert_eq!(dynamic_code(Rule::BnbCpu, 0.0, 1.0), 131, "the bins' known deviation from 127");
        assert_eq!(dynamic_code(Rule::BnbCpu, 0.0, 0.0), 0);
        assert_eq!(dynamic_code(Rule::BnbCuda, 0.0, 0.0), 0);
        assert_eq!(dynamic_code(Rule::BnbCpu, 2.0, 2.0), 255);
        assert_eq!(dynamic_code(Rule::BnbCpu, -2.0, 2.0), 0);
    }
}
