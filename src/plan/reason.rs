//! Why a tensor is converted or kept, as data; the words are made here and nowhere else.

use std::fmt;

use super::fused::Layout;

/// Why a tensor is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converted {
    /// `nn.Linear`.
    Linear,
    /// GPT-2's `Conv1D`.
    Conv1d,
    /// A linear layer of one expert.
    Expert,
    /// All experts in one weight of three dimensions.
    FusedExperts(Layout),
}

/// Why a tensor stays in its float type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Not of rank 2.
    NotMatrix(usize),
    /// Three dimensions, of a mixture of experts.
    FusedExperts,
    /// The same, but an expert is not a whole number of blocks.
    FusedBlocks { elements: u64, block: u64 },
    /// A matrix that is no layer's `.weight`.
    NotWeight,
    /// An element type that is not quantized.
    Dtype(&'static str),
    /// Looked up, not multiplied with.
    Embedding,
    /// Normalization.
    Norm,
    /// Output head.
    Head(String),
    /// Shares its memory with another tensor.
    Tied(String),
    /// The last parameter of the model, which transformers protects.
    Last(String),
    /// In `_keep_in_fp32_modules`.
    Fp32(String),
    /// Router of a mixture of experts.
    Router,
    /// Linear layer of one expert, fused in transformers 5.
    Expert,
    /// Linear layer of one expert, kept because the caller wants experts in 16 bit.
    ExpertAsked,
    /// Projection of a Mamba mixer, whose kernels read the weight directly.
    Mamba,
    /// Not an `nn.Linear` for the versions that decide.
    NotLinear(&'static str),
    /// `out_proj` of `nn.MultiheadAttention`.
    AttentionOut,
    /// An entry of the skip list.
    Skip(String),
    /// An explicit device map sends it to the CPU or the disk.
    Offloaded(String),
    /// Not in the list of modules to convert.
    NotIncluded,
    /// Another module of a layer that vLLM fuses is kept.
    Fused(String),
    /// A path in the emitted skip list hits this one too for some reader.
    Shadowed { entry: String, reader: &'static str },
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Converted::Linear => f.write_str("linear layer"),
            Converted::Conv1d => f.write_str("linear layer (Conv1D, stored transposed)"),
            Converted::Expert => f.write_str("linear layer of an expert"),
            Converted::FusedExperts(layout) => {
                write!(f, "fused experts, {layout}: only this library reads them in 4 bits")
            }
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::NotMatrix(rank) => {
                write!(f, "not a matrix ({rank} dimension{})", if *rank == 1 { "" } else { "s" })
            }
            Kept::FusedExperts => write!(f, "fused experts (3 dimensions): transformers converts none"),
            Kept::FusedBlocks { elements, block } => write!(
                f,
                "fused experts of {elements} elements each, which are not whole blocks of {block}: experts \
                 would share blocks"
            ),
            Kept::NotWeight => write!(f, "a matrix, but no layer's weight"),
            Kept::Dtype(name) => write!(f, "stored as {name}: only F64, F32, F16 and BF16 are quantized"),
            Kept::Embedding => write!(f, "embedding"),
            Kept::Norm => write!(f, "normalization"),
            Kept::Head(module) => write!(f, "output head ({module}), kept in 16 bit by transformers"),
            Kept::Tied(other) => write!(f, "tied with {other}"),
            Kept::Last(module) => write!(f, "last module ({module}), kept in 16 bit by transformers"),
            Kept::Fp32(entry) => write!(f, "one of the model's float32 modules ({entry}), never quantized"),
            Kept::Router => write!(f, "router: decides between experts, never quantized"),
            Kept::Expert => write!(f, "expert: transformers 5 keeps experts fused in 16 bit"),
            Kept::ExpertAsked => write!(f, "expert: kept in 16 bit as asked"),
            Kept::Mamba => write!(f, "projection of a Mamba mixer: its kernels read the weight directly"),
            Kept::NotLinear(version) => write!(f, "no nn.Linear in {version}"),
            Kept::AttentionOut => {
                write!(f, "out_proj of nn.MultiheadAttention: transformers 5 converts none")
            }
            Kept::Skip(entry) => write!(f, "skip list entry \"{entry}\""),
            Kept::Offloaded(entry) => {
                write!(f, "offloaded by the device map (\"{entry}\"), which keeps it unquantized")
            }
            Kept::NotIncluded => write!(f, "not among the modules to convert"),
            Kept::Fused(other) => write!(f, "kept together with {other}: vLLM fuses them into one layer"),
            Kept::Shadowed { entry, reader } => {
                write!(f, "skip list entry \"{entry}\" names this too for {reader}")
            }
        }
    }
}
