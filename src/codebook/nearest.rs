//! Which code a scaled value takes, under each of bitsandbytes' two rules.

use super::QuantType;
use super::tables::from_bits;
use crate::error::{Result, err};

/// bitsandbytes decides differently on a CPU and on CUDA; both rules exist on every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// bitsandbytes 0.50 on a CPU (torch operations): absmax propagates NaN, full blocks are scaled
    /// by `x * (1 / max(absmax, 1e-38))`, a partial last block by `x / absmax` with absmax clamped
    /// to at least 1e-38; denormals are kept.
    BnbCpu,
    /// bitsandbytes 0.50 on CUDA: absmax ignores NaN, every block is scaled by `x * (1 / absmax)`,
    /// denormals are flushed to zero at every step. (On a GPU the reciprocal is the hardware's
    /// approximate one; elsewhere it is the rounded quotient.)
    BnbCuda,
}

impl Rule {
    /// `bnb-cpu` or `bnb-cuda`.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::BnbCpu => "bnb-cpu",
            Rule::BnbCuda => "bnb-cuda",
        }
    }

    /// Reads `bnb-cpu` or `bnb-cuda`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "bnb-cpu" => Ok(Rule::BnbCpu),
            "bnb-cuda" => Ok(Rule::BnbCuda),
            other => Err(err!(InvalidArgument, "rule \"{other}\": expected bnb-cpu or bnb-cuda")),
        }
    }
}

/// The decision table of one (quant type, rule): a scaled value `s` in [-1, 1] takes the code
/// `codes[k]` where `k` is the number of `bounds` strictly below `s`; NaN takes `nan_code`.
///
/// bitsandbytes' CUDA rule for FP4 compares magnitudes; its bounds below zero are therefore one
/// step further from zero than the mirrored ones, which says "ties go to the smaller magnitude" in
/// the same form.
#[derive(Debug, PartialEq)]
pub struct Decision {
    /// Ascending.
    pub bounds: [f32; 15],
    /// The nibble of each of the sixteen intervals.
    pub codes: [u8; 16],
    /// The nibble of NaN.
    pub nan_code: u8,
}

impl Decision {
    /// The table of a quant type under a rule.
    pub const fn of(quant_type: QuantType, rule: Rule) -> &'static Decision {
        match (quant_type, rule) {
            (QuantType::Nf4, Rule::BnbCpu) => &NF4_CPU,
            (QuantType::Nf4, Rule::BnbCuda) => &NF4_CUDA,
            (QuantType::Fp4, Rule::BnbCpu) => &FP4_CPU,
            (QuantType::Fp4, Rule::BnbCuda) => &FP4_CUDA,
        }
    }

    /// The code of a scaled value. The plain form that every kernel must agree with.
    pub fn code(&self, s: f32) -> u8 {
        if s.is_nan() {
            return self.nan_code;
        }
        self.codes[self.bounds.iter().filter(|b| **b < s).count()]
    }
}

const ASCENDING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Midpoints of neighbouring codes, computed in binary32.
static NF4_CPU: Decision = Decision {
    bounds: from_bits([
        0xbf591cd8, 0xbf1c5270, 0xbeeb8480, 0xbeadea76, 0xbe703cec, 0xbe0d38bc, 0xbd3a7871, 0x3d22faff,
        0x3df64862, 0x3e5067e0, 0x3e9582d4, 0x3ec753f9, 0x3f006d04, 0x3f248daf, 0x3f5c89da,
    ]),
    codes: ASCENDING,
    nan_code: 15,
};

/// The same midpoints as decimal literals of the CUDA source: four differ by one step.
static NF4_CUDA: Decision = Decision {
    bounds: from_bits([
        0xbf591cd9, 0xbf1c5270, 0xbeeb8480, 0xbeadea76, 0xbe703cec, 0xbe0d38bc, 0xbd3a7871, 0x3d22faff,
        0x3df64863, 0x3e5067e0, 0x3e9582d4, 0x3ec753f9, 0x3f006d03, 0x3f248daf, 0x3f5c89d9,
    ]),
    codes: ASCENDING,
    nan_code: 0,
};

/// Midpoints of the sorted codes. Sorting puts +0 (nibble 0) before "-0" (nibble 8), so small
/// positive values take nibble 8.
static FP4_CPU: Decision = Decision {
    bounds: from_bits([
        0xbf555556, 0xbf155556, 0xbed55556, 0xbe955556, 0xbe555556, 0xbdb00000, 0xbb2aaaab, 0x00000000,
        0x3b2aaaab, 0x3db00000, 0x3e555556, 0x3e955556, 0x3ed55556, 0x3f155556, 0x3f555556,
    ]),
    codes: [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3],
    nan_code: 3,
};

/// The CUDA source's literals on |s|, mirrored; the middle bound separates s < 0 from zero.
static FP4_CUDA: Decision = Decision {
    bounds: from_bits([
        0xbf555556, 0xbf155551, 0xbed55557, 0xbe955556, 0xbe555556, 0xbdb00001, 0xbb2aaaba, 0x80000001,
        0x3b2aaab9, 0x3db00000, 0x3e555555, 0x3e955555, 0x3ed55556, 0x3f155550, 0x3f555555,
    ]),
    codes: [11, 10, 13, 12, 15, 14, 9, 8, 0, 1, 6, 7, 4, 5, 2, 3],
    nan_code: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(QuantType, Rule); 4] = [
        (QuantType::Nf4, Rule::BnbCpu),
        (QuantType::Nf4, Rule::BnbCuda),
        (QuantType::Fp4, Rule::BnbCpu),
        (QuantType::Fp4, Rule::BnbCuda),
    ];

    #[test]
    fn bounds_ascend_and_every_code_is_its_own_nearest() {
        for (q, r) in ALL {
            let d = Decision::of(q, r);
            assert!(d.bounds.windows(2).all(|w| w[0] < w[1]), "{q:?} {r:?}");
            for (nibble, value) in q.codebook().iter().enumerate() {
                let code = d.code(*value);
                assert_eq!(q.codebook()[code as usize], *value, "{q:?} {r:?} nibble {nibble}");
            }
        }
    }

    #[test]
    fn cpu_bounds_are_the_binary32_midpoints_of_the_sorted_codebook() {
        for q in [QuantType::Nf4, QuantType::Fp4] {
            let mut sorted = *q.codebook();
            sorted.sort_by(f32::total_cmp);
            for (i, b) in Decision::of(q, Rule::BnbCpu).bounds.iter().enumerate() {
                assert_eq!(*b, (sorted[i] + sorted[i + 1]) / 2.0, "{q:?} bound {i}");
            }
        }
    }

    /// The magnitude tree as the CUDA source words it, against the table in "bounds below s" form.
    #[test]
    fn fp4_cuda_table_is_the_magnitude_tree() {
        let tree = |s: f32| -> u8 {
            let steps = [
                (0x3b2aaab9, 1),
                (0x3db00000, 6),
                (0x3e555555, 7),
                (0x3e955555, 4),
                (0x3ed55556, 5),
                (0x3f155550, 2),
                (0x3f555555, 3),
            ];
            let magnitude =
                steps.iter().rev().find(|(t, _)| s.abs() > f32::from_bits(*t)).map_or(0, |(_, code)| *code);
            magnitude | if s < 0.0 { 8 } else { 0 }
        };
        let d = Decision::of(QuantType::Fp4, Rule::BnbCuda);
        let around = |bits: u32| [bits - 1, bits, bits + 1];
        for b in d.bounds.iter().filter(|b| b.to_bits() != 0x8000_0001) {
            for bits in around(b.to_bits()).into_iter().chain(around(b.to_bits() ^ 0x8000_0000)) {
                let s = f32::from_bits(bits);
                assert_eq!(d.code(s), tree(s), "s = {s:e}");
            }
        }
        for s in [0.0, -0.0, 1.0, -1.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, f32::NAN] {
            assert_eq!(d.code(s), tree(s), "s = {s:e}");
        }
    }
}
