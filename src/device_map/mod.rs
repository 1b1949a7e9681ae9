//! Where every module of a planned model goes: device maps.
//!
//! A [`Model`] is a [`ModuleTree`] with what must not be cut (`no_split`) and what is tied; `from_plan`
//! makes one of a checkpoint's plan. [`Strategy`] names the way to share it out, [`place`] does it:
//! `memory` reads the limits, `balanced` evens them out, `infer` packs as transformers does (in three
//! [`Flavour`]s), `fit` packs as this library would, `offload` says what may lie on the CPU or on disk.

mod balanced;
mod cleanup;
mod device;
mod fit;
mod flavour;
mod from_plan;
mod infer;
mod largest;
mod map;
mod memory;
mod offload;
mod pack;
mod registration;
mod sizes;
mod strategy;
mod ties;
mod tree;
mod units;

pub use balanced::balance;
pub use device::MapDevice;
pub use flavour::Flavour;
pub use from_plan::model_of_plan;
pub use infer::infer;
pub use map::DeviceMap;
pub use memory::{MaxMemory, parse_memory};
pub use offload::{check_dispatch, offloaded_modules};
pub use sizes::{Sizes, Sizing};
pub use strategy::{DeviceMapOptions, DeviceUse, Placement, Strategy, place};
pub use ties::groups_of_pairs;
pub use tree::{Model, ModuleRow, ModuleTree, TensorRow};
