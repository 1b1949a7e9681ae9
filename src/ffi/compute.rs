use super::context::fourbit_context;
use super::guard::{guard, not_null};
use super::handle::get;
use super::quantizer::fourbit_quantizer;
use super::sized::{Growing, read, write};
use super::status::fourbit_status;
use super::tensor::{fourbit_tensor, read_tensor, read_tensor_mut};
use super::weight::fourbit_weight;
use crate::error::{Result, err};
use crate::quant::{GemmOptions, dequantize, gemm, grouped_gemm, measure, quantize};
use crate::weight::Weight;

/// output = input · W instead of input · Wᵀ: the gradient with respect to the input.
pub const FOURBIT_GEMM_TRANSPOSE: u32 = 1;
/// Add to what the output holds.
pub const FOURBIT_GEMM_ACCUMULATE: u32 = 2;
/// Exact float32 products for every batch size, also where several rows of a 16-bit input would
/// otherwise meet weights rounded to fewer bits: which inputs, and how many bits, docs/numerics.md
/// says under "What is exact and what is rounded".
pub const FOURBIT_GEMM_EXACT: u32 = 4;

/// How to multiply. All zero: output = input · Wᵀ (+ bias).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_gemm_config {
    /// sizeof(fourbit_gemm_config).
    pub struct_size: u32,
    /// FOURBIT_GEMM_* joined by "or".
    pub flags: u32,
}

// SAFETY: plain data without padding, valid when zero, `struct_size` first.
unsafe impl Growing for fourbit_gemm_config {
    const NAME: &'static str = "fourbit_gemm_config";
}

/// How far a weight is from its source.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_quant_error {
    /// sizeof(fourbit_quant_error), set by the caller.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Elements compared.
    pub count: u64,
    /// Largest absolute difference.
    pub max_error: f64,
    /// Mean absolute difference.
    pub mean_error: f64,
    /// Root of the mean squared difference.
    pub rms_error: f64,
    /// 10 log10(Σ source² / Σ difference²), in decibels.
    pub snr_db: f64,
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_quant_error {
    const NAME: &'static str = "fourbit_quant_error";
}

/// Quantizes a float32, float16 or bfloat16 tensor of any shape (rank 0 to 8) and strides. The
/// weight owns its bytes; `source` may go away afterwards.
///
/// # Safety
/// `quantizer` is live; `source` describes readable memory; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quantize(
    quantizer: *const fourbit_quantizer,
    source: *const fourbit_tensor,
    out: *mut *mut fourbit_weight,
) -> fourbit_status {
    guard(|| {
        not_null(out, "out")?;
        // SAFETY: this function's contract.
        unsafe {
            let quantizer = get(quantizer)?;
            let weight = quantize(&quantizer.context, &quantizer.spec, read_tensor(source, "source")?)?;
            super::handle::give(out, fourbit_weight::new(weight))
        }
    })
}

/// Decodes a weight into a tensor of its shape, of any float dtype and strides.
///
/// # Safety
/// Handles are live; `destination` describes writable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_dequantize(
    context: *const fourbit_context,
    weight: *const fourbit_weight,
    destination: *const fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (context, weight) = (&get(context)?.0, get(weight)?);
            dequantize(context, &weight.weight, &mut read_tensor_mut(destination, "destination")?)
        }
    })
}

/// # Safety
/// `config` is NULL or readable for the bytes it states.
unsafe fn options(config: *const fourbit_gemm_config) -> Result<GemmOptions> {
    // SAFETY: the caller's promise.
    let flags = unsafe { read(config)? }.flags;
    let known = FOURBIT_GEMM_TRANSPOSE | FOURBIT_GEMM_ACCUMULATE | FOURBIT_GEMM_EXACT;
    if flags & !known != 0 {
        return Err(err!(
            InvalidArgument,
            "fourbit_gemm_config.flags has unknown bits: {:#x}",
            flags & !known
        ));
    }
    Ok(GemmOptions {
        transpose: flags & FOURBIT_GEMM_TRANSPOSE != 0,
        accumulate: flags & FOURBIT_GEMM_ACCUMULATE != 0,
        exact: flags & FOURBIT_GEMM_EXACT != 0,
    })
}

/// Multiplies by a 4-bit weight of shape [n, k]:
///   output[…, n] = input[…, k] · Wᵀ + bias[n];
///   with FOURBIT_GEMM_TRANSPOSE  output[…, k] = input[…, n] · W + bias[k].
/// Input, bias and output are float32, float16 or bfloat16, independently; sums are in float32.
/// Leading dimensions of input and output are equal. Any k, a multiple of the block size or not.
/// `bias` and `config` may be NULL. Input and output must not overlap. The same bits come out for
/// any number of threads.
///
/// # Safety
/// Handles are live; tensors describe valid memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_gemm(
    context: *const fourbit_context,
    input: *const fourbit_tensor,
    weight: *const fourbit_weight,
    bias: *const fourbit_tensor,
    config: *const fourbit_gemm_config,
    output: *const fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (context, weight) = (&get(context)?.0, get(weight)?);
            let input = read_tensor(input, "input")?;
            let bias = if bias.is_null() { None } else { Some(read_tensor(bias, "bias")?) };
            let mut output = read_tensor_mut(output, "output")?;
            gemm(context, input, &weight.weight, bias, options(config)?, &mut output)
        }
    })
}

/// One product per expert over consecutive rows: rows offsets[e] to offsets[e + 1] of `input` go
/// through `experts[e]`, into the same rows of `output`. `offsets` has count + 1 values that ascend
/// from 0 to the number of rows; an expert may have none. All experts have one shape.
///
/// # Safety
/// Handles are live; `offsets` has count + 1 values and `experts` count; tensors describe valid
/// memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_grouped_gemm(
    context: *const fourbit_context,
    input: *const fourbit_tensor,
    offsets: *const i64,
    experts: *const *const fourbit_weight,
    count: usize,
    config: *const fourbit_gemm_config,
    output: *const fourbit_tensor,
) -> fourbit_status {
    guard(|| {
        if count == 0 || count > 1 << 20 {
            return Err(err!(InvalidArgument, "count is {count}, expected 1 to {}", 1 << 20));
        }
        not_null(offsets, "offsets")?;
        not_null(experts, "experts")?;
        // SAFETY: this function's contract.
        unsafe {
            let context = &get(context)?.0;
            let handles = (0..count).map(|e| get(experts.add(e).read_unaligned()).map(|w| &w.weight));
            let weights: Vec<&Weight> = handles.collect::<Result<_>>()?;
            let offsets: Vec<i64> = (0..=count).map(|i| offsets.add(i).read_unaligned()).collect();
            let input = read_tensor(input, "input")?;
            let mut output = read_tensor_mut(output, "output")?;
            grouped_gemm(context, input, &offsets, &weights, options(config)?, &mut output)
        }
    })
}

/// Measures how far a weight is from a source of its shape.
///
/// # Safety
/// Handles are live; `source` describes readable memory; `out_error` is NULL or writable for the
/// bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_quant_measure(
    context: *const fourbit_context,
    source: *const fourbit_tensor,
    weight: *const fourbit_weight,
    out_error: *mut fourbit_quant_error,
) -> fourbit_status {
    guard(|| {
        // SAFETY: this function's contract.
        unsafe {
            let (context, weight) = (&get(context)?.0, get(weight)?);
            let e = measure(context, read_tensor(source, "source")?, &weight.weight)?;
            let error = fourbit_quant_error {
                struct_size: 0,
                reserved: 0,
                count: e.count,
                max_error: e.max,
                mean_error: e.mean,
                rms_error: e.rms,
                snr_db: e.snr_db,
            };
            write(out_error, error)
        }
    })
}
