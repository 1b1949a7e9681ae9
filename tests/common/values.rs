//! Random numbers, and elements that are hard to quantize.
#![allow(dead_code)]

use fourbit::codebook::{Decision, QuantType, Rule};
use fourbit::dtype::FloatType;
use half::{bf16, f16};

/// Deterministic random numbers.
pub struct Random(u64);

impl Random {
    /// A stream of its own per seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() >> 33) as usize % limit
    }

    /// In [-1, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Roughly normal numbers of standard deviation `scale`.
    pub fn normals(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| (0..12).map(|_| self.unit()).sum::<f32>() / 2.0 * scale).collect()
    }
}

/// The bytes of `values` rounded to `dtype`.
pub fn to_bytes(values: &[f32], dtype: FloatType) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * dtype.size());
    for v in values {
        match dtype {
            FloatType::F32 => bytes.extend(v.to_ne_bytes()),
            FloatType::F16 => bytes.extend(f16::from_f32(*v).to_ne_bytes()),
            FloatType::Bf16 => bytes.extend(bf16::from_f32(*v).to_ne_bytes()),
        }
    }
    bytes
}

/// Magnitudes of whole blocks: ordinary, tiny, denormal, huge.
const SCALES: [f32; 8] = [1.0, 0.0371, 6.2e-5, 3e-8, 1.3e-36, 2e-38, 5e-40, 2.9e38];

const SPECIAL: [f32; 8] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-45, -1e-40, f32::MAX];

/// `numel` elements whose blocks of `block_size` are of all the difficult kinds in turn.
pub fn difficult(random: &mut Random, numel: usize, block_size: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(numel + block_size);
    while values.len() < numel {
        let scale = SCALES[random.below(SCALES.len())];
        let start = values.len();
        match random.below(8) {
            0..=2 => values.extend((0..block_size).map(|_| random.unit() * scale)),
            3 => values.extend((0..block_size).map(|_| if random.below(2) == 0 { 0.0 } else { -0.0 })),
            4 => values.extend((0..block_size).map(|_| f32::from_bits(random.bits() as u32 & 0x807f_ffff))),
            5 => values.extend((0..block_size).map(|_| f32::from_bits(random.bits() as u32))),
            6 => values.extend((0..block_size).map(|_| near_a_bound(random, scale))),
            _ => values.extend((0..block_size).map(|_| SPECIAL[random.below(3)])),
        }
        if random.below(4) == 0 {
            values[start + random.below(block_size)] = SPECIAL[random.below(SPECIAL.len())];
        }
        // A block near its bounds needs the absmax they are multiples of.
        values[start + random.below(block_size)] += scale;
    }
    values.truncate(numel);
    values
}

/// A few steps from a bound of some decision table times `scale`.
fn near_a_bound(random: &mut Random, scale: f32) -> f32 {
    let quant_type = [QuantType::Nf4, QuantType::Fp4][random.below(2)];
    let rule = [Rule::BnbCpu, Rule::BnbCuda][random.below(2)];
    let bound = Decision::of(quant_type, rule).bounds[random.below(15)] * scale;
    let step = random.below(7) as u32;
    f32::from_bits(bound.to_bits().wrapping_add(step).wrapping_sub(3))
}
