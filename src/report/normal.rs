//! Which share of the elements takes each code if the elements are normally distributed and independent.
//!
//! In a block of B elements one is the absmax itself and takes the code of 1 or of -1. Given that the
//! absmax is m, the others are normal, cut off at m; m has the density B G(m)^(B-1) G'(m) with
//! G(m) = 2 Phi(m) - 1.

use fourbit::codebook::{Decision, QuantType, Rule};

/// Steps of the tables, and how far they go: beyond, nothing is left to add.
const STEP: f64 = 1.0 / 512.0;
const END: usize = 12 * 512;

/// The expected share of each code, 0 to 15, for blocks of `block_size` elements.
pub(crate) fn expected_shares(quant_type: QuantType, block_size: usize) -> [f64; 16] {
    let decision = Decision::of(quant_type, Rule::BnbCpu);
    let half = half_normal();
    let others = block_size as i32 - 1;
    let mut shares = [0.0; 16];
    let mut total = 0.0;
    for (i, within) in half.iter().enumerate().skip(1) {
        let m = i as f64 * STEP;
        let weight = within.powi(others) * density(m);
        total += weight;
        let below = |bound: f64| bound.signum() * lookup(&half, bound.abs() * m) / within;
        let mut lower = -1.0;
        for (k, code) in decision.codes.iter().enumerate() {
            let upper = decision.bounds.get(k).map_or(1.0, |bound| below(f64::from(*bound)));
            shares[usize::from(*code)] += weight * (upper - lower) / 2.0;
            lower = upper;
        }
    }
    let block = block_size as f64;
    shares.iter_mut().for_each(|share| *share *= (block - 1.0) / (block * total));
    for end in [-1.0, 1.0] {
        shares[usize::from(decision.code(end))] += 0.5 / block;
    }
    shares
}

/// Of a standard normal, but for a factor.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp()
}

/// P(|X| <= i STEP) of a standard normal X, by Simpson's rule.
fn half_normal() -> Vec<f64> {
    let factor = (2.0 / std::f64::consts::PI).sqrt() * STEP / 6.0;
    let mut sum = 0.0;
    let mut table = vec![0.0];
    for i in 0..END {
        let x = i as f64 * STEP;
        sum += factor * (density(x) + 4.0 * density(x + STEP / 2.0) + density(x + STEP));
        table.push(sum);
    }
    table
}

fn lookup(table: &[f64], x: f64) -> f64 {
    let at = (x / STEP).min((table.len() - 2) as f64);
    let i = at as usize;
    table[i] + (at - i as f64) * (table[i + 1] - table[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against blocks of normal numbers (sums of twelve uniform ones will not do: Box and Muller's).
    #[test]
    fn agrees_with_a_simulation() {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        for (quant_type, block) in [(QuantType::Nf4, 64), (QuantType::Fp4, 64), (QuantType::Nf4, 512)] {
            let expected = expected_shares(quant_type, block);
            assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let mut counts = [0u64; 16];
            let blocks = 400_000 / block;
            for _ in 0..blocks {
                let mut normal =
                    || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                let values: Vec<f64> = (0..block).map(|_| normal()).collect();
                let absmax = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                for value in values {
                    let code = Decision::of(quant_type, Rule::BnbCpu).code((value / absmax) as f32);
                    counts[usize::from(code)] += 1;
                }
            }
            for (code, (count, share)) in counts.iter().zip(expected).enumerate() {
                let got = *count as f64 / (blocks * block) as f64;
                assert!((got - share).abs() < 0.002, "{quant_type:?}/{block} code {code}: {got} {share}");
            }
        }
    }
}
