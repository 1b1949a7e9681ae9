//! The largest layer that is still to be placed: room for one is kept free where layers are computed.

use std::collections::BTreeMap;

use super::sizes::Sizes;
use super::tree::{Item, Model};

/// Layers are modules without children or of a class that is not split, outermost first. The largest
/// one is looked up anew when the last of those once found to be the largest has had its turn; until
/// then its size stands, even if it was placed with a module it is tied to.
pub(super) struct Largest {
    /// Numbers of the layers, ascending.
    layers: Vec<usize>,
    /// How many of each size are in the work list. Sizes are not negative, so their bits sort as they do.
    waiting: BTreeMap<u64, usize>,
    size: f64,
    /// A layer of this size was placed out of turn.
    out_of_turn: bool,
}

impl Largest {
    /// All layers below the model itself.
    pub fn new(model: &Model, sizes: &Sizes) -> Self {
        let mut layers = Vec::new();
        let nodes = &model.tree.nodes;
        let mut i = 1;
        while i < nodes.len() {
            if model.is_whole(i) {
                layers.push(i);
                i = nodes[i].end;
            } else {
                i += 1;
            }
        }
        let mut this = Largest { layers, waiting: BTreeMap::new(), size: 0.0, out_of_turn: false };
        this.add(0..nodes.len(), sizes);
        this.look_up();
        this
    }

    /// The size of the largest layer.
    pub fn size(&self) -> f64 {
        self.size
    }

    /// Looks for the largest of those that wait.
    pub fn look_up(&mut self) {
        self.size = self.waiting.last_key_value().map_or(0.0, |(bits, _)| f64::from_bits(*bits));
        self.out_of_turn = false;
    }

    /// An item is taken from the head of the work list.
    pub fn take(&mut self, item: Item, model: &Model, sizes: &Sizes) {
        if let Item::Module(i) = item {
            self.remove(i..model.tree.nodes[i].end, sizes);
        }
        if !self.out_of_turn && !self.waiting.contains_key(&self.size.to_bits()) {
            self.look_up();
        }
    }

    /// An item is placed from within the work list.
    pub fn take_out_of_turn(&mut self, item: Item, model: &Model, sizes: &Sizes) {
        if let Item::Module(i) = item {
            let end = model.tree.nodes[i].end;
            self.out_of_turn |= self.range(i, end).iter().any(|layer| sizes.modules[*layer] == self.size);
            self.remove(i..end, sizes);
        }
    }

    /// An item is put back, or its parts are.
    pub fn put_back(&mut self, item: Item, model: &Model, sizes: &Sizes) {
        if let Item::Module(i) = item {
            self.add(i..model.tree.nodes[i].end, sizes);
        }
    }

    fn range(&self, start: usize, end: usize) -> &[usize] {
        let from = self.layers.partition_point(|layer| *layer < start);
        let to = self.layers.partition_point(|layer| *layer < end);
        &self.layers[from..to]
    }

    fn add(&mut self, range: std::ops::Range<usize>, sizes: &Sizes) {
        for layer in self.range(range.start, range.end).to_vec() {
            *self.waiting.entry(sizes.modules[layer].to_bits()).or_default() += 1;
        }
    }

    fn remove(&mut self, range: std::ops::Range<usize>, sizes: &Sizes) {
        for layer in self.range(range.start, range.end).to_vec() {
            let bits = sizes.modules[layer].to_bits();
            if let Some(count) = self.waiting.get_mut(&bits) {
                *count -= 1;
                if *count == 0 {
                    self.waiting.remove(&bits);
                }
            }
        }
    }
}
