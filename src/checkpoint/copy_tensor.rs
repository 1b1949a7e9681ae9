//! A tensor that stays a plain tensor: copied, or cast to another float type.

use super::buffers::{BufferSizes, Buffers};
use super::element_stream::ElementStream;
use super::header::quoted;
use super::layout::{OutputTensor, Place, Unit};
use super::reader::Checkpoint;
use super::writer::CheckpointWriter;
use crate::dtype::DType;
use crate::error::{Result, err};

/// Bytes per task of a copy, elements per task of a cast.
const CHUNK: u64 = 1 << 19;

/// A tensor to be copied or cast.
pub(super) struct CopyWork<'a> {
    pub name: &'a str,
    checkpoint: &'a Checkpoint,
    index: usize,
    dtype: DType,
    cast: Option<ElementStream<'a>>,
}

impl<'a> CopyWork<'a> {
    /// Tensor `index` as `dtype`: its own, or a float type if it holds floats.
    pub fn new(checkpoint: &'a Checkpoint, index: usize, dtype: DType) -> Result<Self> {
        let tensor = &checkpoint.tensors()[index];
        let cast = match dtype.float() {
            _ if dtype == tensor.dtype => None,
            Some(to) => Some(ElementStream::new(checkpoint, index, to, false)?),
            None => {
                return Err(err!(
                    DtypeUnsupported,
                    "tensor {}: cannot be stored as {}: expected its own {} or a float type",
                    quoted(&tensor.name),
                    dtype.safetensors_name(),
                    tensor.dtype.safetensors_name()
                ));
            }
        };
        Ok(CopyWork { name: &tensor.name, checkpoint, index, dtype, cast })
    }

    pub fn tensor(&self) -> OutputTensor {
        let shape = self.checkpoint.tensors()[self.index].shape;
        OutputTensor { name: self.name.to_owned(), dtype: self.dtype, shape }
    }

    pub fn unit(&self) -> Unit {
        Unit::plain(self.tensor())
    }

    pub fn source_bytes(&self) -> u64 {
        self.checkpoint.tensors()[self.index].byte_len()
    }

    /// Units of work, and how many of them make a task.
    pub fn length(&self) -> (u64, u64) {
        match &self.cast {
            None => (self.source_bytes(), CHUNK),
            Some(stream) => (stream.shape().numel(), CHUNK),
        }
    }

    /// What a task needs.
    pub fn buffer_sizes(&self) -> BufferSizes {
        let (length, chunk) = self.length();
        let count = length.min(chunk);
        match &self.cast {
            None => BufferSizes { values: count, ..BufferSizes::default() },
            Some(stream) => {
                let (source, piece) = stream.buffer_bytes(count);
                let values = count * stream.dtype().size() as u64;
                BufferSizes { source, piece, values, ..BufferSizes::default() }
            }
        }
    }

    /// Writes one chunk to its place.
    pub fn write(
        &self,
        chunk: u64,
        buffers: &mut Buffers,
        writer: &CheckpointWriter,
        place: &Place,
    ) -> Result<()> {
        let (length, _) = self.length();
        let start = chunk * CHUNK;
        let count = CHUNK.min(length - start) as usize;
        match &self.cast {
            None => {
                let bytes = buffers.values.bytes(count)?;
                self.checkpoint.read_at(self.index, start, bytes)?;
                writer.write(place, start, bytes)
            }
            Some(stream) => {
                let size = stream.dtype().size();
                let values = buffers.values.bytes(count * size)?;
                stream.read(start, values, &mut buffers.source, &mut buffers.piece)?;
                writer.write(place, start * size as u64, values)
            }
        }
    }
}
