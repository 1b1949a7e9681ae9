//! Sharing a model out as transformers does (`infer_auto_device_map`): device after device, never going
//! back to an earlier one.

use std::collections::{HashMap, HashSet, VecDeque};

use super::cleanup::clean;
use super::device::MapDevice;
use super::flavour::Flavour;
use super::largest::Largest;
use super::map::DeviceMap;
use super::memory::MaxMemory;
use super::sizes::Sizes;
use super::ties::Partners;
use super::tree::{Item, Model};

/// A device with its limit.
struct Slot {
    device: MapDevice,
    /// `None`: unlimited.
    limit: Option<f64>,
    used: f64,
    /// Layers are computed here: room for the largest one that is yet to come is kept.
    main: bool,
}

/// A packing in progress.
pub(super) struct Packer<'a> {
    pub model: &'a Model,
    pub sizes: &'a Sizes,
    pub flavour: Flavour,
    /// What has yet to be placed, in order.
    pub todo: VecDeque<Item>,
    slots: Vec<Slot>,
    current: usize,
    largest: Largest,
    placed: HashMap<Item, MapDevice>,
    tied_sizes: HashMap<&'a str, f64>,
}

/// The device map that transformers computes for these limits (which it has adjusted before). Whatever
/// fits nowhere goes to the disk.
pub fn infer(model: &Model, sizes: &Sizes, flavour: Flavour, limits: &MaxMemory) -> DeviceMap {
    let mut packer = Packer::new(model, sizes, flavour, limits);
    while let Some(item) = packer.todo.pop_front() {
        packer.largest.take(item, model, sizes);
        let partners = packer.partners(item, sizes.of(item));
        match flavour {
            Flavour::V441 => packer.step_441(item, partners),
            Flavour::V457 | Flavour::V523 => packer.step(item, partners),
        }
    }
    finish(model, packer.placed)
}

/// The cleaned map in the order of the model.
pub(super) fn finish(model: &Model, placed: impl IntoIterator<Item = (Item, MapDevice)>) -> DeviceMap {
    let tree = &model.tree;
    let named: Vec<_> = placed.into_iter().map(|(item, device)| (tree.name(item), item, device)).collect();
    let entries: Vec<_> = named.iter().map(|(name, _, device)| (*name, *device)).collect();
    let modules = tree.nodes.iter().enumerate().map(|(i, node)| (node.path.as_str(), (i, 0)));
    let tensors = tree.tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), (t.module, i + 1)));
    let position: HashMap<&str, (usize, usize)> = tensors.chain(modules).collect();
    let mut cleaned = clean(&entries);
    cleaned.sort_by_key(|(name, _)| position.get(name.as_str()).copied());
    DeviceMap::new(cleaned)
}

impl<'a> Packer<'a> {
    fn new(model: &'a Model, sizes: &'a Sizes, flavour: Flavour, limits: &MaxMemory) -> Self {
        let root = &model.tree.nodes[0];
        let tensors = |list: &'a [usize]| list.iter().map(|i| Item::Tensor(*i));
        let modules = root.children.iter().map(|i| Item::Module(*i));
        let todo = tensors(&root.parameters).chain(modules).chain(tensors(&root.buffers)).collect();
        let tied: HashSet<&str> = model.tied.iter().flatten().map(String::as_str).collect();
        let named = model.tree.tensors.iter().zip(&sizes.tensors);
        let tied_sizes = named.filter(|(t, _)| tied.contains(t.name.as_str()));
        Packer {
            model,
            sizes,
            flavour,
            todo,
            slots: slots(limits),
            current: 0,
            largest: Largest::new(model, sizes),
            placed: HashMap::new(),
            tied_sizes: tied_sizes.map(|(t, size)| (t.name.as_str(), *size)).collect(),
        }
    }

    pub fn finds_by_substring(&self) -> bool {
        self.flavour == Flavour::V441
    }

    /// Size of a tied parameter.
    pub fn size_by_name(&self, name: &str) -> f64 {
        self.tied_sizes.get(name).copied().unwrap_or(0.0)
    }

    /// One item, as accelerate since 1.1 and transformers 5 treat it.
    fn step(&mut self, item: Item, partners: Partners) {
        let slot = &self.slots[self.current];
        let reserve = if slot.main { self.largest.size() } else { 0.0 };
        let (limit, used) = (slot.limit.map(|limit| limit - reserve), slot.used);
        let Some(limit) = limit.filter(|limit| used + partners.total > *limit) else {
            return self.place(item, &partners);
        };
        let alone = used + self.sizes.of(item);
        let mut may_split = true;
        if partners.any && alone <= limit {
            if self.split_partner(item, &partners) {
                return;
            }
            may_split = self.flavour.is_v5() || alone >= limit;
        }
        if may_split && self.split(item) {
            return;
        }
        self.slots[self.current].used += reserve;
        self.next_device(item);
    }

    /// One item, as accelerate 0.30 treats it.
    fn step_441(&mut self, item: Item, partners: Partners) {
        let slot = &self.slots[self.current];
        let reserve = if slot.main { self.largest.size() } else { 0.0 };
        let (limit, used) = (slot.limit.map(|limit| limit - reserve), slot.used);
        let exceeds = |size: f64| limit.is_some_and(|limit| used + size > limit);
        if exceeds(self.sizes.of(item)) {
            if !self.split(item) {
                self.next_device(item);
            }
        } else if !exceeds(partners.total) {
            self.place(item, &partners);
        } else if !self.split_partner(item, &partners) {
            self.next_device(item);
        }
    }

    fn place(&mut self, item: Item, partners: &Partners) {
        let slot = &mut self.slots[self.current];
        slot.used += partners.total;
        let device = slot.device;
        self.placed.insert(item, device);
        for partner in &partners.items {
            if let Some(i) = self.todo.iter().position(|other| other == partner) {
                self.todo.remove(i);
                self.largest.take_out_of_turn(*partner, self.model, self.sizes);
            }
            self.placed.insert(*partner, device);
        }
    }

    /// Puts the parts of an item in its place, if it may be split.
    fn split(&mut self, item: Item) -> bool {
        let Item::Module(module) = item else { return false };
        if self.model.is_whole(module) {
            return false;
        }
        self.largest.put_back(item, self.model, self.sizes);
        for part in self.model.tree.parts(module).into_iter().rev() {
            self.todo.push_front(part);
        }
        self.largest.look_up();
        true
    }

    /// Splits the first partner that may be split, so that only what is tied has to come along.
    fn split_partner(&mut self, item: Item, partners: &Partners) -> bool {
        let splittable = partners.items.iter().find_map(|partner| match partner {
            Item::Module(i) if !self.model.is_whole(*i) => Some((*partner, *i)),
            _ => None,
        });
        let Some((partner, module)) = splittable else { return false };
        let Some(at) = self.todo.iter().position(|other| *other == partner) else { return false };
        self.todo.remove(at);
        for part in self.model.tree.parts(module).into_iter().rev() {
            self.todo.insert(at, part);
        }
        self.put_back(item);
        self.largest.look_up();
        true
    }

    fn next_device(&mut self, item: Item) {
        // The disk comes last and takes everything: there is always a next one.
        self.current += 1;
        self.put_back(item);
    }

    fn put_back(&mut self, item: Item) {
        self.largest.put_back(item, self.model, self.sizes);
        self.todo.push_front(item);
    }
}

fn slots(limits: &MaxMemory) -> Vec<Slot> {
    let limited = limits.iter().filter(|(device, _)| *device != MapDevice::Disk);
    let limited = limited.map(|(device, limit)| (device, Some(limit)));
    let devices: Vec<_> = limited.chain([(MapDevice::Disk, None)]).collect();
    let first_gpu = devices.iter().map(|(device, _)| *device).find(|device| !device.is_offload());
    let only_mps = devices.iter().any(|(device, _)| *device == MapDevice::Mps);
    let is_main = |device| match device {
        MapDevice::Mps => true,
        MapDevice::Cpu => !only_mps,
        gpu => !only_mps && Some(gpu) == first_gpu,
    };
    let slot = |(device, limit)| Slot { device, limit, used: 0.0, main: is_main(device) };
    devices.into_iter().map(slot).collect()
}
