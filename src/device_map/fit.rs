//! The library's own way to share a model out.
//!
//! Where runs of neighbouring modules fit the GPUs they do it evenly: each GPU is filled to about the
//! same share of its limit, in the order of the model. Where they do not, gaps left behind are used as
//! well, and only what then fits no GPU goes to the CPU, and from there to the disk.

use super::device::MapDevice;
use super::infer::finish;
use super::map::DeviceMap;
use super::memory::MaxMemory;
use super::pack::{Packing, even_runs, look_back, tight};
use super::sizes::Sizes;
use super::tree::Model;
use super::units::units;

/// Rounds in which the room for the largest offloaded module may grow.
const ROUNDS: usize = 4;

/// Shares a model out.
pub(super) fn fit(model: &Model, sizes: &Sizes, limits: &MaxMemory) -> DeviceMap {
    let units = units(model, sizes);
    let unit_sizes: Vec<f64> = units.iter().map(|unit| unit.size).collect();
    let gpus: Vec<(MapDevice, f64)> = limits.iter().filter(|(device, _)| !device.is_offload()).collect();
    let room: Vec<f64> = gpus.iter().map(|(_, limit)| *limit).collect();
    let main = gpus.iter().position(|(device, _)| *device == MapDevice::Mps).unwrap_or(0);
    let packing = even_runs(&unit_sizes, &room)
        .or_else(|| Some(look_back(&unit_sizes, &room)).filter(|packing| !spills(packing, &room)))
        .or_else(|| tight(&unit_sizes, &room))
        .unwrap_or_else(|| spill(&unit_sizes, &room, main));
    let mut cpu_left = limits.get(MapDevice::Cpu).unwrap_or_default();
    let mut elsewhere = |size: f64| {
        if size <= cpu_left {
            cpu_left -= size;
            MapDevice::Cpu
        } else {
            MapDevice::Disk
        }
    };
    let placed = units.iter().zip(packing).flat_map(|(unit, bin)| {
        let device = gpus.get(bin).map_or_else(|| elsewhere(unit.size), |(device, _)| *device);
        unit.items.iter().map(move |item| (*item, device))
    });
    finish(model, placed.collect::<Vec<_>>())
}

fn spills(packing: &Packing, room: &[f64]) -> bool {
    packing.contains(&room.len())
}

/// Offloaded modules are brought to the `main` GPU to be computed: room for the largest is kept there.
fn spill(sizes: &[f64], room: &[f64], main: usize) -> Packing {
    let mut kept: f64 = 0.0;
    let mut packing = look_back(sizes, room);
    for _ in 0..ROUNDS {
        let offloaded = sizes.iter().zip(&packing).filter(|(_, bin)| **bin == room.len());
        let largest = offloaded.map(|(size, _)| *size).fold(0.0, f64::max);
        if largest <= kept {
            break;
        }
        kept = largest;
        let mut room = room.to_vec();
        if let Some(main) = room.get_mut(main) {
            *main = (*main - kept).max(0.0);
        }
        packing = look_back(sizes, &room);
    }
    packing
}
