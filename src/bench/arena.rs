//! Large memory to take operands from in rotation, so that every repetition finds them cold.

use std::sync::Arc;

use crate::error::{Result, err};
use crate::memory::{ALIGNMENT, AlignedBytes, Bytes};

/// Memory to read from: slots of plausible values.
pub struct Source {
    memory: Arc<AlignedBytes>,
    next: usize,
}

/// Memory to write to.
pub struct Sink {
    memory: AlignedBytes,
    next: usize,
}

/// Fills `memory` with bytes that, taken as `bf16`, `f16` or `f32`, are finite numbers of either
/// sign and a magnitude around 0.01 to 1.
fn fill(memory: &mut [u8]) {
    const PERIOD: usize = 1 << 20;
    let (first, rest) = memory.split_at_mut(PERIOD.min(memory.len()));
    let mut state = 1u64;
    for pair in first.chunks_mut(2) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        pair[0] = (state >> 33) as u8;
        if let Some(high) = pair.get_mut(1) {
            *high = 0x3c | (state >> 41) as u8 & 0x81;
        }
    }
    rest.chunks_mut(PERIOD).for_each(|part| part.copy_from_slice(&first[..part.len()]));
}

/// The start of the next slot, and where the one after it starts.
fn advance(next: usize, bytes: usize, len: usize) -> Result<(usize, usize)> {
    if bytes > len {
        return Err(err!(
            OutOfMemory,
            "an operand of {bytes} bytes does not fit in the {len} bytes set aside"
        ));
    }
    let start = if next + bytes > len { 0 } else { next };
    Ok((start, (start + bytes).next_multiple_of(ALIGNMENT)))
}

impl Source {
    /// `bytes` bytes, all touched.
    pub fn new(bytes: usize) -> Result<Self> {
        let mut memory = AlignedBytes::zeroed(bytes)?;
        fill(memory.as_mut_slice());
        Ok(Source { memory: Arc::new(memory), next: 0 })
    }

    /// The next `bytes` bytes, aligned to 64.
    pub fn slot(&mut self, bytes: usize) -> Result<Bytes> {
        let (start, next) = advance(self.next, bytes, self.memory.as_slice().len())?;
        self.next = next;
        let slice = &self.memory.as_slice()[start..start + bytes];
        // SAFETY: the memory is never written again, and lives as long as its clone.
        Ok(unsafe { Bytes::borrowed(slice, self.memory.clone()) })
    }

    /// Goes half the memory on from its start: slots that are taken in step with those made before
    /// are then as far from them as can be.
    pub fn seek_half(&mut self) {
        self.next = (self.memory.as_slice().len() / 2).next_multiple_of(ALIGNMENT);
    }

    /// How many slots of `bytes` bytes pass before one comes round again.
    pub fn slots(&self, bytes: usize) -> usize {
        (self.memory.as_slice().len() / bytes.next_multiple_of(ALIGNMENT)).max(1)
    }
}

impl Sink {
    /// `bytes` bytes, all touched.
    pub fn new(bytes: usize) -> Result<Self> {
        let mut memory = AlignedBytes::zeroed(bytes)?;
        fill(memory.as_mut_slice());
        Ok(Sink { memory, next: 0 })
    }

    /// Starts over: the next slot is one that was just written, and warm.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// The next `bytes` bytes, aligned to 64.
    pub fn slot(&mut self, bytes: usize) -> Result<&mut [u8]> {
        let (start, next) = advance(self.next, bytes, self.memory.as_slice().len())?;
        self.next = next;
        Ok(&mut self.memory.as_mut_slice()[start..start + bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_aligned_follow_one_another_and_come_round() {
        let mut source = Source::new(1000).unwrap();
        let addresses: Vec<usize> =
            (0..5).map(|_| source.slot(300).unwrap().as_slice().as_ptr() as usize).collect();
        assert!(addresses.iter().all(|a| a % ALIGNMENT == 0));
        assert_eq!(addresses[1] - addresses[0], 320);
        assert_eq!(addresses[3], addresses[0]);
        assert_eq!(source.slots(300), 3);
        assert!(source.slot(1001).is_err());
    }

    #[test]
    fn values_are_finite_in_every_type() {
        let mut memory = vec![0u8; 1 << 12];
        fill(&mut memory);
        for pair in memory.chunks(2) {
            let bits = u16::from_le_bytes([pair[0], pair[1]]);
            assert!(half::bf16::from_bits(bits).to_f32().abs() < 1.0);
            assert!(half::f16::from_bits(bits).to_f32().abs() < 4.0);
        }
        assert!(memory.chunks(4).all(|b| f32::from_le_bytes(b.try_into().unwrap()).abs() < 1.0));
    }
}
