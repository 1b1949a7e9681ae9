//! Whole weights against bitsandbytes 0.50.2: every part, byte for byte, and every way back.

mod common;

use common::{Random, context, floats, golden_cases, golden_file, quantize_bytes};
use fourbit::Weight;
use fourbit::codebook::{DYNAMIC_MAP, Rule, dynamic_absmax, dynamic_codes};
use fourbit::dtype::FloatType;
use fourbit::memory::Bytes;
use fourbit::quant::{QuantSpec, Storage, dequantize, measure, torch_mean};
use fourbit::shape::Shape;
use fourbit::tensor::{TensorMut, TensorRef};
use fourbit::weight::PartSource;

fn sources_of(weight: &Weight, prefix: &str) -> Vec<(String, PartSource<'static>)> {
    weight
        .parts()
        .map(|p| {
            let name = match (prefix, p.name) {
                ("", name) => name.to_owned(),
                (prefix, "") => prefix.to_owned(),
                (prefix, name) => format!("{prefix}.{name}"),
            };
            let bytes = Bytes::copy_of(p.bytes).unwrap();
            (name, PartSource { name: "", dtype: p.dtype, shape: p.shape, bytes })
        })
        .collect()
}

fn rebuild(weight: &Weight, prefix: &str) -> fourbit::Result<Weight> {
    let named = sources_of(weight, prefix);
    let parts: Vec<_> = named.iter().rev().map(|(n, p)| PartSource { name: n, ..p.clone() }).collect();
    Weight::from_parts(&parts)
}

fn assert_same(a: &Weight, b: &Weight, what: &str) {
    let (a, b): (Vec<_>, Vec<_>) = (a.parts().collect(), b.parts().collect());
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(&b) {
        assert_eq!((a.name, a.dtype, a.shape, a.bytes), (b.name, b.dtype, b.shape, b.bytes), "{what}");
    }
}

#[test]
fn every_part_is_bitsandbytes_own() {
    let (file, context) = (golden_file(), context(2));
    for case in golden_cases() {
        let input = file.tensor(&format!("{}.input", case.name)).unwrap();
        let weight = quantize_bytes(&context, &case.spec, input.data(), case.dtype, case.shape);
        let prefix = format!("{}.weight", case.name);
        let expected = file.names().iter().filter(|n| n.starts_with(&prefix)).count();
        assert_eq!(weight.parts().count(), expected, "{}", case.name);
        for part in weight.parts() {
            let name = if part.name.is_empty() { prefix.clone() } else { format!("{prefix}.{}", part.name) };
            let golden = file.tensor(&name).unwrap();
            let shape: Vec<usize> = part.shape.dims().iter().map(|d| *d as usize).collect();
            assert_eq!(golden.shape(), shape, "{name}");
            assert_eq!(golden.dtype(), part.dtype.into(), "{name}");
            assert_eq!(golden.data(), part.bytes, "{name}");
        }
    }
}

#[test]
fn every_way_back_gives_the_same_weight_and_values() {
    let (file, context) = (golden_file(), context(2));
    for case in golden_cases() {
        let input = file.tensor(&format!("{}.input", case.name)).unwrap();
        let weight = quantize_bytes(&context, &case.spec, input.data(), case.dtype, case.shape);
        assert_same(&weight, &rebuild(&weight, "").unwrap(), &case.name);
        assert_same(&weight, &rebuild(&weight, "model.layers.0.q_proj.weight").unwrap(), &case.name);
        let image = weight.serialize().unwrap();
        let back = Weight::deserialize(&image).unwrap();
        assert_same(&weight, &back, &case.name);
        assert_eq!(image, back.serialize().unwrap(), "{}", case.name);

        let mut values = vec![0f32; case.shape.numel() as usize];
        dequantize(&context, &back, &mut TensorMut::new(&mut values, case.shape.dims()).unwrap()).unwrap();
        let golden = floats(file.tensor(&format!("{}.dequant.f32", case.name)).unwrap().data());
        assert!(values.iter().zip(&golden).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", case.name);
    }
}

#[test]
fn dynamic_codes_and_means_are_bitsandbytes_and_torchs_own() {
    let file = golden_file();
    assert_eq!(floats(file.tensor("dyn.code").unwrap().data()), DYNAMIC_MAP);
    for (i, block) in [256, 256, 64, 256].into_iter().enumerate() {
        let get = |part: &str| file.tensor(&format!("dyn{i}.{part}")).unwrap().data().to_vec();
        let (input, codes, absmax) = (floats(&get("input")), get("q"), floats(&get("absmax")));
        for (b, values) in input.chunks(block).enumerate() {
            let m = dynamic_absmax(Rule::BnbCpu, values);
            assert_eq!(m.to_bits(), absmax[b].to_bits(), "dyn{i} block {b}");
            let mut got = vec![0; values.len()];
            dynamic_codes(Rule::BnbCpu, values, m, &mut got);
            assert_eq!(got, codes[b * block..b * block + values.len()], "dyn{i} block {b}");
        }
    }
    for i in 0..6 {
        let input = floats(file.tensor(&format!("mean{i}.input")).unwrap().data());
        let mean = floats(file.tensor(&format!("mean{i}.mean")).unwrap().data())[0];
        assert_eq!(torch_mean(&input).to_bits(), mean.to_bits(), "mean{i}");
    }
}

#[test]
fn storage_dtypes_relabel_the_same_bytes() {
    let context = context(1);
    let values = Random::new(7).normals(96 * 128, 0.02);
    let source = TensorRef::new(&values, &[96, 128]).unwrap();
    let plain = fourbit::quant::quantize(&context, &QuantSpec::default(), source).unwrap();
    let packed = plain.parts().next().unwrap().bytes.to_vec();
    for storage in [Storage::F16, Storage::Bf16, Storage::F32] {
        let spec = QuantSpec { storage, ..Default::default() };
        let weight = fourbit::quant::quantize(&context, &spec, source).unwrap();
        let part = weight.parts().next().unwrap();
        assert_eq!(part.dtype, storage.dtype());
        assert_eq!(part.shape.dims(), [packed.len() as u64 / storage.size() as u64, 1]);
        assert_eq!(part.bytes, packed);
        assert_same(
            &weight,
            &Weight::deserialize(&weight.serialize().unwrap()).unwrap(),
            storage.torch_name(),
        );
    }
    // 3 codes fill two bytes, which no wider element divides evenly into four.
    let spec = QuantSpec { storage: Storage::F32, ..Default::default() };
    let odd = TensorRef::new(&values[..3], &[3]).unwrap();
    let error = fourbit::quant::quantize(&context, &spec, odd).unwrap_err().to_string();
    assert!(error.contains("uint8"), "{error}");
}

/// bitsandbytes 0.50.2 decodes this shape (SigLIP's fc2) with one wrong absmax index per row.
#[test]
fn blocks_that_straddle_rows_decode_by_the_flat_stream() {
    const ROWS: usize = 1152;
    const COLUMNS: usize = 4304;
    let context = context(2);
    let mut random = Random::new(3);
    // Rows of very different sizes, so that a neighbour's absmax is far off.
    let values: Vec<f32> =
        (0..ROWS).flat_map(|r| random.normals(COLUMNS, if r % 2 == 0 { 1.0 } else { 0.01 })).collect();
    let shape = [ROWS as u64, COLUMNS as u64];
    let source = TensorRef::new(&values, &shape).unwrap();
    let weight = fourbit::quant::quantize(&context, &QuantSpec::default(), source).unwrap();
    let mut decoded = vec![0f32; values.len()];
    dequantize(&context, &weight, &mut TensorMut::new(&mut decoded, &shape).unwrap()).unwrap();
    let parts: Vec<_> = weight.parts().collect();
    let (codes, absmax) = (parts[0].bytes, floats(parts[1].bytes));
    let value = |i: usize, block: usize| {
        let nibble = if i.is_multiple_of(2) { codes[i / 2] >> 4 } else { codes[i / 2] & 15 };
        weight.quant_type().codebook()[nibble as usize] * absmax[block]
    };
    let mut row_rule_differs = 0;
    for (i, d) in decoded.iter().enumerate() {
        assert_eq!(*d, value(i, i / 64), "element {i}");
        let by_rows = i / COLUMNS * (COLUMNS / 64) + i % COLUMNS / 64;
        row_rule_differs += usize::from(*d != value(i, by_rows.min(absmax.len() - 1)));
    }
    assert!(row_rule_differs > values.len() / 2, "the shape must tell the two rules apart");
    let error = measure(&context, source, &weight).unwrap();
    assert!(error.snr_db > 19.0, "{error:?}");
}

#[test]
fn measures_are_what_they_are_named() {
    let context = context(2);
    let values: Vec<f32> = (0..200_000).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
    let source = TensorRef::new(&values, &[values.len() as u64]).unwrap();
    let weight = fourbit::quant::quantize(&context, &QuantSpec::default(), source).unwrap();
    let mut decoded = vec![0f32; values.len()];
    let shape = [values.len() as u64];
    dequantize(&context, &weight, &mut TensorMut::new(&mut decoded, &shape).unwrap()).unwrap();
    let pairs = || values.iter().zip(&decoded).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let n = values.len() as f64;
    let squared: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    let signal: f64 = pairs().map(|(a, _)| a * a).sum();
    let got = measure(&context, source, &weight).unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} is not {b}");
    assert_eq!(got.count, values.len() as u64);
    near(got.max, pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max));
    near(got.mean, pairs().map(|(a, b)| (a - b).abs()).sum::<f64>() / n);
    near(got.rms, (squared / n).sqrt());
    near(got.snr_db, 10.0 * (signal / squared).log10());
}

#[test]
fn any_rank_and_empty_tensors() {
    let context = context(1);
    let values = Random::new(11).normals(64, 1.0);
    for dims in [&[][..], &[0], &[3, 0, 5], &[1, 1, 1, 1, 1, 1, 1, 2], &[2, 2, 2, 2, 2, 2]] {
        let shape = Shape::new(dims).unwrap();
        let source = TensorRef::new(&values[..shape.numel() as usize], dims).unwrap();
        for double_quant in [false, true] {
            let spec = QuantSpec { double_quant, ..Default::default() };
            let weight = fourbit::quant::quantize(&context, &spec, source).unwrap();
            assert_eq!(weight.shape(), shape);
            assert_same(&weight, &Weight::deserialize(&weight.serialize().unwrap()).unwrap(), "image");
            let mut out = vec![0f32; shape.numel() as usize];
            dequantize(&context, &weight, &mut TensorMut::new(&mut out, dims).unwrap()).unwrap();
        }
    }
}

#[test]
fn wrong_parts_are_refused_and_named() {
    let context = context(1);
    let values = Random::new(5).normals(128 * 96, 0.1);
    let source = TensorRef::new(&values, &[96, 128]).unwrap();
    let spec = QuantSpec { double_quant: true, ..Default::default() };
    let weight = fourbit::quant::quantize(&context, &spec, source).unwrap();
    type Edit = fn(&mut Vec<(String, PartSource<'static>)>);
    let table: [(Edit, &str); 10] = [
        (|p| drop(p.remove(5)), "quant_state"),
        (|p| drop(p.remove(2)), "quant_map"),
        (|p| drop(p.remove(4)), "nested_quant_map"),
        (|p| p[1].0 = "w.absmin".into(), "absmin"),
        (|p| p.push(p[1].clone()), "twice"),
        (|p| p[1].1.shape = Shape::new(&[191]).unwrap(), "[192]"),
        (|p| p[0].1.bytes = Bytes::copy_of(&[0; 10]).unwrap(), "10 bytes"),
        (|p| p[2].1.bytes = Bytes::copy_of(&[0; 64]).unwrap(), "quant_map[0]"),
        (
            |p| p[4].1.bytes = Bytes::copy_of(&f32::NAN.to_le_bytes().repeat(256)).unwrap(),
            "nested_quant_map[0]",
        ),
        (|p| p[5].0 = "w.quant_state.bitsandbytes__int4".into(), "nf4"),
    ];
    for (edit, words) in table {
        let mut named = sources_of(&weight, "w");
        edit(&mut named);
        let parts: Vec<_> = named.iter().map(|(n, p)| PartSource { name: n, ..p.clone() }).collect();
        let error = Weight::from_parts(&parts).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
}

#[test]
fn strided_sources_and_destinations() {
    let context = context(1);
    let values = Random::new(9).normals(8 * 64, 1.0);
    let transposed: Vec<f32> = (0..512).map(|i| values[i % 8 * 64 + i / 8]).collect();
    let raw = fourbit::tensor::RawTensor::new(
        transposed.as_ptr().cast_mut().cast(),
        FloatType::F32.into(),
        Shape::new(&[8, 64]).unwrap(),
        Some(&[1, 8]),
    )
    .unwrap();
    // SAFETY: the strides reach the 512 elements of `transposed`.
    let view = unsafe { TensorRef::from_raw(raw) };
    let spec = QuantSpec::default();
    let strided = fourbit::quant::quantize(&context, &spec, view).unwrap();
    let plain =
        fourbit::quant::quantize(&context, &spec, TensorRef::new(&values, &[8, 64]).unwrap()).unwrap();
    assert_same(&strided, &plain, "a transposed view");
}
