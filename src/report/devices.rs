//! Device maps for a report: what goes where, with the sizes that the quantized checkpoint really has.

use std::collections::HashMap;

use fourbit::Result;
use fourbit::checkpoint::{Checkpoint, Entry};
use fourbit::config::{self, QuantizationConfig};
use fourbit::device_map::{DeviceMapOptions, Placement};
use fourbit::plan::Plan;
use fourbit::quant::QuantSpec;

use super::facts::{DeviceFacts, Facts, MapFacts};
use crate::cli::device_map::{Maps, runs};
use crate::cli::plan::fold::block_of;

/// Computes the maps that are asked for.
pub(crate) fn add_maps(
    source: &Checkpoint,
    quantized: &Checkpoint,
    plan: &Plan,
    options: &DeviceMapOptions,
    facts: &mut Facts,
) -> Result<()> {
    let maps = Maps::new(source, plan, &spec(quantized)?, options)?;
    let bytes = bytes(quantized);
    facts.maps = maps.variants().iter().map(|v| map(&v.heading, &v.placement, plan, &bytes)).collect();
    facts.map_refused = maps.verdict.err().map(|error| error.to_string());
    Ok(())
}

/// What the checkpoint's config, and its first weight, say of all weights.
fn spec(quantized: &Checkpoint) -> Result<QuantSpec> {
    let config = quantized.config()?.cloned().unwrap_or_default();
    let read = config::quantization_config(&config).map(QuantizationConfig::from_value).transpose()?;
    let base = QuantSpec::default();
    let first = quantized.entries().iter().find_map(|entry| match entry {
        Entry::Weight(weight) => Some(weight.name.as_str()),
        Entry::Tensor(_) => None,
    });
    let block_size = first.map(|name| quantized.weight(name)).transpose()?.map(|w| w.block_size());
    Ok(read.map_or(base, |config| config.spec(block_size.unwrap_or(base.block_size), base.rule)))
}

/// Bytes of every tensor and weight, all its parts together.
fn bytes(quantized: &Checkpoint) -> HashMap<&str, u64> {
    let size = |i: usize| quantized.tensors()[i].byte_len();
    let entry = |entry| match entry {
        &Entry::Tensor(i) => (quantized.tensors()[i].name.as_str(), size(i)),
        Entry::Weight(weight) => (weight.name.as_str(), weight.parts.iter().map(|(_, i)| size(*i)).sum()),
    };
    quantized.entries().iter().map(entry).collect()
}

fn map(heading: &str, placement: &Placement, plan: &Plan, bytes: &HashMap<&str, u64>) -> MapFacts {
    let positions: HashMap<&str, usize> =
        placement.map.entries().iter().enumerate().map(|(i, (name, _))| (name.as_str(), i)).collect();
    // Of each unit: its entry of the map, in whose order units come, name, device, bytes.
    let mut units: Vec<(usize, String, fourbit::device_map::MapDevice, u64)> = Vec::new();
    let mut known: HashMap<(String, fourbit::device_map::MapDevice), usize> = HashMap::new();
    for entry in &plan.entries {
        let name = &entry.source.name;
        let Some(device) = placement.map.device_of(name) else { continue };
        let size = bytes.get(name.as_str()).copied().unwrap_or(0);
        let unit = match block_of(name) {
            Some((list, number, _)) if list.is_empty() => number.to_string(),
            Some((list, number, _)) => format!("{list}.{number}"),
            None => name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module).to_owned(),
        };
        match known.get(&(unit.clone(), device)) {
            Some(&i) => units[i].3 += size,
            None => {
                known.insert((unit.clone(), device), units.len());
                units.push((position(&positions, name), unit, device, size));
            }
        }
    }
    units.sort_by_key(|(position, ..)| *position);
    let devices = placement.devices.iter().map(|used| DeviceFacts {
        device: used.device,
        bytes: used.bytes,
        limit: used.limit.map(|limit| limit as u64),
        modules: runs(&used.modules),
    });
    MapFacts {
        heading: heading.to_owned(),
        devices: devices.collect(),
        units: units.into_iter().map(|(_, name, device, bytes)| (name, device, bytes)).collect(),
    }
}

/// The entry that speaks for a tensor: the longest one that it lies in.
fn position(positions: &HashMap<&str, usize>, name: &str) -> usize {
    let mut name = name;
    loop {
        if let Some(position) = positions.get(name) {
            return *position;
        }
        match name.rsplit_once('.') {
            Some((above, _)) => name = above,
            None => return positions.get("").copied().unwrap_or(usize::MAX),
        }
    }
}
