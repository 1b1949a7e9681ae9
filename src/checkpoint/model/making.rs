//! Tensors quantized or cast into memory, chunk by chunk on all threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::super::buffers::{BufferPool, Buffers};
use super::super::element_stream::ElementStream;
use super::super::progress::{Phase, ProgressFn};
use super::super::quantize_weight::WeightWork;
use super::super::reader::Checkpoint;
use super::super::stage::{Item, Stages};
use super::{Content, Recipe};
use crate::context::Context;
use crate::error::{Result, err};
use crate::memory::AlignedBytes;
use crate::quant::{Geometry, QuantSpec, assemble};

/// Elements per task of a cast.
const CAST_CHUNK: u64 = 1 << 19;

/// A tensor to be made.
pub(super) enum Work<'a> {
    Quantize(WeightWork<'a>),
    Cast { name: &'a str, stream: ElementStream<'a> },
}

impl<'a> Work<'a> {
    pub fn new(checkpoint: &'a Checkpoint, recipe: Recipe, spec: &QuantSpec) -> Result<Self> {
        Ok(match recipe {
            Recipe::Quantize { index, dtype, transpose } => {
                let stream = ElementStream::new(checkpoint, index, dtype, transpose)?;
                Work::Quantize(WeightWork::new(&checkpoint.tensors()[index].name, stream, spec)?)
            }
            Recipe::Cast { index, dtype } => Work::Cast {
                name: &checkpoint.tensors()[index].name,
                stream: ElementStream::new(checkpoint, index, dtype, false)?,
            },
        })
    }

    fn item(&self, spec: &QuantSpec) -> Item<'_> {
        match self {
            Work::Quantize(work) => work.item(spec),
            Work::Cast { name, stream } => {
                Item::new(name, stream.source_bytes(), stream.shape().numel(), CAST_CHUNK)
            }
        }
    }
}

/// Makes them all, in their order.
pub(super) fn make(
    context: &Context,
    spec: &QuantSpec,
    works: &[Work<'_>],
    progress: &mut ProgressFn<'_>,
) -> Result<Vec<Content>> {
    let items: Vec<Item<'_>> = works.iter().map(|work| work.item(spec)).collect();
    let total = items.iter().map(|item| item.bytes).sum();
    let pool = BufferPool::new(usize::MAX);
    let results: Vec<OnceLock<Content>> = works.iter().map(|_| OnceLock::new()).collect();
    let mut stages = Stages { context, progress, done: 0, total, held_limit: u64::MAX };
    stages.run(
        Phase::Load,
        &items,
        |item| Making::new(&works[item], spec, items[item].chunks),
        |item, chunk, making| {
            let content = pool.with(|buffers| making.chunk(context, spec, &works[item], chunk, buffers))?;
            if let Some(content) = content {
                // Only the last chunk of an item has a result.
                let _ = results[item].set(content);
            }
            Ok(())
        },
    )?;
    let finished = results.into_iter().map(OnceLock::into_inner).collect::<Option<Vec<Content>>>();
    finished.ok_or_else(|| err!(InvalidState, "a tensor was not finished"))
}

/// A tensor being made.
struct Making {
    /// Codes, or elements.
    first: Target,
    /// Absmax values.
    second: Target,
    chunks_left: AtomicU64,
}

impl Making {
    fn new(work: &Work<'_>, spec: &QuantSpec, chunks: u64) -> Result<Self> {
        let (first, second) = match work {
            Work::Quantize(work) => {
                let numel = work.stream.shape().numel();
                let geometry = Geometry { numel, block_size: spec.block_size };
                (geometry.packed_bytes(), geometry.blocks() * 4)
            }
            Work::Cast { stream, .. } => (stream.shape().numel() * stream.dtype().size() as u64, 0),
        };
        let chunks_left = AtomicU64::new(chunks);
        Ok(Making { first: Target::new(first)?, second: Target::new(second)?, chunks_left })
    }

    /// Makes one chunk; the last one to finish gives the result.
    fn chunk(
        &self,
        context: &Context,
        spec: &QuantSpec,
        work: &Work<'_>,
        chunk: u64,
        buffers: &mut Buffers,
    ) -> Result<Option<Content>> {
        match work {
            Work::Quantize(work) => {
                let (start, count) = work.part(chunk);
                let Buffers { source, piece, values, .. } = buffers;
                let block = spec.block_size.get();
                // SAFETY: chunks are whole blocks and do not overlap, and each is made once.
                let (codes, absmax) = unsafe {
                    let first_block = start as usize / block;
                    let codes = self.first.bytes(start as usize / 2, count.div_ceil(2));
                    (codes, self.second.floats(first_block, count.div_ceil(block)))
                };
                work.quantize_chunk((context, spec), chunk, (source, piece, values), codes, absmax)?;
            }
            Work::Cast { stream, .. } => {
                let (start, size) = (chunk * CAST_CHUNK, stream.dtype().size());
                let count = CAST_CHUNK.min(stream.shape().numel() - start) as usize;
                // SAFETY: as above.
                let values = unsafe { self.first.bytes(start as usize * size, count * size) };
                stream.read(start, values, &mut buffers.source, &mut buffers.piece)?;
            }
        }
        // Acquire and release: the last one sees what all others wrote.
        if self.chunks_left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(None);
        }
        let (Some(first), Some(second)) = (self.first.take(), self.second.take()) else {
            return Err(err!(InvalidState, "a tensor was finished twice"));
        };
        Ok(Some(match work {
            Work::Quantize(work) => {
                let (shape, dtype) = (work.stream.shape(), work.stream.dtype());
                Content::Weight(Box::new(assemble(spec, shape, dtype, first, second)?))
            }
            Work::Cast { .. } => Content::Cast(first),
        }))
    }
}

/// An allocation that several threads fill, each a range of its own.
struct Target {
    start: *mut u8,
    len: usize,
    bytes: Mutex<Option<AlignedBytes>>,
}

// SAFETY: `start` is only reached through the unsafe methods, whose contracts keep ranges apart.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    fn new(len: u64) -> Result<Self> {
        let mut bytes = AlignedBytes::zeroed_u64(len)?;
        let slice = bytes.as_mut_slice();
        let (start, len) = (slice.as_mut_ptr(), slice.len());
        Ok(Target { start, len, bytes: Mutex::new(Some(bytes)) })
    }

    /// # Safety
    /// Nobody else uses any of these bytes while the result lives, and none have been taken.
    #[allow(clippy::mut_from_ref, reason = "ranges of one allocation, kept apart by the contract")]
    unsafe fn bytes(&self, start: usize, len: usize) -> &mut [u8] {
        assert!(start <= self.len && len <= self.len - start);
        // SAFETY: inside the allocation, and exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// # Safety
    /// As for `bytes`; `start` and `count` count floats.
    #[allow(clippy::mut_from_ref, reason = "as above")]
    unsafe fn floats(&self, start: usize, count: usize) -> &mut [f32] {
        // SAFETY: the contract; the allocation is aligned for far more than floats, and every bit
        // pattern is one.
        unsafe {
            let bytes = self.bytes(start * 4, count * 4);
            std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count)
        }
    }

    fn take(&self) -> Option<AlignedBytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
