//! Experts that a checkpoint holds fused, one tensor of three dimensions for all of them: what they
//! are, and whether they can become one 4-bit weight. No version of transformers converts them.

use std::fmt;

use super::architecture::Architecture;
use super::names::{leaf, module_of};
use super::reason::{Converted, Kept};
use super::types::SourceTensor;
use crate::quant::BlockSize;

/// How the matrix of an expert is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As a linear layer's weight.
    OutIn,
    /// Transposed.
    InOut,
    /// The shape does not tell.
    Unknown,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::OutIn => "each [out, in]",
            Layout::InOut => "each [in, out], to be multiplied with TRANSPOSE",
            Layout::Unknown => "each [out, in] or [in, out], which the shape does not tell",
        })
    }
}

/// Model types whose square matrices are known to be `[in, out]`.
const IN_OUT: [&str; 6] = ["gpt_oss", "llama4", "llama4_text", "aria", "aria_text", "qwen3_vl_moe"];

/// Last components of layers that lead back to the hidden size.
const DOWN: [&str; 5] = ["down_proj", "output_linear", "w2", "fc2", "wo"];

/// Whether a tensor holds the matrices of several experts: three dimensions, and a name that says so
/// or as many matrices as the config has experts.
pub fn is_fused(architecture: &Architecture, tensor: &SourceTensor) -> bool {
    let [experts, ..] = *tensor.shape.dims() else { return false };
    let module = module_of(&tensor.name);
    let named = module.split('.').any(|part| part == "experts");
    let counted = || {
        architecture.hints.is_expert_count(experts)
            && matches!(leaf(module), "input_linear" | "output_linear")
    };
    tensor.shape.dims().len() == 3 && (named || counted())
}

/// Whether they can become one weight whose matrices are used one by one.
pub fn verdict(
    architecture: &Architecture,
    tensor: &SourceTensor,
    block_size: BlockSize,
) -> Result<Converted, Kept> {
    let [_, rows, columns] = *tensor.shape.dims() else {
        return Err(Kept::NotMatrix(tensor.shape.dims().len()));
    };
    if !tensor.dtype.is_castable() {
        return Err(Kept::Dtype(tensor.dtype.safetensors_name()));
    }
    if rows < 2 || columns < 2 {
        return Err(Kept::FusedExperts);
    }
    let (elements, block) = (rows * columns, block_size.get() as u64);
    if !elements.is_multiple_of(block) {
        return Err(Kept::FusedBlocks { elements, block });
    }
    Ok(Converted::FusedExperts(layout(architecture, tensor, rows, columns)))
}

/// The dimension that is the hidden size is the input of every layer but those that lead back to it.
fn layout(architecture: &Architecture, tensor: &SourceTensor, rows: u64, columns: u64) -> Layout {
    let is_hidden = |size| architecture.hints.is_hidden_size(size);
    let down = DOWN.contains(&leaf(module_of(&tensor.name)));
    match (is_hidden(rows), is_hidden(columns)) {
        (true, false) if down => Layout::OutIn,
        (false, true) if down => Layout::InOut,
        (true, false) => Layout::InOut,
        (false, true) => Layout::OutIn,
        _ if architecture.model_type.is_some_and(|name| IN_OUT.contains(&name)) => Layout::InOut,
        _ => Layout::Unknown,
    }
}
