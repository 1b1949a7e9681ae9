//! Device maps as pictures.

use fourbit::device_map::MapDevice;

use super::charts::{Segment, figure, legend, strip};
use super::facts::{DeviceFacts, Facts, MapFacts};
use super::markup::Markup;
use crate::cli::table::bytes;

/// Colours for GPUs; further ones begin again.
const GPU_COLOURS: u32 = 8;
/// Blocks that are drawn one by one; of more, neighbours on a device become one.
const MAX_UNITS: usize = 600;

pub(super) fn section(m: &mut Markup, facts: &Facts) {
    if facts.maps.is_empty() {
        return;
    }
    m.element("section", &[("id", &"devices")], |m| {
        m.leaf("h2", &[], "Devices");
        if let Some(words) = &facts.map_refused {
            m.leaf(
                "p",
                &[("class", &"bad box")],
                format!("The map that was asked for cannot be loaded: {words}"),
            );
        }
        for (i, map) in facts.maps.iter().enumerate() {
            draw(m, map, i == 0);
        }
    });
}

fn name(device: MapDevice) -> String {
    match device {
        MapDevice::Gpu(n) => format!("GPU {n}"),
        other => other.to_string(),
    }
}

fn class(device: MapDevice) -> String {
    match device {
        MapDevice::Gpu(n) => format!("d{}", n % GPU_COLOURS),
        MapDevice::Mps => "d0".to_owned(),
        MapDevice::Cpu => "cpu".to_owned(),
        MapDevice::Disk => "disk".to_owned(),
    }
}

/// The blocks of the model, or runs of them if there are too many.
fn units(map: &MapFacts) -> Vec<(String, MapDevice, u64)> {
    if map.units.len() <= MAX_UNITS {
        return map.units.clone();
    }
    let runs = map.units.chunk_by(|a, b| a.1 == b.1);
    let run = |run: &[(String, MapDevice, u64)]| {
        let name = format!("{} to {}", run[0].0, run[run.len() - 1].0);
        (name, run[0].1, run.iter().map(|(_, _, size)| size).sum())
    };
    runs.map(run).collect()
}

fn draw(m: &mut Markup, map: &MapFacts, asked: bool) {
    let caption = match asked {
        true => format!("Device map: {}", map.heading),
        false => format!("For comparison: {}", map.heading),
    };
    figure(m, &caption, |m| {
        let unit = |(name_of, device, size): &(String, MapDevice, u64)| Segment {
            length: *size as f64,
            class: class(*device),
            title: format!("{name_of} on {}: {}", name(*device), bytes(*size)),
        };
        let total: u64 = map.units.iter().map(|(_, _, size)| size).sum();
        m.element("div", &[("class", &"line wide")], |m| {
            m.leaf("span", &[("class", &"name")], "the model, first to last");
            let segments: Vec<Segment> = units(map).iter().take(MAX_UNITS).map(unit).collect();
            strip(
                m,
                &format!("The modules of the model by device, {}", bytes(total)),
                "strip tall parts",
                total as f64,
                &segments,
            );
            m.leaf("span", &[("class", &"value")], bytes(total));
        });
        let widest = map.devices.iter().map(|d| d.bytes.max(d.limit.unwrap_or(0))).max().unwrap_or(0);
        map.devices.iter().for_each(|device| line(m, device, widest));
        let used: Vec<(String, String)> =
            map.devices.iter().map(|d| (class(d.device), name(d.device))).collect();
        let used: Vec<(&str, String)> = used.iter().map(|(c, n)| (c.as_str(), n.clone())).collect();
        legend(m, &used);
        let row = |d: &DeviceFacts| {
            let limit = d.limit.map(bytes).unwrap_or_else(|| "none".to_owned());
            vec![name(d.device), bytes(d.bytes), limit, d.modules.join(", ")]
        };
        let rows: Vec<Vec<String>> = map.devices.iter().map(row).collect();
        m.table(
            &format!("What lies where: {}", map.heading),
            &["device", "bytes", "limit", "modules"],
            &[1, 2],
            &rows,
        );
    });
}

/// What a device holds of what it may.
fn line(m: &mut Markup, device: &DeviceFacts, widest: u64) {
    let limit = device.limit.unwrap_or(device.bytes);
    let over = device.bytes > limit;
    let free = limit.saturating_sub(device.bytes);
    let mut words = bytes(device.bytes);
    if let Some(limit) = device.limit {
        words += &format!(" of {}", bytes(limit));
    }
    if over {
        words += ": too much";
    }
    m.element("div", &[("class", &"line wide")], |m| {
        m.leaf("span", &[("class", &"name")], name(device.device));
        let label = format!("{}: {words}", name(device.device));
        let segments = [
            Segment { length: device.bytes as f64, class: class(device.device), title: label.clone() },
            Segment { length: free as f64, class: "free".to_owned(), title: format!("{} free", bytes(free)) },
        ];
        strip(m, &label, "strip", widest as f64, &segments);
        m.leaf("span", &[("class", &if over { "value bad" } else { "value" })], words);
    });
}
