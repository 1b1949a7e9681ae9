//! Products with a 4-bit weight: shapes checked against each other, then one backend job.

use super::quantize::float_type;
use crate::backend::GemmJob;
use crate::context::Context;
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::log::{Level, Limit};
use crate::memory::AlignedBytes;
use crate::shape::Shape;
use crate::tensor::{RawTensor, TensorMut, TensorRef};
use crate::weight::Weight;

/// How to multiply. The default is `output = input · Wᵀ (+ bias)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GemmOptions {
    /// Multiply by `W` instead of `Wᵀ`: the gradient with respect to the input.
    pub transpose: bool,
    /// Add to what the output holds.
    pub accumulate: bool,
    /// Exact `f32` products for every batch size, also where several rows of a 16-bit input would
    /// otherwise meet weights rounded to fewer bits (docs/numerics.md).
    pub exact: bool,
}

/// Multiplies `input[…, k]` by a weight `[n, k]` into `output[…, n]` (with `transpose`: `[…, n]`
/// into `[…, k]`). Element types of input, bias and output are independent. Output and input must
/// not overlap.
pub fn gemm(
    context: &Context,
    input: TensorRef<'_>,
    weight: &Weight,
    bias: Option<TensorRef<'_>>,
    options: GemmOptions,
    output: &mut TensorMut<'_>,
) -> Result<()> {
    let call = Call::check(input, weight, bias, options, output)?;
    call.run(|job| {
        // SAFETY: `Call` holds views of checked, non-overlapping memory while the job runs.
        unsafe { context.backend().gemm(job) }
    })
}

/// One product per expert over consecutive rows of `input`: rows `offsets[e]..offsets[e + 1]` go
/// through `experts[e]`. All experts share one shape; an expert may have no rows.
pub fn grouped_gemm(
    context: &Context,
    input: TensorRef<'_>,
    offsets: &[i64],
    experts: &[&Weight],
    options: GemmOptions,
    output: &mut TensorMut<'_>,
) -> Result<()> {
    let Some(first) = experts.first() else {
        return Err(err!(InvalidArgument, "grouped gemm needs at least one expert"));
    };
    if let Some((e, other)) = experts.iter().enumerate().find(|(_, w)| w.shape() != first.shape()) {
        return Err(err!(
            ShapeMismatch,
            "expert {e} has shape {}, expert 0 has {}",
            other.shape(),
            first.shape()
        ));
    }
    let call = Call::check(input, first, None, options, output)?;
    check_offsets(offsets, experts.len(), call.job.m)?;
    call.run(|whole| {
        let jobs: Vec<GemmJob> = experts
            .iter()
            .zip(offsets.windows(2))
            .map(|(expert, rows)| {
                let at = |stride: i64, dtype: FloatType| (rows[0] * stride) as isize * dtype.size() as isize;
                GemmJob {
                    m: (rows[1] - rows[0]) as u64,
                    weight: expert.kernel_ref(),
                    // The offsets lie within the rows that `Call` checked.
                    input: whole.input.wrapping_offset(at(whole.input_stride, whole.input_type)),
                    output: whole.output.wrapping_offset(at(whole.output_stride, whole.output_type)),
                    ..*whole
                }
            })
            .collect();
        // SAFETY: as for `gemm`; the row ranges do not overlap.
        unsafe { context.backend().grouped_gemm(&jobs) }
    })
}

fn check_offsets(offsets: &[i64], experts: usize, rows: u64) -> Result<()> {
    if offsets.len() != experts + 1 {
        return Err(err!(
            InvalidArgument,
            "{} offsets for {experts} experts, expected {}",
            offsets.len(),
            experts + 1
        ));
    }
    let ascending = offsets.windows(2).all(|w| w[0] <= w[1]);
    if offsets[0] != 0 || !ascending || offsets[experts] as u64 != rows {
        return Err(err!(
            InvalidArgument,
            "offsets must ascend from 0 to the {rows} rows of the input, got {offsets:?}"
        ));
    }
    Ok(())
}

/// A checked product. Views that kernels cannot take are copied to compact ones.
struct Call<'a, 'o> {
    job: GemmJob,
    output: &'a mut TensorMut<'o>,
    compact_output: Option<AlignedBytes>,
    _compact_inputs: [Option<AlignedBytes>; 2],
}

impl<'a, 'o> Call<'a, 'o> {
    fn check(
        input: TensorRef<'_>,
        weight: &Weight,
        bias: Option<TensorRef<'_>>,
        options: GemmOptions,
        output: &'a mut TensorMut<'o>,
    ) -> Result<Self> {
        let (n, k) = weight
            .shape()
            .matrix()
            .ok_or_else(|| err!(ShapeMismatch, "weight has shape {}, expected [out, in]", weight.shape()))?;
        let (inner, outer) = if options.transpose { (n, k) } else { (k, n) };
        let m = check_shapes(input.raw(), inner, output.raw(), outer)?;
        let input_type = float_type(input.raw().dtype, "input")?;
        let output_type = float_type(output.raw().dtype, "output")?;
        check_overlap(input.raw(), output.raw())?;
        let (input, input_stride, compact_input) = rows_of(input)?;
        let (bias, bias_type, compact_bias) = match bias {
            None => (std::ptr::null_mut(), FloatType::F32, None),
            Some(bias) => {
                let bias_type = check_bias(bias.raw(), outer)?;
                let (data, _, compact) = rows_of(bias)?;
                (data, bias_type, compact)
            }
        };
        let (output_data, output_stride, compact_output) = rows_of(output.as_ref())?;
        let job = GemmJob {
            m,
            n,
            k,
            input,
            input_type,
            input_stride,
            weight: weight.kernel_ref(),
            bias,
            bias_type,
            output: output_data,
            output_type,
            output_stride,
            accumulate: options.accumulate,
            transpose: options.transpose,
            exact: options.exact,
        };
        Ok(Call { job, output, compact_output, _compact_inputs: [compact_input, compact_bias] })
    }

    fn run(self, compute: impl FnOnce(&GemmJob) -> Result<()>) -> Result<()> {
        compute(&self.job)?;
        if let Some(compact) = &self.compact_output {
            self.output.unpack_from(compact.as_slice());
        }
        Ok(())
    }
}

/// The number of rows, if input and output have the same and the right last dimensions.
fn check_shapes(input: &RawTensor, inner: u64, output: &RawTensor, outer: u64) -> Result<u64> {
    let split = |shape: &Shape| shape.dims().split_last().map(|(last, lead)| (lead.to_vec(), *last));
    let (Some((lead, last)), Some((out_lead, out_last))) = (split(&input.shape), split(&output.shape)) else {
        return Err(err!(ShapeMismatch, "input and output need at least one dimension"));
    };
    if last != inner {
        return Err(err!(ShapeMismatch, "input has shape {}, expected last dimension {inner}", input.shape));
    }
    if out_last != outer || lead != out_lead {
        let mut expected = lead.clone();
        expected.push(outer);
        return Err(err!(
            ShapeMismatch,
            "output has shape {}, expected {expected:?} for input {}",
            output.shape,
            input.shape
        ));
    }
    Ok(lead.iter().product())
}

fn check_bias(bias: &RawTensor, outer: u64) -> Result<FloatType> {
    if bias.shape.dims() != [outer] {
        return Err(err!(ShapeMismatch, "bias has shape {}, expected [{outer}]", bias.shape));
    }
    float_type(bias.dtype, "bias")
}

/// Byte range that a view reaches.
fn extent(t: &RawTensor) -> Option<(i128, i128)> {
    if t.shape.numel() == 0 {
        return None;
    }
    let start = t.data as usize as i128;
    let size = t.dtype.size() as i128;
    let (mut low, mut high) = (start, start + size);
    for (d, s) in t.shape.dims().iter().zip(t.strides()) {
        let reach = (*d as i128 - 1) * *s as i128 * size;
        low += reach.min(0);
        high += reach.max(0);
    }
    Some((low, high))
}

fn check_overlap(input: &RawTensor, output: &RawTensor) -> Result<()> {
    if let (Some((a, b)), Some((c, d))) = (extent(input), extent(output))
        && a < d
        && c < b
    {
        return Err(err!(InvalidArgument, "input and output overlap in memory"));
    }
    Ok(())
}

/// The view as evenly spaced dense rows: `(data, row stride, copy if one was needed)`.
fn rows_of(tensor: TensorRef<'_>) -> Result<(*mut u8, i64, Option<AlignedBytes>)> {
    if let Some((_, stride)) = tensor.raw().as_rows() {
        return Ok((tensor.raw().data, stride, None));
    }
    static COPIES: Limit = Limit::new(4);
    let shape = tensor.shape();
    COPIES.log(Level::Warning, || {
        format!("gemm: a tensor of shape {shape} whose elements are not in rows is copied in every call")
    });
    let mut compact = AlignedBytes::zeroed_u64(shape.numel() * tensor.raw().dtype.size() as u64)?;
    tensor.pack_into(compact.as_mut_slice());
    let columns = shape.dims().last().map_or(1, |d| *d as i64);
    Ok((compact.as_mut_slice().as_mut_ptr(), columns, Some(compact)))
}
