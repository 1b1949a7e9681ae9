//! The code tables: NF4, FP4 and the 256-entry dynamic map, and the decision which code a scaled
//! value takes. One table per rule holds all ties, so that every kernel decides alike.

mod dynamic;
mod nearest;
mod tables;

pub use dynamic::{DYNAMIC_MAP, dynamic_absmax, dynamic_codes};
pub use nearest::{Decision, Rule};
pub use tables::{FP4, NF4};

use crate::error::{Result, err};

/// A 4-bit data type: which 16 values the nibbles stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantType {
    /// NormalFloat4: quantiles of a normal distribution, ascending with the nibble.
    Nf4,
    /// A 4-bit float: sign bit and three bits of magnitude, not ascending.
    Fp4,
}

impl QuantType {
    /// The values of nibbles 0 to 15: what bitsandbytes stores as `quant_map`.
    pub const fn codebook(self) -> &'static [f32; 16] {
        match self {
            QuantType::Nf4 => &NF4,
            QuantType::Fp4 => &FP4,
        }
    }

    /// `nf4` or `fp4`.
    pub const fn name(self) -> &'static str {
        match self {
            QuantType::Nf4 => "nf4",
            QuantType::Fp4 => "fp4",
        }
    }

    /// Reads `nf4` or `fp4`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "nf4" => Ok(QuantType::Nf4),
            "fp4" => Ok(QuantType::Fp4),
            other => Err(err!(InvalidArgument, "quant type \"{other}\": expected nf4 or fp4")),
        }
    }
}
