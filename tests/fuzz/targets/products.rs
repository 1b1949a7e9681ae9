//! Products with arguments of every sort, compared with a slow reference where they are accepted.

use std::ptr;

use fourbit::ffi::*;

use super::operands::*;

/// A tensor with memory of exactly its size.
struct Operand {
    dtype: fourbit_dtype,
    shape: [i64; 2],
    strides: [i64; 2],
    bytes: Box<[u8]>,
}

impl Operand {
    /// Rows of `columns` elements, `gap` elements apart.
    fn new(dtype: fourbit_dtype, rows: i64, columns: i64, gap: i64, value: impl Fn(usize) -> f32) -> Self {
        let step = columns + gap;
        let len = if rows == 0 || columns == 0 { 0 } else { (rows - 1) * step + columns };
        let bytes = (0..len as usize).flat_map(|i| encode(dtype, value(i))).collect();
        Operand { dtype, shape: [rows, columns], strides: [step, 1], bytes }
    }

    fn tensor(&self) -> fourbit_tensor {
        view(self.bytes.as_ptr().cast_mut(), self.dtype, &self.shape, Some(&self.strides))
    }

    fn at(&self, row: i64, column: i64) -> f64 {
        let size = usize::from(self.dtype.bits / 8);
        let start = (row * self.strides[0] + column) as usize * size;
        decode(self.dtype, &self.bytes[start..start + size])
    }
}

fn encode(dtype: fourbit_dtype, value: f32) -> Vec<u8> {
    match dtype {
        F32 => value.to_le_bytes().to_vec(),
        // A bfloat16 is the upper half of a float32; values here are chosen to fit.
        BF16 => ((value.to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        _ => f16_bits(value).to_le_bytes().to_vec(),
    }
}

/// Float16 of a value between 2^-14 and 2^15 whose lower bits are dropped.
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let sign = (bits >> 16 & 0x8000) as u16;
    if !(-14..=15).contains(&exponent) {
        return sign;
    }
    sign | ((exponent + 15) as u16) << 10 | (bits >> 13 & 0x3ff) as u16
}

fn decode(dtype: fourbit_dtype, bytes: &[u8]) -> f64 {
    match dtype {
        F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
        BF16 => f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes.try_into().unwrap())) << 16)),
        _ => {
            let bits = u16::from_le_bytes(bytes.try_into().unwrap());
            let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
            let size = match exponent {
                0 => mantissa * 2f64.powi(-24),
                31 if mantissa > 0.0 => f64::NAN,
                31 => f64::INFINITY,
                e => (1.0 + mantissa / 1024.0) * 2f64.powi(e - 15),
            };
            if bits >> 15 == 1 { -size } else { size }
        }
    }
}

/// Small numbers of both signs that need all bits of a bfloat16.
fn value(seed: u64, index: usize) -> f32 {
    let mixed = (seed ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (mixed as i32 % 511 - 255) as f32 / 128.0
}

/// The bits of each type's significand that an output keeps.
fn rounding(dtype: fourbit_dtype) -> f64 {
    match dtype {
        F32 => 2f64.powi(-22),
        BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-10),
    }
}

/// `gemm` with any shapes, dtypes, strides, flags, threads and instruction set.
pub fn gemm(data: &[u8]) {
    let mut input = Input(data);
    let context = context(&mut input);
    let blocks = [32u32, 64, 128, 256, 512, 1024, 2048, 4096];
    let quantizer = {
        let (block, options) = (input.pick(&blocks), input.byte());
        Quantizer::new(context, u32::from(options & 1), block, options & 2 != 0)
    };
    let (n, k) = (1 + input.below(70) as i64, 1 + input.below(700) as i64);
    let m = i64::from(input.byte() % 40);
    let flags = u32::from(input.byte() % 10);
    let seed = input.long();

    let source = Operand::new(F32, n, k, 0, |i| value(seed, i));
    let mut weight = ptr::null_mut();
    // SAFETY: live handles and a valid tensor.
    assert!(checked(unsafe { fourbit_quantize(quantizer.0, &source.tensor(), &mut weight) }));
    let weight = Held(weight);

    let transposed = flags & FOURBIT_GEMM_TRANSPOSE != 0;
    let (inner, outer) = if transposed { (n, k) } else { (k, n) };
    // One call in sixteen has a shape that does not fit.
    let wrong = i64::from(input.byte() >= 240);
    let x = Operand::new(input.pick(&FLOATS), m, inner + wrong, input.below(5) as i64, |i| value(!seed, i));
    let y = Operand::new(input.pick(&FLOATS), m, outer, input.below(5) as i64, |i| value(seed >> 7, i));
    let bias = (input.byte() & 1 == 1)
        .then(|| Operand::new(input.pick(&FLOATS), 1, outer, 0, |i| value(seed >> 13, i)));
    let before: Vec<u8> = y.bytes.to_vec();
    let bias_tensor = bias.as_ref().map(|b| fourbit_tensor {
        ndim: 1,
        shape: &b.shape[1],
        strides: ptr::null(),
        ..b.tensor()
    });
    let config = fourbit_gemm_config { struct_size: 8, flags };
    // SAFETY: live handles; the operands are as large as their structs say.
    let status = unsafe {
        let bias = bias_tensor.as_ref().map_or(ptr::null(), ptr::from_ref);
        fourbit_gemm(context, &x.tensor(), weight.0, bias, &config, &y.tensor())
    };
    let fits = wrong == 0 && flags < 8;
    assert_eq!(checked(status), fits, "{}", words());
    if !fits {
        assert_eq!(before, y.bytes.to_vec(), "a refused call wrote");
        return;
    }
    compare(
        context,
        &weight,
        Product { n, k, transposed, accumulate: flags & FOURBIT_GEMM_ACCUMULATE != 0 },
        &x,
        bias.as_ref(),
        &before,
        &y,
    );
}

struct Product {
    n: i64,
    k: i64,
    transposed: bool,
    accumulate: bool,
}

fn compare(
    context: *const fourbit_context,
    weight: &Held,
    p: Product,
    x: &Operand,
    bias: Option<&Operand>,
    before: &[u8],
    y: &Operand,
) {
    let w = Operand::new(F32, p.n, p.k, 0, |_| 0.0);
    // SAFETY: live handles; `w` has the weight's shape.
    assert!(checked(unsafe { fourbit_dequantize(context, weight.0, &w.tensor()) }));
    let old = Operand { dtype: y.dtype, shape: y.shape, strides: y.strides, bytes: before.into() };
    let inner = if p.transposed { p.n } else { p.k };
    for row in 0..y.shape[0] {
        for column in 0..y.shape[1] {
            let (mut sum, mut size) = (0.0, 0.0);
            for i in 0..inner {
                let factor = if p.transposed { w.at(i, column) } else { w.at(column, i) };
                let term = x.at(row, i) * factor;
                sum += term;
                size += term.abs();
            }
            if let Some(bias) = bias {
                sum += bias.at(0, column);
                size += bias.at(0, column).abs();
            }
            if p.accumulate {
                sum += old.at(row, column);
                size += old.at(row, column).abs();
            }
            // Weights rounded to bfloat16 (2^-9), sums in float32, then the output's own rounding.
            let bound = size * 2f64.powi(-8) + sum.abs() * rounding(y.dtype) + 1e-6;
            let got = y.at(row, column);
            assert!((got - sum).abs() <= bound, "[{row}, {column}]: {got} instead of {sum} ± {bound}");
        }
    }
}
