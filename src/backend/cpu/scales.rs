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
}
