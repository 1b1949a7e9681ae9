//! The two 16-entry code tables, as bit patterns: they are a file format.

/// Values by their bit patterns: decimal literals would leave rounding to the compiler.
pub(super) const fn from_bits<const N: usize>(bits: [u32; N]) -> [f32; N] {
    let mut values = [0.0; N];
    let mut i = 0;
    while i < N {
        values[i] = f32::from_bits(bits[i]);
        i += 1;
    }
    values
}

/// NF4, after Dettmers et al., "QLoRA" (2023), appendix E, in the digits bitsandbytes stores.
pub const NF4: [f32; 16] = from_bits([
    0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f, 0xbdba7871, 0x00000000,
    0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a, 0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000,
]);

/// FP4 as bitsandbytes stores it: bit 3 is the sign, bits 2..0 index the magnitudes
/// 0, 0.0625/12, 8/12, 12/12, 4/12, 6/12, 2/12, 3/12. Nibble 8 is stored as +0.0.
pub const FP4: [f32; 16] = from_bits([
    0x00000000, 0x3baaaaab, 0x3f2aaaab, 0x3f800000, 0x3eaaaaab, 0x3f000000, 0x3e2aaaab, 0x3e800000,
    0x00000000, 0xbbaaaaab, 0xbf2aaaab, 0xbf800000, 0xbeaaaaab, 0xbf000000, 0xbe2aaaab, 0xbe800000,
]);
