//! How a weight is to be quantized. Values of these types cannot be wrong.

use crate::codebook::{QuantType, Rule};
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};

/// Block size of the second, 8-bit step of double quantization; bitsandbytes fixes it.
pub const NESTED_BLOCK_SIZE: u32 = 256;

/// Elements that share one absmax: a power of two from 32 to 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockSize(u32);

impl BlockSize {
    /// bitsandbytes' default.
    pub const DEFAULT: BlockSize = BlockSize(64);
    /// All block sizes, ascending.
    pub const ALL: [BlockSize; 8] = [
        BlockSize(32),
        BlockSize(64),
        BlockSize(128),
        BlockSize(256),
        BlockSize(512),
        BlockSize(1024),
        BlockSize(2048),
        BlockSize(4096),
    ];

    /// Checks the value.
    pub fn new(value: u64) -> Result<Self> {
        Self::ALL.iter().copied().find(|b| u64::from(b.0) == value).ok_or_else(|| {
            err!(InvalidArgument, "block size {value}: expected 32, 64, 128, 256, 512, 1024, 2048 or 4096")
        })
    }

    /// The number of elements.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// log2 of the number of elements.
    pub const fn shift(self) -> u32 {
        self.0.trailing_zeros()
    }
}

/// The dtype under which packed bytes are stored (`bnb_4bit_quant_storage`). A reinterpretation:
/// the bytes are the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// One element per two codes. The only one that every reader takes.
    #[default]
    U8,
    /// One element per four codes.
    F16,
    /// One element per four codes.
    Bf16,
    /// One element per eight codes.
    F32,
}

impl Storage {
    /// The element type.
    pub const fn dtype(self) -> DType {
        match self {
            Storage::U8 => DType::U8,
            Storage::F16 => DType::F16,
            Storage::Bf16 => DType::Bf16,
            Storage::F32 => DType::F32,
        }
    }

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Storage::U8 => 1,
            Storage::F16 | Storage::Bf16 => 2,
            Storage::F32 => 4,
        }
    }

    /// The storage of an element type, if it may be one.
    pub fn from_dtype(dtype: DType) -> Option<Self> {
        match dtype {
            DType::U8 => Some(Storage::U8),
            DType::F16 => Some(Storage::F16),
            DType::Bf16 => Some(Storage::Bf16),
            DType::F32 => Some(Storage::F32),
            _ => None,
        }
    }

    /// The name in a `quantization_config`: `uint8`, `float16`, `bfloat16` or `float32`.
    pub const fn torch_name(self) -> &'static str {
        match self {
            Storage::U8 => "uint8",
            Storage::F16 => "float16",
            Storage::Bf16 => "bfloat16",
            Storage::F32 => "float32",
        }
    }

    /// Reads a torch dtype name.
    pub fn parse(name: &str) -> Result<Self> {
        match name.strip_prefix("torch.").unwrap_or(name) {
            "uint8" | "u8" => Ok(Storage::U8),
            other => match FloatType::parse(other) {
                Ok(FloatType::F16) => Ok(Storage::F16),
                Ok(FloatType::Bf16) => Ok(Storage::Bf16),
                Ok(FloatType::F32) => Ok(Storage::F32),
                Err(_) => Err(err!(
                    InvalidArgument,
                    "quant storage \"{name}\": expected uint8, float16, bfloat16 or float32"
                )),
            },
        }
    }
}

/// How to quantize: the options that decide the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantSpec {
    /// NF4 or FP4.
    pub quant_type: QuantType,
    /// Elements per absmax.
    pub block_size: BlockSize,
    /// Quantize the absmax values themselves to 8 bits.
    pub double_quant: bool,
    /// Whose decisions to follow.
    pub rule: Rule,
    /// Element type the packed bytes are labelled with.
    pub storage: Storage,
}

impl Default for QuantSpec {
    /// NF4, block size 64, no double quantization, CPU rule, uint8.
    fn default() -> Self {
        QuantSpec {
            quant_type: QuantType::Nf4,
            block_size: BlockSize::DEFAULT,
            double_quant: false,
            rule: Rule::BnbCpu,
            storage: Storage::U8,
        }
    }
}
