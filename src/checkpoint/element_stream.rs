//! A stored tensor as the stream of elements that is quantized: in another float type, transposed
//! if it is stored `[in, out]`, any part of it at a time.

use super::buffers::Buffer;
use super::cast::{StoredFloat, cast};
use super::header::quoted;
use super::reader::Checkpoint;
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::shape::Shape;

/// A tensor to be read in parts.
pub(super) struct ElementStream<'a> {
    checkpoint: &'a Checkpoint,
    index: usize,
    from: StoredFloat,
    to: FloatType,
    /// Stored rows and columns, if the stream runs down the columns.
    transposed: Option<(u64, u64)>,
    shape: Shape,
}

impl<'a> ElementStream<'a> {
    /// The stream of tensor `index` as `to`.
    pub fn new(checkpoint: &'a Checkpoint, index: usize, to: FloatType, transpose: bool) -> Result<Self> {
        let tensor = &checkpoint.tensors()[index];
        let from = StoredFloat::of(tensor.dtype).ok_or_else(|| {
            err!(
                DtypeUnsupported,
                "tensor {}: dtype {}: expected F64, F32, F16 or BF16 to convert to {}",
                quoted(&tensor.name),
                tensor.dtype.safetensors_name(),
                to.torch_name()
            )
        })?;
        let (transposed, shape) = match (transpose, tensor.shape.matrix()) {
            (false, _) => (None, tensor.shape),
            (true, Some((rows, columns))) => (Some((rows, columns)), Shape::new(&[columns, rows])?),
            (true, None) => {
                return Err(err!(
                    ShapeMismatch,
                    "tensor {}: shape {}: only a matrix can be transposed",
                    quoted(&tensor.name),
                    tensor.shape
                ));
            }
        };
        Ok(ElementStream { checkpoint, index, from, to, transposed, shape })
    }

    /// The shape of the stream: that of the tensor, transposed if it is.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The type of the stream's elements.
    pub fn dtype(&self) -> FloatType {
        self.to
    }

    fn is_same(&self) -> bool {
        self.from == StoredFloat::Float(self.to)
    }

    /// Bytes in the source.
    pub fn source_bytes(&self) -> u64 {
        self.checkpoint.tensors()[self.index].byte_len()
    }

    /// Whether the stream runs across the rows of the source, so that small parts cost more.
    pub fn is_strided(&self) -> bool {
        self.transposed.is_some()
    }

    /// Bytes that reading `count` elements at once takes of the buffers `source` and `piece`.
    pub fn buffer_bytes(&self, count: u64) -> (u64, u64) {
        let size = self.from.size() as u64;
        let source = if self.is_same() { 0 } else { count * size };
        // A part of the transposed matrix touches at most so many columns, and takes so many rows at
        // once that the piece is no longer than the part, if one row is not.
        let piece = self.transposed.map_or(0, |(rows, columns)| {
            let width = (count / rows.max(1) + 2).min(columns);
            (if width == columns { count.max(width) } else { width }) * size
        });
        (source, piece)
    }

    /// Reads `out.len() / dtype.size()` elements from element `start` on.
    pub fn read(&self, start: u64, out: &mut [u8], source: &mut Buffer, piece: &mut Buffer) -> Result<()> {
        let count = out.len() / self.to.size();
        if self.is_same() {
            return self.read_source(start, out, piece);
        }
        let stored = source.bytes(count * self.from.size())?;
        self.read_source(start, stored, piece)?;
        cast(stored, self.from, out, self.to);
        Ok(())
    }

    fn read_source(&self, start: u64, out: &mut [u8], piece: &mut Buffer) -> Result<()> {
        match (self.transposed, self.from.size()) {
            (None, size) => self.checkpoint.read_at(self.index, start * size as u64, out),
            (Some(matrix), 2) => self.read_columns::<2>(matrix, start, out, piece),
            (Some(matrix), 4) => self.read_columns::<4>(matrix, start, out, piece),
            (Some(matrix), _) => self.read_columns::<8>(matrix, start, out, piece),
        }
    }

    /// Reads a part of the transposed matrix: the columns of the source that it touches, row by row
    /// into `piece`, and from there each element to its place. `N` is the size of an element.
    fn read_columns<const N: usize>(
        &self,
        (rows, columns): (u64, u64),
        start: u64,
        out: &mut [u8],
        piece: &mut Buffer,
    ) -> Result<()> {
        let (out, _) = out.as_chunks_mut::<N>();
        if out.is_empty() {
            return Ok(());
        }
        let first_column = start / rows;
        let end_column = (start + out.len() as u64).div_ceil(rows);
        let width = (end_column - first_column) as usize;
        // Where the first touched column would begin in `out`: at or before its start.
        let lead = (start - first_column * rows) as usize;
        let all = width as u64 == columns;
        // Whole rows lie one after the other: as many of them at once as the part is long.
        let rows_at_once = if all { (out.len() / width).clamp(1, rows as usize) } else { 1 };
        let piece = piece.bytes(rows_at_once * width * N)?;
        // Rows that only the left-out parts of the first and the last column would need are skipped:
        // with columns longer than a part that is nearly all of them.
        let tail = (start + out.len() as u64 - (end_column - 1) * rows) as usize;
        let ranges = match width {
            1 => [lead..tail, 0..0],
            2 if tail < lead => [0..tail, lead..rows as usize],
            _ => [0..rows as usize, 0..0],
        };
        for rows_needed in ranges {
            for row in rows_needed.clone().step_by(rows_at_once) {
                let count = rows_at_once.min(rows_needed.end - row);
                let piece = &mut piece[..count * width * N];
                self.checkpoint.read_at(
                    self.index,
                    (row as u64 * columns + first_column) * N as u64,
                    piece,
                )?;
                for (r, elements) in piece.as_chunks::<N>().0.chunks_exact(width).enumerate() {
                    for (column, element) in elements.iter().enumerate() {
                        let position = column * rows as usize + row + r;
                        if let Some(slot) = position.checked_sub(lead).and_then(|p| out.get_mut(p)) {
                            *slot = *element;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
