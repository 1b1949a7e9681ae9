//! Reading the scale of a block, plain or double-quantized.

use super::stream::prefetch;
use crate::backend::Scales;

impl Scales {
    /// The scale of block `block`.
    ///
    /// # Safety
    /// The pointers cover that block.
    #[inline]
    pub(crate) unsafe fn get(&self, block: usize) -> f32 {
        // SAFETY: the caller's contract.
        unsafe {
            match *self {
                Scales::Plain { absmax } => *absmax.add(block),
                Scales::Double { codes, map, nested_absmax, nested_shift, offset } => {
                    let code = *codes.add(block);
                    *map.add(usize::from(code)) * *nested_absmax.add(block >> nested_shift) + offset
                }
            }
        }
    }

    /// The scales of `count` blocks from `first`, where they are or decoded into `buffer`.
    ///
    /// # Safety
    /// The pointers cover those blocks and stay valid for as long as the result is used; `count`
    /// fits in the buffer.
    #[inline]
    pub(crate) unsafe fn run<'a>(&self, first: usize, count: usize, buffer: &'a mut [f32]) -> &'a [f32] {
        let buffer = &mut buffer[..count];
        match *self {
            // SAFETY: the caller's contract.
            Scales::Plain { absmax } => unsafe { std::slice::from_raw_parts(absmax.add(first), count) },
            Scales::Double { codes, map, nested_absmax, nested_shift, offset } => {
                let mut block = first;
                while block < first + count {
                    let end = ((block >> nested_shift) + 1) << nested_shift;
                    let end = end.min(first + count);
                    // SAFETY: the caller's contract.
                    let nested = unsafe { *nested_absmax.add(block >> nested_shift) };
                    for (i, scale) in buffer[block - first..end - first].iter_mut().enumerate() {
                        // SAFETY: the caller's contract.
                        *scale = unsafe { *map.add(usize::from(*codes.add(block + i))) * nested + offset };
                    }
                    block = end;
                }
                buffer
            }
        }
    }

    /// Starts to fetch the line that the scale of block `block`, if there is one, lies in.
    #[inline]
    pub(crate) fn prefetch(&self, block: usize) {
        prefetch(match *self {
            Scales::Plain { absmax } => absmax.wrapping_add(block).cast(),
            Scales::Double { codes, .. } => codes.wrapping_add(block),
        });
    }
}
