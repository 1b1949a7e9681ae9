//! What modules and tensors take, as each version of transformers reckons, and really.

use std::collections::HashMap;

use super::flavour::Flavour;
use super::tree::{Item, Model, ModuleTree, Tensor};
use crate::dtype::DType;

/// How sizes are reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Sizing {
    /// What a tensor takes, the statistics of 4-bit weights included.
    #[default]
    Honest,
    /// As transformers does: half a byte per 4-bit element and no statistics; in 4.x half a byte for
    /// nearly everything else as well.
    Transformers,
}

/// Bytes of every module (with all below) and tensor. Fractions occur: 4.x counts a bool as one bit.
#[derive(Debug)]
pub struct Sizes {
    pub(super) modules: Vec<f64>,
    pub(super) tensors: Vec<f64>,
}

impl Sizes {
    /// Reckons them.
    pub fn new(model: &Model, flavour: Flavour, sizing: Sizing) -> Self {
        let tree = &model.tree;
        let size = |tensor: &Tensor| match (tensor.tied, sizing) {
            (true, _) => 0.0,
            (false, Sizing::Honest) => tensor.bytes as f64,
            (false, Sizing::Transformers) if flavour.is_v5() => as_5(tensor),
            (false, Sizing::Transformers) => as_4(tensor, model),
        };
        let tensors: Vec<f64> = tree.tensors.iter().map(size).collect();
        let mut modules = vec![0.0; tree.nodes.len()];
        for (i, node) in tree.nodes.iter().enumerate().rev() {
            let own = node.parameters.iter().chain(&node.buffers).map(|t| tensors[*t]);
            let below = node.children.iter().map(|c| modules[*c]);
            // Not `sum`, to which nothing at all is a negative zero: sizes are sorted by their bits.
            modules[i] = own.chain(below).fold(0.0, |sum, size| sum + size);
        }
        Sizes { modules, tensors }
    }

    /// Size of a module or tensor.
    pub(super) fn of(&self, item: Item) -> f64 {
        match item {
            Item::Module(i) => self.modules[i],
            Item::Tensor(i) => self.tensors[i],
        }
    }

    /// Size of the whole model.
    pub fn total(&self) -> f64 {
        self.modules[0]
    }

    /// Sizes by full name, of modules and tensors.
    pub fn by_name<'a>(&self, tree: &'a ModuleTree) -> HashMap<&'a str, f64> {
        let tensors = tree.tensors.iter().zip(&self.tensors).map(|(t, size)| (t.name.as_str(), *size));
        let modules = tree.nodes.iter().zip(&self.modules).map(|(n, size)| (n.path.as_str(), *size));
        tensors.chain(modules).collect()
    }
}

/// Only the weights of 4-bit layers are counted at half a byte.
fn as_5(tensor: &Tensor) -> f64 {
    tensor.numel as f64 * if tensor.quantized { 0.5 } else { tensor.dtype.size() as f64 }
}

/// Everything is counted at half a byte, but what has a special type and what holds no floats.
fn as_4(tensor: &Tensor, model: &Model) -> f64 {
    let numel = tensor.numel as f64;
    if let Some(special) = model.special_dtypes.get(&tensor.name) {
        return numel * special.size() as f64;
    }
    match tensor.dtype {
        DType::Bool => numel / 8.0,
        DType::F64 | DType::F32 | DType::F16 | DType::Bf16 | DType::F8E4m3 | DType::F8E5m2 => numel * 0.5,
        integer => numel * integer.size() as f64,
    }
}
