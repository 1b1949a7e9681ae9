//! What bitsandbytes does with special values under each rule, written out by hand.

use fourbit::backend::cpu::{CpuBackend, CpuConfig};
use fourbit::backend::{Backend, QuantizeJob};
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;

use QuantType::{Fp4, Nf4};
use Rule::{BnbCpu, BnbCuda};

/// Codes and absmax of `values` in blocks of 32.
fn quantize(quant_type: QuantType, rule: Rule, values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let backend = CpuBackend::new(CpuConfig { threads: 1, ..Default::default() }).unwrap();
    let mut packed = vec![0u8; values.len().div_ceil(2)];
    let mut absmax = vec![0f32; values.len().div_ceil(32)];
    let job = QuantizeJob {
        source: values.as_ptr().cast(),
        source_type: FloatType::F32,
        numel: values.len() as u64,
        block_size: BlockSize::new(32).unwrap(),
        quant_type,
        rule,
        codes: packed.as_mut_ptr(),
        absmax: absmax.as_mut_ptr(),
    };
    // SAFETY: the buffers have the sizes that the job implies.
    unsafe { backend.quantize(&job) }.unwrap();
    (packed.iter().flat_map(|b| [b >> 4, b & 15]).collect(), absmax)
}

/// Four equal blocks, enough for vector kernels, whose first values are `first` and all others
/// `rest`; the codes of the first values.
fn codes_of(quant_type: QuantType, rule: Rule, first: &[f32], rest: f32) -> (Vec<u8>, f32) {
    let mut block = [rest; 32];
    block[..first.len()].copy_from_slice(first);
    let (codes, absmax) = quantize(quant_type, rule, &block.repeat(4));
    assert!(codes.chunks(32).all(|c| c == &codes[..32]), "blocks differ");
    (codes[..first.len()].to_vec(), absmax[3])
}

#[test]
fn zero_blocks() {
    for (quant_type, rule, code) in [(Nf4, BnbCpu, 7), (Nf4, BnbCuda, 0), (Fp4, BnbCpu, 0), (Fp4, BnbCuda, 0)]
    {
        for zero in [0.0, -0.0] {
            let (codes, absmax) = codes_of(quant_type, rule, &[zero, 0.0], 0.0);
            assert_eq!((codes, absmax.to_bits()), (vec![code; 2], 0), "{quant_type:?} {rule:?}");
        }
    }
    // A partial block under the CPU rule stores the clamped absmax.
    let (codes, absmax) = quantize(Nf4, BnbCpu, &[0.0; 5]);
    assert_eq!((codes, absmax[0].to_bits()), (vec![7; 6], 0x006c_e3ee));
    let (codes, absmax) = quantize(Nf4, BnbCuda, &[0.0; 5]);
    assert_eq!((codes, absmax[0].to_bits()), (vec![0, 0, 0, 0, 0, 7], 0));
}

#[test]
fn nan_and_infinity_under_the_cpu_rule() {
    for (quant_type, last, zero) in [(Nf4, 15, 7), (Fp4, 3, 0)] {
        let (codes, absmax) = codes_of(quant_type, BnbCpu, &[f32::NAN, 1.0, -1.0, 0.0], 0.5);
        assert_eq!(codes, vec![last; 4], "{quant_type:?}");
        assert!(absmax.is_nan());
        let infinite = [f32::INFINITY, f32::NEG_INFINITY, 1.0, 0.0];
        let (codes, absmax) = codes_of(quant_type, BnbCpu, &infinite, 0.0);
        assert_eq!((codes, absmax), (vec![last, last, zero, zero], f32::INFINITY), "{quant_type:?}");
    }
}

#[test]
fn nan_and_infinity_under_the_cuda_rule() {
    for (quant_type, one, zero) in [(Nf4, 15, 7), (Fp4, 3, 0)] {
        let (codes, absmax) = codes_of(quant_type, BnbCuda, &[f32::NAN, 1.0, 0.0], 0.5);
        assert_eq!((codes, absmax), (vec![0, one, zero], 1.0), "{quant_type:?}");
        let (codes, absmax) = codes_of(quant_type, BnbCuda, &[f32::INFINITY, 1.0, 0.0], 0.5);
        assert_eq!((codes, absmax), (vec![0, zero, zero], f32::INFINITY), "{quant_type:?}");
        let (codes, absmax) = codes_of(quant_type, BnbCuda, &[f32::NAN; 2], f32::NAN);
        assert_eq!((codes, absmax), (vec![0, 0], f32::MIN), "{quant_type:?}");
    }
    // The kernel reads zeros behind the end of a partial block.
    let (codes, absmax) = quantize(Nf4, BnbCuda, &[f32::NAN; 4]);
    assert_eq!((codes, absmax[0]), (vec![0; 4], 0.0));
}

#[test]
fn denormals() {
    let tiny = f32::from_bits(0x0040_0000);
    // Kept, but scaled down by the lower limit of the divisor, which is 1.7 times as large.
    let (codes, absmax) = codes_of(Nf4, BnbCpu, &[tiny, -tiny, 0.0], 0.0);
    assert_eq!((codes, absmax), (vec![13, 2, 7], tiny));
    // Flushed: a block of zeros.
    let (codes, absmax) = codes_of(Nf4, BnbCuda, &[tiny, -tiny, 0.0], 0.0);
    assert_eq!((codes, absmax), (vec![0, 0, 0], 0.0));
    // Beside a normal number, FP4 shows the sign of what is flushed.
    let smallest = f32::MIN_POSITIVE;
    let (codes, _) = codes_of(Fp4, BnbCuda, &[smallest, -smallest, -tiny, -smallest / 1024.0], 0.0);
    assert_eq!(codes, vec![3, 11, 0, 0]);
    let (codes, _) = codes_of(Fp4, BnbCpu, &[2.0 * smallest, -smallest, -tiny, tiny], 0.0);
    assert_eq!(codes, vec![3, 13, 15, 7]);
}

#[test]
fn signs_of_small_fp4_values() {
    let values = [1.0, 0.002, -0.002, 0.0, -0.0];
    assert_eq!(codes_of(Fp4, BnbCpu, &values, 0.0).0, vec![3, 8, 0, 0, 0]);
    assert_eq!(codes_of(Fp4, BnbCuda, &values, 0.0).0, vec![3, 0, 8, 0, 0]);
}

#[test]
fn a_value_equal_to_a_bound_takes_the_lower_code() {
    let bound = |bits: u32| f32::from_bits(bits);
    let above = |bits: u32| f32::from_bits(bits + 1);
    // The two rules differ by one step in this bound.
    let values = [1.0, bound(0x3df6_4862), above(0x3df6_4862), above(0x3df6_4863)];
    assert_eq!(codes_of(Nf4, BnbCpu, &values, 0.0).0, vec![15, 8, 9, 9]);
    assert_eq!(codes_of(Nf4, BnbCuda, &values, 0.0).0, vec![15, 8, 8, 9]);
}

/// The last block is divided by its absmax, a full one multiplied by the reciprocal.
#[test]
fn the_partial_block_of_the_cpu_rule_divides() {
    let m = 3.0f32;
    let bounds = fourbit::codebook::Decision::of(Nf4, BnbCpu).bounds;
    let near = |b: f32| (-4i32..5).map(move |d| f32::from_bits((b * m).to_bits().wrapping_add_signed(d)));
    let differs = |x: &f32| bounds.iter().any(|b| (*b < x * (1.0 / m)) != (*b < x / m));
    let x = bounds.into_iter().flat_map(near).find(differs).expect("a value that shows the difference");
    let decision = fourbit::codebook::Decision::of(Nf4, BnbCpu);
    let (full, _) = codes_of(Nf4, BnbCpu, &[m, x], 0.0);
    let (partial, absmax) = quantize(Nf4, BnbCpu, &[m, x, 0.0]);
    assert_eq!((full[1], partial[1]), (decision.code(x * (1.0 / m)), decision.code(x / m)));
    assert_ne!(full[1], partial[1]);
    assert_eq!((absmax[0], partial[3]), (m, 7), "an odd count is padded with the code of zero");
}
