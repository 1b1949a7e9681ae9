use std::ffi::c_char;

use super::context::fourbit_context;
use super::guard::{byte_slice, c_str, guard, not_null, write_out};
use super::handle::{self, Handle, get};
use super::sized::{Growing, flag, read, write};
use super::status::fourbit_status;
use super::tensor::fourbit_dtype;
use super::text::put_text;
use super::weight::fourbit_quant_type;
use crate::codebook::{QuantType, Rule};
use crate::config::{QuantizationConfig, parse_json};
use crate::context::Context;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::quant::{BlockSize, Geometry, QuantSpec};

/// A validated 4-bit configuration on a context. Any number of threads may use one.
pub struct fourbit_quantizer {
    pub(super) context: Context,
    pub(super) spec: QuantSpec,
    /// The same and more as transformers words it, for configs written.
    pub(super) config: QuantizationConfig,
}

impl Handle for fourbit_quantizer {
    const NAME: &'static str = "fourbit_quantizer";
}

/// bitsandbytes decides a few codes differently on a CPU and on CUDA.
#[repr(u32)]
pub enum fourbit_quant_rule {
    /// What bitsandbytes does on the context's device.
    Default = 0,
    /// bitsandbytes on a CPU.
    BnbCpu = 1,
    /// bitsandbytes on CUDA.
    BnbCuda = 2,
}

/// How to quantize. All zero: NF4, block size 64, no double quantization, uint8 storage, bfloat16
/// compute dtype.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_quant_config {
    /// sizeof(fourbit_quant_config).
    pub struct_size: u32,
    /// A fourbit_quant_type.
    pub quant_type: u32,
    /// Elements per absmax: 32, 64, …, 4096; 0: 64.
    pub block_size: u32,
    /// 1: quantize the absmax values to 8 bits.
    pub double_quant: u32,
    /// A fourbit_quant_rule.
    pub rule: u32,
    /// bnb_4bit_compute_dtype, for configs written; all zero: bfloat16.
    pub compute_dtype: fourbit_dtype,
    /// The dtype packed bytes are labelled with; all zero: uint8.
    pub storage: fourbit_dtype,
    /// 1: llm_int8_enable_fp32_cpu_offload.
    pub fp32_cpu_offload: u32,
    /// llm_int8_skip_modules: `skip_module_count` names, or NULL for transformers' own choice.
    pub skip_modules: *const *const c_char,
    /// The number of names.
    pub skip_module_count: usize,
}

// SAFETY: plain data without padding, valid when zero, `struct_size` first.
unsafe impl Growing for fourbit_quant_config {
    const NAME: &'static str = "fourbit_quant_config";
}

/// What a quantizer is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_quantizer_info {
    /// sizeof(fourbit_quantizer_info), set by the caller.
    pub struct_size: u32,
    /// A fourbit_quant_type.
    pub quant_type: u32,
    /// Elements per absmax.
    pub block_size: u32,
    /// 1 with double quantization.
    pub double_quant: u32,
    /// The fourbit_quant_rule in force (never Default).
    pub rule: u32,
    /// bnb_4bit_compute_dtype.
    pub compute_dtype: fourbit_dtype,
    /// The dtype packed bytes are labelled with.
    pub storage: fourbit_dtype,
    /// 1: what it makes can be saved.
    pub is_serializable: u32,
    /// 1: gradients with respect to the input exist (FOURBIT_GEMM_TRANSPOSE).
    pub is_trainable: u32,
    /// 0: no calibration data is needed.
    pub requires_calibration: u32,
    /// Bits per element of a large weight, absmax values included.
    pub bits_per_element: f64,
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_quantizer_info {
    const NAME: &'static str = "fourbit_quantizer_info";
}

fn spec_of(config: &fourbit_quant_config) -> Result<QuantSpec> {
    let quant_type = match config.quant_type {
        0 => QuantType::Nf4,
        1 => QuantType::Fp4,
        n => return Err(err!(InvalidArgument, "quant_type is {n}, expected 0 (NF4) or 1 (FP4)")),
    };
    let rule = match config.rule {
        0 | 1 => Rule::BnbCpu,
        2 => Rule::BnbCuda,
        n => return Err(err!(InvalidArgument, "rule is {n}, expected a fourbit_quant_rule (0 to 2)")),
    };
    let block_size = match config.block_size {
        0 => BlockSize::DEFAULT,
        n => BlockSize::new(u64::from(n))?,
    };
    Ok(QuantSpec {
        quant_type,
        block_size,
        double_quant: flag(config.double_quant, "double_quant")?,
        rule,
        storage: config.storage.storage("storage")?,
    })
}

/// # Safety
/// `names` is NULL or has `count` valid strings.
pub(super) unsafe fn read_names(
    names: *const *const c_char,
    count: usize,
    what: &str,
) -> Result<Option<Vec<String>>> {
    if names.is_null() {
        return match count {
            0 => Ok(None),
            n => Err(err!(InvalidArgument, "{what} is NULL, but its count is {n}")),
        };
    }
    if count > 1 << 20 {
        return Err(err!(InvalidArgument, "{what}: {count} names, at most {} are taken", 1 << 20));
    }
    // SAFETY: the caller's promise.
    let name = |i| unsafe { c_str(names.add(i).read_unaligned(), &format!("{what}[{i}]")).map(String::from) };
    (0..count).map(name).collect::<Result<_>>().map(Some)
}

/// Makes a quantizer. `config` may be NULL.
///
/// # Safety
/// `context` is live; `config` is NULL or readable for the bytes it states; `out` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quantizer_create(
    context: *const fourbit_context,
    config: *const fourbit_quant_config,
    out: *mut *mut fourbit_quantizer,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let context = get(context)?.0.clone();
            let config = read(config)?;
            let spec = spec_of(&config)?;
            let compute_dtype = config.compute_dtype.float_or(Some(FloatType::Bf16), "compute_dtype")?;
            let config = QuantizationConfig {
                skip_modules: read_names(config.skip_modules, config.skip_module_count, "skip_modules")?,
                enable_fp32_cpu_offload: flag(config.fp32_cpu_offload, "fp32_cpu_offload")?,
                ..QuantizationConfig::from_spec(&spec, compute_dtype.unwrap_or(FloatType::Bf16))
            };
            handle::give(out, fourbit_quantizer { context, spec, config })
        }
    })
}

/// Makes a quantizer from the JSON object that config.json has under "quantization_config". Missing
/// keys take transformers' defaults: FP4, no double quantization, float32 compute dtype, uint8.
/// Block size 64; the rule is that of the context's device. A request for 8 bits is UNSUPPORTED.
///
/// # Safety
/// `context` is live; `json` is readable for `len` bytes; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quantizer_from_json(
    context: *const fourbit_context,
    json: *const c_char,
    len: usize,
    out: *mut *mut fourbit_quantizer,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let context = get(context)?.0.clone();
            let json = parse_json(byte_slice(json.cast(), len, "json")?, "quantization_config")?;
            let config = QuantizationConfig::from_value(&json)?;
            let spec = config.spec(BlockSize::DEFAULT, Rule::BnbCpu);
            handle::give(out, fourbit_quantizer { context, spec, config })
        }
    })
}

/// Writes the "quantization_config" object of config.json and a NUL. `*out_len` gets the length
/// without the NUL, also when the buffer is too small; a NULL buffer of capacity 0 asks for the
/// length only.
///
/// # Safety
/// `quantizer` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quantizer_to_json(
    quantizer: *const fourbit_quantizer,
    buffer: *mut c_char,
    capacity: usize,
    out_len: *mut usize,
) -> fourbit_status {
    // SAFETY: this function's contract.
    guard(|| unsafe { put_text(&get(quantizer)?.config.to_json(), buffer, capacity, out_len) })
}

/// Describes a quantizer.
///
/// # Safety
/// `quantizer` is live; `out_info` is NULL or writable for the bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quantizer_query(
    quantizer: *const fourbit_quantizer,
    out_info: *mut fourbit_quantizer_info,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let quantizer = unsafe { get(quantizer)? };
        let spec = &quantizer.spec;
        let block = spec.block_size.get() as f64;
        let absmax_bits = if spec.double_quant { 8.0 + 32.0 / 256.0 } else { 32.0 };
        let info = fourbit_quantizer_info {
            struct_size: 0,
            quant_type: fourbit_quant_type::from(spec.quant_type) as u32,
            block_size: spec.block_size.get() as u32,
            double_quant: spec.double_quant.into(),
            rule: match spec.rule {
                Rule::BnbCpu => 1,
                Rule::BnbCuda => 2,
            },
            compute_dtype: DType::from(quantizer.config.compute_dtype).into(),
            storage: spec.storage.dtype().into(),
            is_serializable: 1,
            is_trainable: 1,
            requires_calibration: 0,
            bits_per_element: 4.0 + absmax_bits / block,
        };
        // SAFETY: this function's contract.
        unsafe { write(out_info, info) }
    })
}

/// The bytes of a quantized weight's parts other than the quant state's text, known before
/// quantizing.
///
/// # Safety
/// `quantizer` is live; `out_bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quant_sizes(
    quantizer: *const fourbit_quantizer,
    element_count: u64,
    out_bytes: *mut u64,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        let spec = unsafe { get(quantizer)?.spec };
        if element_count > i64::MAX as u64 {
            return Err(err!(InvalidArgument, "element_count {element_count} does not fit in 63 bits"));
        }
        let geometry = Geometry { numel: element_count, block_size: spec.block_size };
        // SAFETY: this function's contract.
        unsafe { write_out(out_bytes, geometry.part_bytes(spec.double_quant), "out_bytes") }
    })
}

/// Gives a quantizer up; NULL is allowed.
///
/// # Safety
/// No other call uses this handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quantizer_destroy(quantizer: *mut fourbit_quantizer) {
    // SAFETY: this function's contract.
    unsafe { handle::destroy(quantizer) };
}
