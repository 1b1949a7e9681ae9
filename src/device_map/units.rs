//! What `fit` moves about: whole blocks, single modules, and everything that is tied to one another.

use std::collections::HashMap;

use super::sizes::Sizes;
use super::tree::{Item, Model};

/// Things that go to the same device.
#[derive(Debug)]
pub(super) struct Unit {
    pub items: Vec<Item>,
    pub size: f64,
}

/// All units of a model in the order of its modules; what is tied stands where the first of it does.
pub(super) fn units(model: &Model, sizes: &Sizes) -> Vec<Unit> {
    let tree = &model.tree;
    let mut units: Vec<Unit> = Vec::new();
    let mut owner = vec![0; tree.nodes.len()];
    let mut todo: Vec<Item> = vec![Item::Module(0)];
    while let Some(item) = todo.pop() {
        match item {
            Item::Module(i) if i == 0 || !model.is_whole(i) => {
                let node = &tree.nodes[i];
                todo.extend(node.children.iter().rev().map(|child| Item::Module(*child)));
                let own = node.buffers.iter().rev().chain(node.parameters.iter().rev());
                todo.extend(own.map(|tensor| Item::Tensor(*tensor)));
            }
            whole => {
                if let Item::Module(i) = whole {
                    owner[i..tree.nodes[i].end].fill(units.len());
                }
                units.push(Unit { items: vec![whole], size: sizes.of(whole) });
            }
        }
    }
    join_tied(model, units, &owner)
}

/// Merges units that share a parameter.
fn join_tied(model: &Model, mut units: Vec<Unit>, owner: &[usize]) -> Vec<Unit> {
    let tree = &model.tree;
    let alone: HashMap<usize, usize> = units
        .iter()
        .enumerate()
        .filter_map(|(at, unit)| match unit.items[0] {
            Item::Tensor(i) => Some((i, at)),
            Item::Module(_) => None,
        })
        .collect();
    let tied = tree.tensors.iter().enumerate();
    let by_name: HashMap<&str, usize> = tied
        .filter(|(_, t)| model.tied.iter().flatten().any(|name| *name == t.name))
        .map(|(i, t)| (t.name.as_str(), alone.get(&i).copied().unwrap_or(owner[t.module])))
        .collect();
    // Where each unit has gone: to itself, or to an earlier one.
    let mut home: Vec<usize> = (0..units.len()).collect();
    let find = |home: &[usize], mut at: usize| {
        while home[at] != at {
            at = home[at];
        }
        at
    };
    for group in &model.tied {
        let members: Vec<usize> =
            group.iter().filter_map(|name| by_name.get(name.as_str())).copied().collect();
        let roots: Vec<usize> = members.into_iter().map(|at| find(&home, at)).collect();
        let Some(first) = roots.iter().copied().min() else { continue };
        for root in roots {
            home[root] = first;
        }
    }
    for at in (0..units.len()).rev() {
        let first = find(&home, at);
        if first != at {
            let moved = std::mem::replace(&mut units[at], Unit { items: Vec::new(), size: 0.0 });
            units[first].items.extend(moved.items);
            units[first].size += moved.size;
        }
    }
    units.retain(|unit| !unit.items.is_empty());
    units
}
