//! Views of someone's memory: pointer, element type, shape, strides. They own nothing.

use std::marker::PhantomData;

use half::{bf16, f16};

use crate::dtype::DType;
use crate::error::{Result, err};
use crate::shape::{MAX_RANK, Shape};

/// A view without a lifetime: what [`TensorRef`] and [`TensorMut`] are made of.
#[derive(Clone, Copy, Debug)]
pub struct RawTensor {
    /// Element 0; any alignment.
    pub data: *mut u8,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
    strides: [i64; MAX_RANK],
}

impl RawTensor {
    /// `strides` count elements, one per dimension; `None` means compact row-major.
    pub fn new(data: *mut u8, dtype: DType, shape: Shape, strides: Option<&[i64]>) -> Result<Self> {
        let mut all = compact_strides(&shape);
        if let Some(given) = strides {
            if given.len() != shape.dims().len() {
                return Err(err!(
                    InvalidArgument,
                    "{} strides for a tensor of rank {}",
                    given.len(),
                    shape.dims().len()
                ));
            }
            all[..given.len()].copy_from_slice(given);
        }
        if data.is_null() && shape.numel() > 0 {
            return Err(err!(InvalidArgument, "tensor of shape {shape} has no data (NULL)"));
        }
        Ok(RawTensor { data, dtype, shape, strides: all })
    }

    /// Strides in elements, one per dimension.
    pub fn strides(&self) -> &[i64] {
        &self.strides[..self.shape.dims().len()]
    }

    /// Whether the elements lie one after the other in row-major order.
    pub fn is_compact(&self) -> bool {
        let compact = compact_strides(&self.shape);
        self.shape.numel() == 0
            || self.shape.dims().iter().enumerate().all(|(i, d)| *d == 1 || self.strides[i] == compact[i])
    }

    /// The view as rows of its last dimension with one stride between them: `(rows, row_stride)`.
    /// `None` if the last dimension is not dense or the rows are not evenly spaced.
    pub fn as_rows(&self) -> Option<(u64, i64)> {
        let dims = self.shape.dims();
        let Some((&columns, outer)) = dims.split_last() else { return Some((1, 1)) };
        let rows = outer.iter().product();
        if self.shape.numel() == 0 {
            return Some((rows, columns as i64));
        }
        if columns > 1 && self.strides[outer.len()] != 1 {
            return None;
        }
        let mut step: Option<(i64, u64)> = None; // stride of the rows so far, and their count
        for i in (0..outer.len()).rev().filter(|&i| dims[i] > 1) {
            match step {
                None => step = Some((self.strides[i], dims[i])),
                Some((s, n)) if s.checked_mul(n as i64) == Some(self.strides[i]) => {
                    step = Some((s, n * dims[i]))
                }
                Some(_) => return None,
            }
        }
        Some((rows, step.map_or(columns as i64, |(s, _)| s)))
    }

    /// Calls `visit(element offset)` for every element in row-major order.
    fn for_each_offset(&self, mut visit: impl FnMut(i64)) {
        let dims = self.shape.dims();
        if self.shape.numel() == 0 {
            return;
        }
        let mut index = [0u64; MAX_RANK];
        loop {
            visit((0..dims.len()).map(|i| index[i] as i64 * self.strides[i]).sum());
            let Some(i) = (0..dims.len()).rev().find(|&i| index[i] + 1 < dims[i]) else { return };
            index[i] += 1;
            index[i + 1..].fill(0);
        }
    }
}

fn compact_strides(shape: &Shape) -> [i64; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    let mut next = 1i64;
    for (i, d) in shape.dims().iter().enumerate().rev() {
        strides[i] = next;
        next *= (*d).max(1) as i64;
    }
    strides
}

/// A view to read from.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    raw: RawTensor,
    life: PhantomData<&'a [u8]>,
}

/// A view to write to.
#[derive(Debug)]
pub struct TensorMut<'a> {
    raw: RawTensor,
    life: PhantomData<&'a mut [u8]>,
}

/// Element types that a slice view can be made of.
pub trait Element: Copy {
    /// The element type.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f16 {
    const DTYPE: DType = DType::F16;
}
impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}

fn check_len(dims: &[u64], len: usize) -> Result<Shape> {
    let shape = Shape::new(dims)?;
    if shape.numel() != len as u64 {
        return Err(err!(ShapeMismatch, "shape {shape} needs {} elements, got {len}", shape.numel()));
    }
    Ok(shape)
}

impl<'a> TensorRef<'a> {
    /// A compact view of a slice.
    pub fn new<T: Element>(data: &'a [T], dims: &[u64]) -> Result<Self> {
        let shape = check_len(dims, data.len())?;
        let raw = RawTensor::new(data.as_ptr().cast_mut().cast(), T::DTYPE, shape, None)?;
        Ok(TensorRef { raw, life: PhantomData })
    }

    /// A compact view of bytes; any alignment.
    pub fn from_bytes(data: &'a [u8], dtype: DType, shape: Shape) -> Result<Self> {
        let bytes = shape.numel().checked_mul(dtype.size() as u64);
        if bytes != Some(data.len() as u64) {
            let name = dtype.safetensors_name();
            return Err(err!(
                ShapeMismatch,
                "{name} tensor of shape {shape} does not fill {} bytes",
                data.len()
            ));
        }
        let raw = RawTensor::new(data.as_ptr().cast_mut(), dtype, shape, None)?;
        Ok(TensorRef { raw, life: PhantomData })
    }

    /// A view of raw memory.
    ///
    /// # Safety
    /// Every element that shape and strides reach is readable, and nobody writes to it, for `'a`.
    pub unsafe fn from_raw(raw: RawTensor) -> Self {
        TensorRef { raw, life: PhantomData }
    }

    /// The parts of the view.
    pub fn raw(&self) -> &RawTensor {
        &self.raw
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.raw.shape
    }

    /// Copies the elements, in row-major order, to the start of `out`.
    ///
    /// # Panics
    /// If `out` is smaller than the tensor.
    pub fn pack_into(&self, out: &mut [u8]) {
        let size = self.raw.dtype.size();
        assert!(out.len() as u64 >= self.raw.shape.numel() * size as u64);
        let mut at = 0;
        self.raw.for_each_offset(|offset| {
            // SAFETY: the view's constructor promised every reachable element; `out` was measured.
            unsafe {
                let from = self.raw.data.offset(offset as isize * size as isize);
                std::ptr::copy_nonoverlapping(from, out.as_mut_ptr().add(at), size);
            }
            at += size;
        });
    }
}

impl<'a> TensorMut<'a> {
    /// A compact view of a slice.
    pub fn new<T: Element>(data: &'a mut [T], dims: &[u64]) -> Result<Self> {
        let shape = check_len(dims, data.len())?;
        let raw = RawTensor::new(data.as_mut_ptr().cast(), T::DTYPE, shape, None)?;
        Ok(TensorMut { raw, life: PhantomData })
    }

    /// A view of raw memory.
    ///
    /// # Safety
    /// Every element that shape and strides reach is readable and writable, distinct, and touched
    /// by nobody else, for `'a`.
    pub unsafe fn from_raw(raw: RawTensor) -> Self {
        TensorMut { raw, life: PhantomData }
    }

    /// The parts of the view.
    pub fn raw(&self) -> &RawTensor {
        &self.raw
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.raw.shape
    }

    /// Reads the same elements.
    pub fn as_ref(&self) -> TensorRef<'_> {
        TensorRef { raw: self.raw, life: PhantomData }
    }

    /// Copies row-major elements from the start of `source` into the view.
    ///
    /// # Panics
    /// If `source` is smaller than the tensor.
    pub fn unpack_from(&mut self, source: &[u8]) {
        let size = self.raw.dtype.size();
        assert!(source.len() as u64 >= self.raw.shape.numel() * size as u64);
        let mut at = 0;
        self.raw.for_each_offset(|offset| {
            // SAFETY: the view's constructor promised every reachable element; `source` was measured.
            unsafe {
                let to = self.raw.data.offset(offset as isize * size as isize);
                std::ptr::copy_nonoverlapping(source.as_ptr().add(at), to, size);
            }
            at += size;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(dims: &[u64], strides: Option<&[i64]>) -> RawTensor {
        RawTensor::new(std::ptr::dangling_mut(), DType::F32, Shape::new(dims).unwrap(), strides).unwrap()
    }

    #[test]
    fn rows_are_found_through_batch_dimensions() {
        assert_eq!(raw(&[2, 3, 8], None).as_rows(), Some((6, 8)));
        assert_eq!(raw(&[8], None).as_rows(), Some((1, 8)));
        assert_eq!(raw(&[4, 8], Some(&[10, 1])).as_rows(), Some((4, 10)));
        assert_eq!(raw(&[2, 3, 8], Some(&[30, 10, 1])).as_rows(), Some((6, 10)));
        assert_eq!(raw(&[2, 3, 8], Some(&[31, 10, 1])).as_rows(), None);
        assert_eq!(raw(&[4, 8], Some(&[1, 4])).as_rows(), None, "a transposed view is not rows");
        assert_eq!(raw(&[4, 0], Some(&[1, 4])).as_rows(), Some((4, 0)));
    }

    #[test]
    fn compactness_ignores_dimensions_of_one() {
        assert!(raw(&[1, 8], Some(&[99, 1])).is_compact());
        assert!(!raw(&[2, 8], Some(&[99, 1])).is_compact());
    }

    #[test]
    fn pack_and_unpack_a_transposed_view() {
        let data: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let shape = Shape::new(&[3, 2]).unwrap();
        let view = RawTensor::new(data.as_ptr().cast_mut().cast(), DType::F32, shape, Some(&[1, 3])).unwrap();
        // SAFETY: the strides reach offsets 0 to 5 of six elements.
        let view = unsafe { TensorRef::from_raw(view) };
        let mut packed = vec![0u8; 24];
        view.pack_into(&mut packed);
        let got: Vec<f32> = packed.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(got, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let mut back = [0f32; 6];
        let to = RawTensor::new(back.as_mut_ptr().cast(), DType::F32, shape, Some(&[1, 3])).unwrap();
        // SAFETY: as above, on `back`, which nobody else touches.
        unsafe { TensorMut::from_raw(to) }.unpack_from(&packed);
        assert_eq!(back.to_vec(), data);
    }
}
