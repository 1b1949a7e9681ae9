//! Limits that share a model evenly (`get_balanced_memory`).

use std::collections::HashSet;

use super::device::MapDevice;
use super::flavour::Flavour;
use super::memory::MaxMemory;
use super::sizes::Sizes;
use super::tree::Model;
use crate::error::{Result, err};

/// Room on top of an even share, so that no layer is left over at the end: this times the largest layer.
const BUFFER: f64 = 1.25;

/// Lowers the limits of all GPUs but the last to an even share of the model plus a buffer. `low_0`
/// gives GPU 0 only what the others leave, as a place to generate on.
pub fn balance(
    model: &Model,
    sizes: &Sizes,
    flavour: Flavour,
    limits: &MaxMemory,
    low_0: bool,
) -> Result<MaxMemory> {
    let mut limits = limits.clone();
    let gpus = limits.gpus();
    let low_0 = low_0 && gpus.len() > 1;
    let Some(others) = gpus.split_last().map(|(_, others)| others) else { return Ok(limits) };
    let sharing = gpus.len() - usize::from(low_0);
    let share = floor_div(sizes.total(), sharing as f64) + buffer(model, sizes, flavour);
    for gpu in others.iter().filter(|gpu| !low_0 || **gpu != 0) {
        let own = limits.get(MapDevice::Gpu(*gpu)).unwrap_or_default();
        limits.set(MapDevice::Gpu(*gpu), share.min(own));
    }
    if low_0 {
        let limit = |gpu: usize| {
            limits.get(MapDevice::Gpu(gpu as u32)).ok_or_else(|| {
                err!(
                    InvalidArgument,
                    "balanced_low_0: max_memory has no GPU {gpu}; it needs {} GPUs numbered from 0 without gaps",
                    gpus.len()
                )
            })
        };
        let elsewhere = (1..gpus.len()).map(limit).sum::<Result<f64>>()?;
        let first = (sizes.total() - elsewhere).max(0.0).min(limit(0)?);
        limits.set(MapDevice::Gpu(0), first);
    }
    Ok(limits)
}

fn buffer(model: &Model, sizes: &Sizes, flavour: Flavour) -> f64 {
    let (block, leaf) = match flavour {
        Flavour::V523 => (largest_block(model, sizes), largest_leaf(model, sizes)),
        Flavour::V457 | Flavour::V441 => (largest_first_block(model, sizes), mean_leaf(model, sizes)),
    };
    (BUFFER * block.max(leaf)).floor()
}

/// The largest of all modules that are not split.
fn largest_block(model: &Model, sizes: &Sizes) -> f64 {
    let blocks = model.tree.nodes.iter().zip(&sizes.modules);
    blocks.filter(|(node, _)| model.no_split.contains(&node.class)).map(|(_, size)| *size).fold(0.0, f64::max)
}

/// The most that any module holds itself, without those below.
fn largest_leaf(model: &Model, sizes: &Sizes) -> f64 {
    let below_root = model.tree.nodes.iter().skip(1);
    let own =
        below_root.map(|node| node.parameters.iter().chain(&node.buffers).map(|t| sizes.tensors[*t]).sum());
    own.fold(0.0, f64::max)
}

/// The largest of the first modules of each class that is not split; 4.x goes through parameters, then
/// buffers, that are not tied.
fn largest_first_block(model: &Model, sizes: &Sizes) -> f64 {
    let nodes = &model.tree.nodes;
    let holders = |buffers: bool| counted_below(model, buffers);
    let (with_parameters, with_buffers) = (holders(false), holders(true));
    let mut seen = HashSet::new();
    let mut largest: f64 = 0.0;
    for holders in [with_parameters, with_buffers] {
        for (i, _) in holders.iter().enumerate().skip(1).filter(|(_, holds)| **holds) {
            let class = nodes[i].class.as_str();
            if model.no_split.contains(class) && seen.insert(class) {
                largest = largest.max(sizes.modules[i]);
            }
        }
    }
    largest
}

/// Which modules have a parameter (or buffer) that is counted, own or below.
fn counted_below(model: &Model, buffers: bool) -> Vec<bool> {
    let (nodes, tensors) = (&model.tree.nodes, &model.tree.tensors);
    let mut holds = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        let own = if buffers { &node.buffers } else { &node.parameters };
        holds[i] = own.iter().any(|t| !tensors[*t].tied) || node.children.iter().any(|c| holds[*c]);
    }
    holds
}

/// Mean size, in whole bytes, of the modules that have something counted, but no module below that has.
fn mean_leaf(model: &Model, sizes: &Sizes) -> f64 {
    let nodes = &model.tree.nodes;
    let (parameters, buffers) = (counted_below(model, false), counted_below(model, true));
    let holds = |i: usize| parameters[i] || buffers[i];
    let is_leaf = |i: &usize| holds(*i) && !nodes[*i].children.iter().any(|c| holds(*c));
    let leaves: Vec<usize> = (1..nodes.len()).filter(is_leaf).collect();
    let sum: f64 = leaves.iter().map(|i| sizes.modules[*i]).sum();
    (sum / leaves.len().max(1) as f64).floor()
}

/// Python's `//` for floats that are not negative: exact where the quotient rounds up to a whole number.
fn floor_div(a: f64, b: f64) -> f64 {
    let quotient = (a - a % b) / b;
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}
