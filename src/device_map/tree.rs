//! The tree of a model's modules.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};

/// A parameter or buffer of a module, to build a tree from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRow {
    /// The name within the module.
    pub name: String,
    /// Elements.
    pub numel: u64,
    /// The element type it is loaded in.
    pub dtype: DType,
    /// Whether it is the weight of a 4-bit layer.
    pub quantized: bool,
    /// Whether it shares the memory of another parameter, which alone is counted.
    pub tied: bool,
    /// What it really takes, statistics included.
    pub bytes: u64,
}

/// A module, to build a tree from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRow {
    /// The full path; empty for the model itself.
    pub path: String,
    /// The class, to compare with `no_split`.
    pub class: String,
    /// Own parameters, not those of modules below.
    pub parameters: Vec<TensorRow>,
    /// Own buffers.
    pub buffers: Vec<TensorRow>,
}

/// A module of a tree. Modules are numbered so that all that lies below one follows it.
#[derive(Debug)]
pub(super) struct Node {
    pub path: String,
    pub class: String,
    pub children: Vec<usize>,
    /// Numbers of the own parameters and buffers.
    pub parameters: Vec<usize>,
    pub buffers: Vec<usize>,
    /// One past the last module below.
    pub end: usize,
}

/// A parameter or buffer of a tree.
#[derive(Debug)]
pub(super) struct Tensor {
    /// The full name.
    pub name: String,
    pub module: usize,
    pub numel: u64,
    pub dtype: DType,
    pub quantized: bool,
    pub tied: bool,
    pub bytes: u64,
}

/// What a map can name: a whole module, or a single tensor of a module that was split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Item {
    Module(usize),
    Tensor(usize),
}

/// All modules with their parameters and buffers, in the order in which the model registers them.
#[derive(Debug)]
pub struct ModuleTree {
    pub(super) nodes: Vec<Node>,
    pub(super) tensors: Vec<Tensor>,
}

/// A tree with what must be respected in sharing it out.
#[derive(Debug)]
pub struct Model {
    /// The modules.
    pub tree: ModuleTree,
    /// Classes whose modules stay on one device.
    pub no_split: HashSet<String>,
    /// Groups of full names of parameters that are one and the same.
    pub tied: Vec<Vec<String>>,
    /// Entries of the list of modules that are not converted, for the 4.x flavours.
    pub not_converted: Vec<String>,
    /// For the 4.x flavours: parameters that keep a type of their own (`special_dtypes`), by full name.
    pub special_dtypes: HashMap<String, FloatType>,
}

impl ModuleTree {
    /// Builds a tree. Every module must come after the one that it lies in, the model itself first.
    pub fn new(rows: Vec<ModuleRow>) -> Result<Self> {
        let (order, children) = preorder(&rows)?;
        let mut number = vec![0; rows.len()];
        for (new, old) in order.iter().enumerate() {
            number[*old] = new;
        }
        let mut rows: Vec<Option<ModuleRow>> = rows.into_iter().map(Some).collect();
        let mut tree = ModuleTree { nodes: Vec::with_capacity(rows.len()), tensors: Vec::new() };
        for (new, old) in order.iter().enumerate() {
            let Some(row) = rows[*old].take() else { continue };
            let children = children[*old].iter().map(|child| number[*child]).collect();
            let parameters = tree.take(&row.path, new, row.parameters);
            let buffers = tree.take(&row.path, new, row.buffers);
            let end = new + 1;
            tree.nodes.push(Node { path: row.path, class: row.class, children, parameters, buffers, end });
        }
        for i in (0..tree.nodes.len()).rev() {
            if let Some(last) = tree.nodes[i].children.last() {
                tree.nodes[i].end = tree.nodes[*last].end;
            }
        }
        Ok(tree)
    }

    fn take(&mut self, path: &str, module: usize, rows: Vec<TensorRow>) -> Vec<usize> {
        let first = self.tensors.len();
        self.tensors.extend(rows.into_iter().map(|row| Tensor {
            name: join(path, &row.name),
            module,
            numel: row.numel,
            dtype: row.dtype,
            quantized: row.quantized,
            tied: row.tied,
            bytes: row.bytes,
        }));
        (first..self.tensors.len()).collect()
    }

    /// The full name of a module or tensor.
    pub(super) fn name(&self, item: Item) -> &str {
        match item {
            Item::Module(i) => &self.nodes[i].path,
            Item::Tensor(i) => &self.tensors[i].name,
        }
    }

    /// A module's own parameters that are not tied to others, then its children: what takes its place
    /// when it is split.
    pub(super) fn parts(&self, module: usize) -> Vec<Item> {
        let node = &self.nodes[module];
        let own = node.parameters.iter().filter(|i| !self.tensors[**i].tied);
        own.map(|i| Item::Tensor(*i)).chain(node.children.iter().map(|i| Item::Module(*i))).collect()
    }

    /// The modules as (path, class).
    pub fn modules(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().map(|node| (node.path.as_str(), node.class.as_str()))
    }

    /// Names of the parameters, without buffers.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().flat_map(|node| &node.parameters).map(|i| self.tensors[*i].name.as_str())
    }
}

impl Model {
    /// Whether a module must stay in one piece.
    pub(super) fn is_whole(&self, module: usize) -> bool {
        let node = &self.tree.nodes[module];
        node.children.is_empty() || self.no_split.contains(&node.class)
    }
}

/// `a.b`, or `b` alone below the model itself.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The rows in the order of a walk, and each row's children.
fn preorder(rows: &[ModuleRow]) -> Result<(Vec<usize>, Vec<Vec<usize>>)> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut children = vec![Vec::new(); rows.len()];
    for (i, row) in rows.iter().enumerate() {
        let path = row.path.as_str();
        if seen.insert(path, i).is_some() {
            return Err(err!(InvalidArgument, "module \"{path}\" stands in the tree twice"));
        }
        if path.is_empty() != (i == 0) {
            return Err(err!(
                InvalidArgument,
                "the first module of a tree is the model itself, with no path"
            ));
        }
        if i > 0 {
            let above = path.rsplit_once('.').map_or("", |(above, _)| above);
            let parent = seen.get(above);
            let parent = parent.ok_or_else(|| {
                err!(InvalidArgument, "module \"{path}\" comes before the one it lies in, \"{above}\"")
            })?;
            children[*parent].push(i);
        }
    }
    if rows.is_empty() {
        return Err(err!(InvalidArgument, "a tree needs the model itself"));
    }
    let mut order = Vec::with_capacity(rows.len());
    let mut todo = vec![0];
    while let Some(i) = todo.pop() {
        order.push(i);
        todo.extend(children[i].iter().rev());
    }
    Ok((order, children))
}
