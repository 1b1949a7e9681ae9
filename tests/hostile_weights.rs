//! Quantized weights as a hostile or damaged file may hold them: every one is refused with words that
//! name what is wrong, or is harmless.

mod checkpoint_support;

use checkpoint_support::put;
use fourbit::Weight;
use fourbit::checkpoint::Checkpoint;
use fourbit::dtype::DType;
use fourbit::memory::Bytes;
use fourbit::quant::dequantize;
use fourbit::shape::Shape;
use fourbit::tensor::TensorMut;
use fourbit::weight::PartSource;

#[derive(Clone)]
struct Stored {
    name: String,
    dtype: DType,
    dims: Vec<u64>,
    bytes: Vec<u8>,
}

const STATE: &str = "w.quant_state.bitsandbytes__nf4";

/// A matrix of 8 x 64 under double quantization: 8 blocks, 256 bytes.
fn sound() -> Vec<Stored> {
    let context = fourbit::Context::cpu(Default::default()).unwrap();
    let values: Vec<f32> = (0..512).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let spec = fourbit::quant::QuantSpec { double_quant: true, ..Default::default() };
    let source = fourbit::tensor::TensorRef::new(&values, &[8, 64]).unwrap();
    let weight = fourbit::quant::quantize(&context, &spec, source).unwrap();
    let stored = |p: fourbit::weight::Part<'_>| Stored {
        name: if p.name.is_empty() { "w".into() } else { format!("w.{}", p.name) },
        dtype: p.dtype,
        dims: p.shape.dims().to_vec(),
        bytes: p.bytes.to_vec(),
    };
    weight.parts().map(stored).collect()
}

fn find<'a>(parts: &'a mut [Stored], name: &str) -> &'a mut Stored {
    parts.iter_mut().find(|p| p.name == name).unwrap()
}

fn build(parts: &[Stored]) -> fourbit::Result<Weight> {
    let sources: Vec<PartSource<'_>> = parts
        .iter()
        .map(|p| {
            let (dtype, shape) = (p.dtype, Shape::new(&p.dims)?);
            Ok(PartSource { name: &p.name, dtype, shape, bytes: Bytes::copy_of(&p.bytes)? })
        })
        .collect::<fourbit::Result<_>>()?;
    Weight::from_parts(&sources)
}

/// The state's text with one piece exchanged.
fn state(parts: &mut [Stored], from: &str, to: &str) {
    let state = find(parts, STATE);
    let text = String::from_utf8(state.bytes.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    state.bytes = text.replace(from, to).into_bytes();
    state.dims = vec![state.bytes.len() as u64];
}

fn resize(part: &mut Stored, count: u64) {
    part.bytes.resize(count as usize * part.dtype.size(), 0);
    part.dims = vec![count];
}

/// Adds a copy of a part under a name.
fn again(parts: &mut Vec<Stored>, name: &str, copy: &str) {
    let part = Stored { name: copy.into(), ..find(parts, name).clone() };
    parts.push(part);
}

type Damage = fn(&mut Vec<Stored>);

const REFUSED: &[(Damage, &str)] = &[
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": 0"), "blocksize"),
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": 3"), "blocksize"),
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": 8192"), "blocksize"),
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": -64"), "blocksize"),
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": 64.5"), "blocksize"),
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": \"64\""), "blocksize"),
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": 18446744073709551616"), "blocksize"),
    (|p| state(p, "\"blocksize\": 64", "\"blocksize\": 32"), "absmax"),
    (|p| state(p, "[8, 64]", "[8, 65]"), "packed codes: 256 bytes"),
    (|p| state(p, "[8, 64]", "[9223372036854775807, 2]"), "63 bits"),
    (|p| state(p, "[8, 64]", "[9223372036854775808]"), "63 bits"),
    (|p| state(p, "[8, 64]", "[-8, -64]"), "quant_state"),
    (|p| state(p, "[8, 64]", "[0, 64]"), "packed codes"),
    (|p| state(p, "[8, 64]", "[1, 1, 1, 1, 1, 1, 1, 8, 64]"), "rank 9"),
    (|p| state(p, "\"dtype\": \"float32\", \"shape\"", "\"dtype\": \"float64\", \"shape\""), "float64"),
    (|p| state(p, "\"nested_blocksize\": 256", "\"nested_blocksize\": 0"), "nested_blocksize 0"),
    (|p| state(p, "\"nested_blocksize\": 256", "\"nested_blocksize\": 100"), "nested_blocksize 100"),
    (|p| state(p, "\"nested_blocksize\": 256, ", ""), "nested_blocksize is missing"),
    (|p| state(p, "\"quant_type\": \"nf4\"", "\"quant_type\": \"fp4\""), "bitsandbytes__nf4"),
    (|p| state(p, "{", "["), "quant_state"),
    (|p| state(p, "}", "} x"), "trailing"),
    (|p| state(p, "\"shape\"", "\"shape\": [1], \"shape\""), "shape"),
    (|p| find(p, STATE).bytes[3] = 0xff, "UTF-8"),
    (|p| resize(find(p, STATE), 0), "quant_state"),
    (|p| resize(find(p, STATE), 1 << 20), "at most"),
    (|p| find(p, "w").dims = vec![16, 16], "[n, 1]"),
    (|p| find(p, "w").dims = vec![512, 1], "256 bytes do not fit U8 [512, 1]"),
    (|p| find(p, "w").dtype = DType::I8, "I8"),
    (|p| resize(find(p, "w.absmax"), 7), "[8]"),
    (|p| resize(find(p, "w.absmax"), 9), "[8]"),
    (|p| find(p, "w.absmax").dtype = DType::I8, "absmax: I8"),
    (|p| resize(find(p, "w.quant_map"), 15), "[16]"),
    (|p| find(p, "w.quant_map").dtype = DType::I32, "I32"),
    (|p| find(p, "w.quant_map").bytes.rotate_left(4), "quant_map[0]"),
    (
        |p| find(p, "w.quant_map").bytes[60..64].copy_from_slice(&f32::NAN.to_le_bytes()),
        "quant_map[15] is NaN",
    ),
    (|p| resize(find(p, "w.nested_absmax"), 0), "[1]"),
    (|p| resize(find(p, "w.nested_absmax"), 2), "[1]"),
    (|p| resize(find(p, "w.nested_quant_map"), 255), "[256]"),
    (|p| find(p, "w.nested_quant_map").bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()), "inf"),
    (|p| p.retain(|part| part.name != "w.nested_absmax"), "nested_quant_map without nested_absmax"),
    (|p| p.retain(|part| part.name != "w.nested_quant_map"), "without nested_quant_map"),
    (|p| p.retain(|part| part.name != "w.absmax"), "\"w.absmax\" is missing"),
    (|p| p.retain(|part| part.name != "w"), "\"w\" is missing"),
    (|p| p.retain(|part| part.name != STATE), "not a bitsandbytes 4-bit weight"),
    (|p| find(p, "w.absmax").name = "v.absmax".into(), "v.absmax"),
    (|p| again(p, "w.absmax", "w.absmax"), "twice"),
    (|p| again(p, STATE, "w.quant_state.bitsandbytes__fp4"), "two"),
];

#[test]
fn damaged_parts_are_refused_with_words() {
    build(&sound()).unwrap();
    for (number, (damage, words)) in REFUSED.iter().enumerate() {
        let mut parts = sound();
        damage(&mut parts);
        let error = match build(&parts) {
            Ok(weight) => panic!("damage {number} ({words}) was accepted: {weight:?}"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(words), "damage {number}: {error:?} does not say {words:?}");
        assert!(error.len() < 1000, "damage {number}: {} bytes of words", error.len());
    }
}

/// Scales that are no numbers come from weights that were none: they decode to what they are.
#[test]
fn strange_scales_are_harmless() {
    let context = fourbit::Context::cpu(Default::default()).unwrap();
    for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 1e-42, f32::MAX] {
        let mut parts = sound();
        find(&mut parts, "w.nested_absmax").bytes = scale.to_le_bytes().to_vec();
        let weight = build(&parts).unwrap();
        let mut decoded = vec![0f32; 512];
        dequantize(&context, &weight, &mut TensorMut::new(&mut decoded, &[8, 64]).unwrap()).unwrap();
        assert_eq!(decoded.iter().any(|v| !v.is_finite()), !scale.is_finite(), "{scale}");
    }
}

/// A file cut at every byte of its header and at every seam of its data is refused.
#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut header = String::from("{");
    let (mut data, mut seams) = (Vec::new(), vec![0]);
    for (i, part) in sound().iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let (name, dtype, start) = (&part.name, part.dtype.safetensors_name(), data.len());
        data.extend(&part.bytes);
        header += &format!(
            "{comma}\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{:?},\"data_offsets\":[{start},{}]}}",
            part.dims,
            data.len()
        );
        seams.push(data.len());
    }
    header += "}";
    let whole = checkpoint_support::image(&header, &data);
    let path = put(directory.path(), "x.safetensors", &whole);
    Checkpoint::open(&path).unwrap().weight_parts("w").unwrap();
    let data_start = whole.len() - data.len();
    let near = seams.iter().flat_map(|seam| [seam.wrapping_sub(1), *seam, seam + 1]);
    let cuts = (0..data_start).chain(near.map(|seam| data_start.wrapping_add(seam)));
    for cut in cuts.filter(|cut| *cut < whole.len()) {
        let path = put(directory.path(), "cut.safetensors", &whole[..cut]);
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(matches!(error, fourbit::Error::Format(_)), "cut at {cut}: {error}");
        assert!(error.to_string().contains("cut.safetensors"), "cut at {cut}: {error}");
    }
}
