//! Quantize and dequantize on the CPU against vectors made with bitsandbytes 0.50.2.

use fourbit::backend::cpu::{CpuBackend, CpuConfig, Isa};
use fourbit::backend::{Backend, DequantizeJob, QuantizeJob, Scales, WeightRef};
use fourbit::codebook::{QuantType, Rule};
use fourbit::dtype::FloatType;
use fourbit::quant::BlockSize;
use safetensors::SafeTensors;
use serde_json::Value;

const FILE: &[u8] = include_bytes!("golden/golden_cpu_0.50.2.safetensors");

struct Case {
    name: String,
    quant_type: QuantType,
    dtype: FloatType,
    block_size: BlockSize,
    nested: bool,
    numel: u64,
}

fn cases() -> Vec<Case> {
    let (_, header) = SafeTensors::read_metadata(FILE).unwrap();
    let cases: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let cases = cases.as_object().unwrap().iter().filter(|(name, _)| name.starts_with('c'));
    cases
        .map(|(name, c)| Case {
            name: name.clone(),
            quant_type: QuantType::parse(c["quant_type"].as_str().unwrap()).unwrap(),
            dtype: FloatType::parse(c["dtype"].as_str().unwrap()).unwrap(),
            block_size: BlockSize::new(c["blocksize"].as_u64().unwrap()).unwrap(),
            nested: c["nested"].as_bool().unwrap(),
            numel: c["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).product(),
        })
        .collect()
}

fn bytes<'a>(file: &SafeTensors<'a>, case: &Case, tensor: &str) -> &'a [u8] {
    file.tensor(&format!("{}.{tensor}", case.name)).unwrap().data()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn backends() -> Vec<CpuBackend> {
    let arms = Isa::ALL.iter().filter(|isa| isa.is_supported());
    arms.map(|isa| {
        CpuBackend::new(CpuConfig { threads: 2, isa_max: Some(*isa), ..Default::default() }).unwrap()
    })
    .collect()
}

#[test]
fn quantize_writes_the_codes_and_absmax_of_bitsandbytes() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let cases = cases();
    assert_eq!(cases.len(), 96);
    for backend in backends() {
        for case in &cases {
            let blocks = case.numel.div_ceil(case.block_size.get() as u64) as usize;
            let mut codes = vec![0u8; case.numel.div_ceil(2) as usize];
            let mut absmax = vec![0f32; blocks];
            let job = QuantizeJob {
                source: bytes(&file, case, "input").as_ptr(),
                source_type: case.dtype,
                numel: case.numel,
                block_size: case.block_size,
                quant_type: case.quant_type,
                rule: Rule::BnbCpu,
                codes: codes.as_mut_ptr(),
                absmax: absmax.as_mut_ptr(),
            };
            // SAFETY: the buffers have the sizes that the job implies.
            unsafe { backend.quantize(&job) }.unwrap();
            assert_eq!(codes, bytes(&file, case, "weight"), "{} on {}", case.name, backend.isa());
            if !case.nested {
                let expected = floats(bytes(&file, case, "weight.absmax"));
                assert_eq!(bits(&absmax), bits(&expected), "{} on {}", case.name, backend.isa());
            }
        }
    }
}

#[test]
fn dequantize_gives_the_values_of_bitsandbytes_in_three_types() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    for backend in backends() {
        for case in &cases() {
            let statistics = Statistics::read(&file, case);
            for (dtype, suffix) in
                [(FloatType::F32, "f32"), (FloatType::F16, "f16"), (FloatType::Bf16, "bf16")]
            {
                let expected = bytes(&file, case, &format!("dequant.{suffix}"));
                for scales in statistics.all() {
                    let weight = WeightRef {
                        codes: bytes(&file, case, "weight").as_ptr(),
                        codebook: *case.quant_type.codebook(),
                        block_size: case.block_size,
                        scales,
                    };
                    let mut output = vec![0u8; expected.len()];
                    let (numel, output_type) = (case.numel, dtype);
                    let job = DequantizeJob { weight, numel, output: output.as_mut_ptr(), output_type };
                    // SAFETY: the buffers have the sizes that the job implies.
                    unsafe { backend.dequantize(&job) }.unwrap();
                    assert!(output == expected, "{} {suffix} {scales:?} on {}", case.name, backend.isa());
                }
            }
        }
    }
}

/// The scales of a case: as plain absmax, and double-quantized if it is.
struct Statistics<'a> {
    plain: Vec<f32>,
    nested: Option<Nested<'a>>,
}

struct Nested<'a> {
    codes: &'a [u8],
    map: Vec<f32>,
    absmax: Vec<f32>,
    offset: f32,
}

impl<'a> Statistics<'a> {
    fn read(file: &SafeTensors<'a>, case: &Case) -> Self {
        let nested = case.nested.then(|| {
            let name = format!("weight.quant_state.bitsandbytes__{}", case.quant_type.name());
            let state: Value = serde_json::from_slice(bytes(file, case, &name)).unwrap();
            Nested {
                codes: bytes(file, case, "weight.absmax"),
                map: floats(bytes(file, case, "weight.nested_quant_map")),
                absmax: floats(bytes(file, case, "weight.nested_absmax")),
                offset: state["nested_offset"].as_f64().unwrap() as f32,
            }
        });
        Statistics { plain: floats(bytes(file, case, "absmax_fp32")), nested }
    }

    fn all(&self) -> Vec<Scales> {
        let nested = self.nested.as_ref().map(|n| Scales::Double {
            codes: n.codes.as_ptr(),
            map: n.map.as_ptr(),
            nested_absmax: n.absmax.as_ptr(),
            nested_shift: 8,
            offset: n.offset,
        });
        [Some(Scales::Plain { absmax: self.plain.as_ptr() }), nested].into_iter().flatten().collect()
    }
}
