//! `--device-map`: reading it, and showing where everything goes.

use std::path::Path;

use serde_json::{Value, json};

use fourbit::checkpoint::Checkpoint;
use fourbit::device_map::{
    DeviceMap, DeviceMapOptions, DeviceUse, Flavour, MapDevice, Model, Placement, Sizing, Strategy,
    check_dispatch, model_of_plan, place,
};
use fourbit::plan::Plan;
use fourbit::quant::QuantSpec;
use fourbit::{Error, Result};

use super::args::DeviceMapArgs;
use super::names::printable;
use super::table;

/// What the arguments ask for, if for any map at all.
pub(crate) fn options(args: &DeviceMapArgs) -> Result<Option<DeviceMapOptions>> {
    let Some(name) = &args.device_map else { return Ok(None) };
    let strategy = if name.ends_with(".json") { read(Path::new(name))? } else { Strategy::parse(name)? };
    Ok(Some(DeviceMapOptions {
        strategy,
        max_memory: args.max_memory.clone(),
        sizing: Sizing::Honest,
        offload: args.offload,
    }))
}

fn read(path: &Path) -> Result<Strategy> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::io(path, "cannot read the device map", source))?;
    let map = fourbit::config::parse_json(&bytes, "device map").and_then(|v| DeviceMap::from_value(&v));
    map.map(Strategy::Explicit).map_err(|e| e.in_place(path.display()))
}

/// A map that is shown, under a heading.
pub(crate) struct Variant {
    /// Whose map it is.
    pub heading: String,
    /// The map.
    pub placement: Placement,
}

/// The asked-for map and, beside one that is computed, what transformers and `fit` would do.
pub(crate) struct Maps {
    strategy: &'static str,
    variants: Vec<Variant>,
    /// Whether the asked-for map may be loaded.
    pub verdict: Result<()>,
}

impl Maps {
    /// Computes them for a plan made with `options`.
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        plan: &Plan,
        spec: &QuantSpec,
        options: &DeviceMapOptions,
    ) -> Result<Self> {
        let config = checkpoint.config()?.cloned().unwrap_or_default();
        let model = model_of_plan(&config, plan, spec)?;
        let flavour = Flavour::from(plan.profile);
        let name = options.strategy.name();
        let asked = variant(format!("{name}"), &model, flavour, options)?;
        let map = &asked.placement.map;
        let verdict = match options.strategy {
            // Planning has checked it.
            Strategy::Explicit(_) => Ok(()),
            _ => check_dispatch(map, flavour, options.offload, &model.not_converted),
        };
        let mut variants = vec![asked];
        if !matches!(options.strategy, Strategy::Explicit(_)) {
            let mut other = DeviceMapOptions { sizing: Sizing::Transformers, ..options.clone() };
            if options.strategy == Strategy::Fit {
                other.strategy = Strategy::Balanced;
            }
            let name = other.strategy.name();
            let heading = format!("{name} by the sizes of {}", flavour.name());
            variants.push(variant(heading, &model, flavour, &other)?);
        }
        if !matches!(options.strategy, Strategy::Explicit(_) | Strategy::Fit) {
            let fit = DeviceMapOptions { strategy: Strategy::Fit, ..options.clone() };
            variants.push(variant("fit".to_owned(), &model, flavour, &fit)?);
        }
        Ok(Maps { strategy: name, variants, verdict })
    }

    /// The asked-for map first.
    pub(crate) fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// A row per device, the maps side by side.
    pub(crate) fn text(&self) -> String {
        let mut devices: Vec<MapDevice> =
            self.variants.iter().flat_map(|v| v.placement.devices.iter().map(|used| used.device)).collect();
        devices.sort_unstable();
        devices.dedup();
        let mut header = vec!["device"];
        header.extend(self.variants.iter().map(|v| v.heading.as_str()));
        let mut listing = table::new(&header, &[]);
        for device in devices {
            let mut row = vec![device.to_string()];
            let cells = self.variants.iter().map(|v| v.placement.devices.iter().find(|u| u.device == device));
            row.extend(cells.map(|used| used.map(cell).unwrap_or_default()));
            listing.add_row(row);
        }
        let comparison = if self.variants.len() > 1 { ", and others for comparison" } else { "" };
        format!("device map: {}{comparison}\n{listing}", self.strategy)
    }

    /// The asked-for map.
    pub(crate) fn to_value(&self) -> Value {
        let placement = &self.variants[0].placement;
        let devices = placement.devices.iter().map(|used| {
            json!({
                "device": used.device, "bytes": used.bytes, "limit": used.limit.map(|limit| limit as u64),
                "modules": used.modules,
            })
        });
        json!({
            "strategy": self.strategy, "map": placement.map.to_value(),
            "devices": devices.collect::<Vec<_>>(),
        })
    }
}

fn variant(heading: String, model: &Model, flavour: Flavour, options: &DeviceMapOptions) -> Result<Variant> {
    Ok(Variant { heading, placement: place(model, flavour, options)? })
}

/// What a device holds: bytes, and its modules below.
fn cell(used: &DeviceUse) -> String {
    let mut lines = vec![match used.limit {
        Some(limit) => {
            let exceeded = if used.bytes as f64 > limit { " (exceeded)" } else { "" };
            format!("{} of {}{exceeded}", table::bytes(used.bytes), table::bytes(limit as u64))
        }
        None => table::bytes(used.bytes),
    }];
    lines.extend(runs(&used.modules).into_iter().map(|run| format!("  {run}")));
    lines.join("\n")
}

/// Neighbours in a list as one: `model.embed_tokens`, `model.layers.0-11`.
pub(crate) fn runs(modules: &[String]) -> Vec<String> {
    let mut runs: Vec<(&str, Option<(u64, u64)>)> = Vec::new();
    for module in modules {
        let item = module.rsplit_once('.').and_then(|(list, item)| Some((list, item.parse::<u64>().ok()?)));
        match (item, runs.last_mut()) {
            (Some((list, item)), Some((last, Some((_, end)))))
                if list == *last && end.checked_add(1) == Some(item) =>
            {
                *end = item;
            }
            (Some((list, item)), _) => runs.push((list, Some((item, item)))),
            (None, _) => runs.push((module, None)),
        }
    }
    let words = runs.into_iter().map(|(name, items)| match items {
        None if name.is_empty() => "everything".to_owned(),
        None => name.to_owned(),
        Some((first, last)) if first == last => format!("{name}.{first}"),
        Some((first, last)) => format!("{name}.{first}-{last}"),
    });
    words.map(|word| printable(&word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_written_as_a_run() {
        let names = ["a", "h.0", "h.1", "h.2", "h.4", "g.5", "n"].map(str::to_owned);
        assert_eq!(runs(&names), ["a", "h.0-2", "h.4", "g.5", "n"]);
        assert_eq!(runs(&[String::new()]), ["everything"]);
        assert_eq!(
            runs(&[format!("h.{}", u64::MAX), "h.0".to_owned()]),
            [format!("h.{}", u64::MAX), "h.0".to_owned()]
        );
    }
}
