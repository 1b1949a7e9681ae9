//! Properties that hold for every input, on random shapes, values, types and block sizes.

mod common;

use common::{context, quantize_bytes};
use fourbit::Weight;
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::FloatType;
use fourbit::memory::Bytes;
use fourbit::quant::{BlockSize, QuantSpec, dequantize};
use fourbit::shape::Shape;
use fourbit::tensor::{TensorMut, TensorRef};
use fourbit::weight::PartSource;
use half::{bf16, f16};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Input {
    spec: QuantSpec,
    dtype: FloatType,
    values: Vec<f32>,
}

impl Input {
    fn bytes(&self) -> Vec<u8> {
        let bytes = |v: &f32| match self.dtype {
            FloatType::F32 => v.to_le_bytes().to_vec(),
            FloatType::F16 => f16::from_f32(*v).to_le_bytes().to_vec(),
            FloatType::Bf16 => bf16::from_f32(*v).to_le_bytes().to_vec(),
        };
        self.values.iter().flat_map(bytes).collect()
    }

    /// The values after rounding to the source type.
    fn rounded(&self) -> Vec<f32> {
        let round = |v: &f32| match self.dtype {
            FloatType::F32 => *v,
            FloatType::F16 => f16::from_f32(*v).to_f32(),
            FloatType::Bf16 => bf16::from_f32(*v).to_f32(),
        };
        self.values.iter().map(round).collect()
    }

    fn shape(&self) -> Shape {
        Shape::new(&[self.values.len() as u64]).unwrap()
    }

    fn weight(&self) -> Weight {
        quantize_bytes(&context(2), &self.spec, &self.bytes(), self.dtype, self.shape())
    }
}

fn inputs() -> impl Strategy<Value = Input> {
    let spec =
        (any::<bool>(), 0..8usize, any::<bool>(), any::<bool>()).prop_map(|(fp4, block, double, cuda)| {
            QuantSpec {
                quant_type: if fp4 { QuantType::Fp4 } else { QuantType::Nf4 },
                block_size: BlockSize::ALL[block],
                double_quant: double,
                rule: if cuda { Rule::BnbCuda } else { Rule::BnbCpu },
                ..Default::default()
            }
        });
    let dtype = prop_oneof![Just(FloatType::F32), Just(FloatType::F16), Just(FloatType::Bf16)];
    // Magnitudes of real weights, zeros among them; sizes up to a few blocks of most block sizes.
    let value = prop_oneof![8 => -1.0f32..1.0, 1 => Just(0.0f32), 1 => -0.01f32..0.01];
    (spec, dtype, proptest::collection::vec(value, 0..9000)).prop_map(|(spec, dtype, values)| Input {
        spec,
        dtype,
        values,
    })
}

fn decode(weight: &Weight) -> Vec<f32> {
    let mut out = vec![0f32; weight.shape().numel() as usize];
    dequantize(&context(1), weight, &mut TensorMut::new(&mut out, weight.shape().dims()).unwrap()).unwrap();
    out
}

/// The widest gap between neighbouring values of a codebook.
fn widest_gap(quant_type: QuantType) -> f32 {
    let mut sorted = *quant_type.codebook();
    sorted.sort_by(f32::total_cmp);
    sorted.windows(2).map(|w| w[1] - w[0]).fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn an_element_is_off_by_at_most_half_the_widest_gap_of_its_block(input in inputs()) {
        let plain = Input { spec: QuantSpec { double_quant: false, ..input.spec }, ..input };
        let (values, decoded) = (plain.rounded(), decode(&plain.weight()));
        let block = plain.spec.block_size.get();
        let half_gap = widest_gap(plain.spec.quant_type) / 2.0;
        for (b, (values, decoded)) in values.chunks(block).zip(decoded.chunks(block)).enumerate() {
            let absmax = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            // The scaled value and the product are rounded once each.
            let bound = half_gap * absmax * (1.0 + 1e-6) + 1e-37;
            for (v, d) in values.iter().zip(decoded) {
                prop_assert!((v - d).abs() <= bound, "block {b}: {v} became {d}, bound {bound}");
            }
        }
    }

    #[test]
    fn quantizing_what_was_decoded_changes_no_value(input in inputs()) {
        let plain = Input { spec: QuantSpec { double_quant: false, ..input.spec }, dtype: FloatType::F32, ..input };
        let once = decode(&plain.weight());
        let again = Input { values: once.clone(), ..plain.clone() };
        let twice = decode(&again.weight());
        // A block whose largest element sits at a code below 1 in magnitude scales anew; every other
        // block must come back bit for bit.
        let block = plain.spec.block_size.get();
        let original = plain.rounded();
        for ((a, b), v) in once.chunks(block).zip(twice.chunks(block)).zip(original.chunks(block)) {
            let max = |values: &[f32]| values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            if max(a) == max(v) {
                prop_assert!(a.iter().zip(b).all(|(a, b)| a == b));
            }
        }
    }

    #[test]
    fn parts_and_images_bring_a_weight_back(input in inputs()) {
        let weight = input.weight();
        let parts: Vec<(&str, _)> = weight.parts().map(|p| (p.name, p)).collect();
        let sources: Vec<PartSource<'_>> = parts.iter().map(|(name, p)| PartSource {
            name, dtype: p.dtype, shape: p.shape, bytes: Bytes::copy_of(p.bytes).unwrap(),
        }).collect();
        let rebuilt = Weight::from_parts(&sources).unwrap();
        prop_assert_eq!(rebuilt.serialize().unwrap(), weight.serialize().unwrap());
        let image = Weight::deserialize(&weight.serialize().unwrap()).unwrap();
        let (a, b) = (decode(&weight), decode(&image));
        prop_assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit(input in inputs(), threads in 1..6usize) {
        let spec = QuantSpec { block_size: BlockSize::ALL[0], ..input.spec };
        let one = quantize_bytes(&context(1), &spec, &input.bytes(), input.dtype, input.shape());
        let many = quantize_bytes(&context(threads), &spec, &input.bytes(), input.dtype, input.shape());
        prop_assert_eq!(one.serialize().unwrap(), many.serialize().unwrap());
    }
}

/// Under double quantization a scale is off by at most half a step of the dynamic map, so a decoded
/// value is near what the plain weight gives.
#[test]
fn double_quantization_moves_values_little() {
    let values = common::Random::new(21).normals(64 * 1024, 0.02);
    let source = TensorRef::new(&values, &[values.len() as u64]).unwrap();
    let decoded = |double_quant| {
        let spec = QuantSpec { double_quant, ..Default::default() };
        decode(&fourbit::quant::quantize(&context(2), &spec, source).unwrap())
    };
    let (plain, double) = (decoded(false), decoded(true));
    let squared = |f: &dyn Fn(usize) -> f32| (0..values.len()).map(|i| f64::from(f(i)).powi(2)).sum::<f64>();
    let relative = (squared(&|i| plain[i] - double[i]) / squared(&|i| plain[i])).sqrt();
    assert!(relative > 0.0 && relative < 0.02, "{relative}");
}
