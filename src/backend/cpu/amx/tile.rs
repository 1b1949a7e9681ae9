//! Single instructions on tile registers.
//!
//! A register number is a constant of the function. Compiled code has no use for tile registers, so
//! their contents last from one call to the next.

use std::arch::asm;

/// Bytes from one row of a tile in memory to the next.
const ROW: usize = 64;

macro_rules! on_register {
    ($register:expr, $instruction:ident) => {
        match $register {
            0 => $instruction!("0"),
            1 => $instruction!("1"),
            2 => $instruction!("2"),
            3 => $instruction!("3"),
            4 => $instruction!("4"),
            5 => $instruction!("5"),
            6 => $instruction!("6"),
            _ => $instruction!("7"),
        }
    };
}

/// Loads 16 rows of 64 bytes.
///
/// # Safety
/// The tile exists; AMX, configured for eight tiles.
#[inline(always)]
pub(super) unsafe fn load<const REGISTER: u8>(tile: *const u8) {
    macro_rules! load {
        ($n:literal) => {
            // SAFETY: the caller's contract.
            unsafe {
                asm!(concat!("tileloadd tmm", $n, ", [{tile} + {row}]"), tile = in(reg) tile,
                     row = in(reg) ROW, options(nostack, readonly, preserves_flags))
            }
        };
    }
    on_register!(REGISTER, load);
}

/// Stores 16 rows of 64 bytes.
///
/// # Safety
/// As [`load`]; the tile can be written.
#[inline(always)]
pub(super) unsafe fn store<const REGISTER: u8>(tile: *mut u8) {
    macro_rules! store {
        ($n:literal) => {
            // SAFETY: the caller's contract.
            unsafe {
                asm!(concat!("tilestored [{tile} + {row}], tmm", $n), tile = in(reg) tile,
                     row = in(reg) ROW, options(nostack, preserves_flags))
            }
        };
    }
    on_register!(REGISTER, store);
}

/// Sets a register to zero.
///
/// # Safety
/// AMX, configured.
#[inline(always)]
pub(super) unsafe fn zero<const REGISTER: u8>() {
    macro_rules! zero {
        ($n:literal) => {
            // SAFETY: the caller's contract.
            unsafe { asm!(concat!("tilezero tmm", $n), options(nostack, nomem, preserves_flags)) }
        };
    }
    on_register!(REGISTER, zero);
}

/// Adds to `SUMS` the product of register 4 (or 5, if `SECOND`) with register 6 (or 7, if
/// `ODD_INPUT`).
///
/// # Safety
/// AMX with BF16, configured.
#[inline(always)]
pub(super) unsafe fn add_product<const SUMS: u8, const SECOND: bool, const ODD_INPUT: bool>() {
    macro_rules! product {
        ($n:literal) => {
            product!($n, SECOND, ODD_INPUT)
        };
        ($n:literal, $second:expr, $odd:expr) => {
            match ($second, $odd) {
                (false, false) => product!($n, "tmm4, tmm6"),
                (false, true) => product!($n, "tmm4, tmm7"),
                (true, false) => product!($n, "tmm5, tmm6"),
                (true, true) => product!($n, "tmm5, tmm7"),
            }
        };
        ($n:literal, $operands:literal) => {
            // SAFETY: the caller's contract.
            unsafe {
                asm!(concat!("tdpbf16ps tmm", $n, ", ", $operands), options(nostack, nomem, preserves_flags))
            }
        };
    }
    on_register!(SUMS, product);
}
