//! What a weight's codes and scales are, without decoding its elements.

use super::{Absmax, Weight};

impl Weight {
    /// How many elements have each of the codes 0 to 15. The padding of an odd count is left out.
    pub fn code_counts(&self) -> [u64; 16] {
        let mut of_bytes = [0u64; 256];
        for byte in self.codes.as_slice() {
            of_bytes[usize::from(*byte)] += 1;
        }
        let mut counts = [0; 16];
        for (byte, count) in of_bytes.iter().enumerate() {
            counts[byte >> 4] += count;
            counts[byte & 15] += count;
        }
        if self.shape.numel() % 2 == 1
            && let Some(last) = self.codes.as_slice().last()
        {
            counts[usize::from(last & 15)] -= 1;
        }
        counts
    }

    /// Calls `each` with the absmax of every block, as it is decoded with, in order.
    pub fn for_each_absmax(&self, mut each: impl FnMut(f32)) {
        match &self.absmax {
            Absmax::Plain(values) => values.as_slice().iter().for_each(|value| each(*value)),
            Absmax::Double { codes, nested } => {
                let map = nested.map.as_slice();
                let blocks = codes.as_slice().chunks(nested.block_size as usize);
                for (codes, scale) in blocks.zip(nested.absmax.as_slice()) {
                    codes.iter().for_each(|code| each(map[usize::from(*code)] * scale + nested.offset));
                }
            }
        }
    }
}
