//! Reading the scale of a block, plain or double-quantized.

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
        if let Scales::Plain { absmax } = *self {
            // SAFETY: the caller's contract.
            return unsafe { std::slice::from_raw_parts(absmax.add(first), count) };
        }
        let buffer = &mut buffer[..count];
        for (i, scale) in buffer.iter_mut().enumerate() {
            // SAFETY: the caller's contract.
            *scale = unsafe { self.get(first + i) };
        }
        buffer
    }
}
