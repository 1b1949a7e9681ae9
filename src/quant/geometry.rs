//! Sizes that follow from an element count: known before the first byte is read.

use super::{BlockSize, NESTED_BLOCK_SIZE};

/// Sizes of a quantized weight's parts. Blocks run over the flat, row-major element stream, so a
/// block may straddle rows; the last one may be partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Elements of the original weight.
    pub numel: u64,
    /// Elements per absmax.
    pub block_size: BlockSize,
}

impl Geometry {
    /// Bytes of packed codes: two per byte, an odd count padded with the code of zero.
    pub fn packed_bytes(&self) -> u64 {
        self.numel.div_ceil(2)
    }

    /// Number of absmax values.
    pub fn blocks(&self) -> u64 {
        self.numel.div_ceil(self.block_size.get() as u64)
    }

    /// Number of second-level absmax values under double quantization.
    pub fn nested_blocks(&self) -> u64 {
        self.blocks().div_ceil(u64::from(NESTED_BLOCK_SIZE))
    }

    /// Bytes of all parts but the quant state's text: codes, absmax, quant_map and, with double
    /// quantization, the nested statistics.
    pub fn part_bytes(&self, double_quant: bool) -> u64 {
        let absmax = match double_quant {
            true => self.blocks() + 4 * self.nested_blocks() + 4 * 256,
            false => 4 * self.blocks(),
        };
        self.packed_bytes() + absmax + 4 * 16
    }
}
