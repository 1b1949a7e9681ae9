//! The scan for absmax values agrees with what quantizing stores, bit for bit.

mod common;

use common::{Random, context, golden_cases, golden_file};
use fourbit::codebook::Rule;
use fourbit::dtype::FloatType;
use fourbit::quant::{BlockSize, QuantSpec, absmax_values, quantize};
use fourbit::shape::Shape;
use fourbit::tensor::TensorRef;

fn check(dtype: FloatType, block_size: BlockSize, rule: Rule, bytes: &[u8], what: &str) {
    let numel = bytes.len() / dtype.size();
    let spec = QuantSpec { block_size, rule, ..QuantSpec::default() };
    let shape = Shape::new(&[numel as u64]).unwrap();
    let source = TensorRef::from_bytes(bytes, dtype.into(), shape).unwrap();
    let weight = quantize(&context(1), &spec, source).unwrap();
    let stored = weight.parts().find(|p| p.name == "absmax").unwrap().bytes.to_vec();
    let mut scanned = vec![0.0f32; numel.div_ceil(block_size.get())];
    absmax_values(rule, dtype, block_size, bytes, &mut scanned);
    for (i, (scanned, stored)) in scanned.iter().zip(stored.as_chunks::<4>().0).enumerate() {
        let stored = f32::from_le_bytes(*stored);
        let same = scanned.to_bits() == stored.to_bits() || scanned.is_nan() && stored.is_nan();
        assert!(same, "{what} {dtype:?} {rule:?} block {i} of {}: {scanned:e} {stored:e}", block_size.get());
    }
}

#[test]
fn golden_inputs() {
    let file = golden_file();
    for case in golden_cases() {
        let input = file.tensor(&format!("{}.input", case.name)).unwrap();
        for rule in [Rule::BnbCpu, Rule::BnbCuda] {
            check(case.dtype, case.spec.block_size, rule, input.data(), &case.name);
        }
    }
}

/// Random bit patterns hold every kind of special value, in every place of a block.
#[test]
fn random_bits_and_sparse_specials() {
    let mut random = Random::new(7);
    for dtype in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
        for block_size in [BlockSize::ALL[0], BlockSize::ALL[1], BlockSize::ALL[7]] {
            for numel in [0usize, 1, 31, 64, 65, 4096, 10_000] {
                let bits: Vec<u8> = (0..numel * dtype.size()).map(|_| (random.bits() >> 56) as u8).collect();
                let mut tiny = bits.clone();
                // Small exponents everywhere: denormals and zeros decide.
                tiny.chunks_exact_mut(dtype.size()).for_each(|e| e[dtype.size() - 1] &= 0x80);
                let all_nan = vec![0xff; bits.len()];
                for rule in [Rule::BnbCpu, Rule::BnbCuda] {
                    check(dtype, block_size, rule, &bits, "random");
                    check(dtype, block_size, rule, &tiny, "tiny");
                    check(dtype, block_size, rule, &all_nan, "NaN");
                    check(dtype, block_size, rule, &vec![0; bits.len()], "zero");
                }
            }
        }
    }
}
