//! The ways to share a model out, by name.

use super::balanced::balance;
use super::device::MapDevice;
use super::fit::fit;
use super::flavour::Flavour;
use super::infer::infer;
use super::map::DeviceMap;
use super::memory::MaxMemory;
use super::sizes::{Sizes, Sizing};
use super::tree::Model;
use crate::config::parse_json;
use crate::error::{Result, err};

/// How a model is shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Evenly over all GPUs, as transformers does (`auto`, `balanced`).
    Balanced,
    /// The same, with GPU 0 as empty as possible.
    BalancedLow0,
    /// GPU after GPU, each filled up.
    Sequential,
    /// This library's own: evenly by real size, every gap used before anything is offloaded.
    Fit,
    /// As this map says.
    Explicit(DeviceMap),
}

impl Strategy {
    /// Reads `auto`, `balanced`, `balanced_low_0`, `sequential`, `fit`, the name of a device, which then
    /// takes everything, or an explicit map as JSON.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            json if json.trim_start().starts_with('{') => {
                let value = parse_json(json.as_bytes(), "device map")?;
                DeviceMap::from_value(&value).map(Strategy::Explicit)
            }
            "auto" | "balanced" => Ok(Strategy::Balanced),
            "balanced_low_0" => Ok(Strategy::BalancedLow0),
            "sequential" => Ok(Strategy::Sequential),
            "fit" => Ok(Strategy::Fit),
            other => match MapDevice::parse(other) {
                Ok(device) => Ok(Strategy::Explicit(DeviceMap::single(device))),
                Err(_) if other.parse::<i64>().is_ok_and(|n| n < 0) => Err(err!(
                    InvalidArgument,
                    "You can't pass device_map as a negative int. If you want to put the model on the cpu, pass device_map = 'cpu' "
                )),
                Err(_) => Err(err!(
                    InvalidArgument,
                    "When passing device_map as a string, the value needs to be a device name (e.g. cpu, cuda:0) or 'auto', 'balanced', 'balanced_low_0', 'sequential', 'fit' but found {other}."
                )),
            },
        }
    }

    /// The strategy's name.
    pub fn name(&self) -> &'static str {
        match self {
            Strategy::Balanced => "auto",
            Strategy::BalancedLow0 => "balanced_low_0",
            Strategy::Sequential => "sequential",
            Strategy::Fit => "fit",
            Strategy::Explicit(_) => "explicit",
        }
    }
}

/// What is asked of a device map.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceMapOptions {
    /// The way to share out.
    pub strategy: Strategy,
    /// The limits, of which nine tenths are used; `None`: what is free on this machine, of which
    /// the flavour of 5.23 takes nine tenths first.
    pub max_memory: Option<MaxMemory>,
    /// How sizes are reckoned.
    pub sizing: Sizing,
    /// `llm_int8_enable_fp32_cpu_offload`: modules may go to the CPU or the disk. Those that an explicit
    /// map sends there stay unquantized.
    pub offload: bool,
}

/// A model shared out.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The map.
    pub map: DeviceMap,
    /// The limits kept to: balanced if so asked, and nine tenths of that. `None` for an explicit map
    /// without limits.
    pub limits: Option<MaxMemory>,
    /// Every device of the map or the limits.
    pub devices: Vec<DeviceUse>,
}

/// What a device holds.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceUse {
    /// The device.
    pub device: MapDevice,
    /// Entries of the map.
    pub modules: Vec<String>,
    /// What they take, statistics included.
    pub bytes: u64,
    /// What may be used, in bytes.
    pub limit: Option<f64>,
}

/// Shares a model out. What is computed fits the limits or goes to the disk; an explicit map must name
/// every parameter, and is taken as it is.
pub fn place(model: &Model, flavour: Flavour, options: &DeviceMapOptions) -> Result<Placement> {
    let sizes = Sizes::new(model, flavour, options.sizing);
    let stated = || options.max_memory.clone().unwrap_or_else(|| MaxMemory::detect(flavour));
    let (map, limits) = match &options.strategy {
        Strategy::Explicit(map) => {
            map.check(&model.tree)?;
            (map.clone(), options.max_memory.clone())
        }
        Strategy::Fit => {
            let limits = stated().adjusted();
            (fit(model, &sizes, &limits), Some(limits))
        }
        Strategy::Sequential => {
            let limits = stated().adjusted();
            (infer(model, &sizes, flavour, &limits), Some(limits))
        }
        Strategy::Balanced | Strategy::BalancedLow0 => {
            let low_0 = options.strategy == Strategy::BalancedLow0;
            let limits = balance(model, &sizes, flavour, &stated(), low_0)?.adjusted();
            (infer(model, &sizes, flavour, &limits), Some(limits))
        }
    };
    let devices = uses(model, &map, limits.as_ref());
    Ok(Placement { map, limits, devices })
}

fn uses(model: &Model, map: &DeviceMap, limits: Option<&MaxMemory>) -> Vec<DeviceUse> {
    let limited = limits.into_iter().flat_map(|limits| limits.iter().map(|(device, _)| device));
    let mut devices: Vec<MapDevice> =
        map.entries().iter().map(|(_, device)| *device).chain(limited).collect();
    devices.sort_unstable();
    devices.dedup();
    let limit = |device| match device {
        MapDevice::Disk => None,
        other => limits.and_then(|limits| limits.get(other)),
    };
    let empty = |device| DeviceUse { device, modules: Vec::new(), bytes: 0, limit: limit(device) };
    let mut uses: Vec<DeviceUse> = devices.into_iter().map(empty).collect();
    let position = |uses: &[DeviceUse], device| uses.iter().position(|u| u.device == device);
    for (name, device) in map.entries() {
        if let Some(i) = position(&uses, *device) {
            uses[i].modules.push(name.clone());
        }
    }
    for tensor in model.tree.tensors.iter().filter(|tensor| !tensor.tied) {
        if let Some(i) = map.device_of(&tensor.name).and_then(|device| position(&uses, device)) {
            uses[i].bytes = uses[i].bytes.saturating_add(tensor.bytes);
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["auto", "balanced_low_0", "sequential", "fit"] {
            assert_eq!(Strategy::parse(name).unwrap().name(), name);
        }
        assert_eq!(Strategy::parse("balanced").unwrap(), Strategy::Balanced);
        assert_eq!(
            Strategy::parse("cuda:1").unwrap(),
            Strategy::Explicit(DeviceMap::single(MapDevice::Gpu(1)))
        );
        let map = Strategy::parse(r#" {"a": 1}"#).unwrap();
        assert_eq!(map, Strategy::Explicit(DeviceMap::new([("a".to_owned(), MapDevice::Gpu(1))])));
        let words = |name| Strategy::parse(name).unwrap_err().to_string();
        assert!(words("-1").starts_with("You can't pass device_map as a negative int."));
        assert!(words("best").ends_with("'sequential', 'fit' but found best."));
    }
}
