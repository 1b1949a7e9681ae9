//! A large buffer to take operands from in rotation, so that every repetition finds them cold.

/// The alignment of every slot.
const ALIGN: usize = 64;

/// Memory that is handed out slot after slot and starts over when used up.
pub struct Arena {
    memory: Vec<u8>,
    next: usize,
}

impl Arena {
    /// `bytes` bytes, all touched, none of them zero.
    pub fn new(bytes: usize) -> Self {
        // Distinct pages of plausible values: as bf16, f16 or f32 small finite numbers.
        let pattern = |i: usize| 0x30 | (i.wrapping_mul(0x9e37_79b9) >> 24 & 0x0f) as u8;
        let tile: Vec<u8> = (0..1 << 16).map(pattern).collect();
        let mut memory = Vec::with_capacity(bytes + ALIGN);
        while memory.len() < bytes + ALIGN {
            memory.extend_from_slice(&tile[..tile.len().min(bytes + ALIGN - memory.len())]);
        }
        Arena { memory, next: 0 }
    }

    /// The next slot of `bytes` bytes, aligned to 64.
    ///
    /// # Panics
    /// If the arena is smaller than the slot.
    pub fn slot(&mut self, bytes: usize) -> *mut u8 {
        let origin = self.memory.as_ptr().align_offset(ALIGN);
        assert!(origin + bytes <= self.memory.len(), "slot of {bytes} bytes in {}", self.memory.len());
        if self.next + bytes + origin > self.memory.len() {
            self.next = 0;
        }
        let start = origin + self.next;
        self.next = (self.next + bytes).next_multiple_of(ALIGN);
        self.memory[start..start + bytes].as_mut_ptr()
    }

    /// Bytes that pass before a slot comes round again.
    pub fn len(&self) -> usize {
        self.memory.len() - ALIGN
    }

    /// Whether there is nothing to hand out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
