//! Limits: how much of each device may be used.

use std::collections::BTreeMap;

use super::device::MapDevice;
use super::flavour::Flavour;
use crate::error::{Result, err};

/// What transformers leaves free of every device for the buffers that quantizing needs
/// (`adjust_max_memory` of its bitsandbytes quantizer).
const USED_SHARE: f64 = 0.90;

/// What 5.23 takes of the CPU memory that it finds free, before that.
const DETECTED_SHARE: f64 = 0.90;

/// Bytes by device, in the order in which devices are filled: GPUs by number, mps, cpu, disk.
/// Balanced and adjusted limits are fractions of bytes, as in transformers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MaxMemory(BTreeMap<MapDevice, f64>);

impl MaxMemory {
    /// No device at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `0=20GiB,1=20GiB,cpu=64GiB`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut memory = Self::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((device, size)) = part.split_once('=') else {
                return Err(err!(
                    InvalidArgument,
                    "max_memory \"{part}\": expected device=size, such as 0=20GiB or cpu=64GiB"
                ));
            };
            let device = MapDevice::parse(device.trim())?;
            let bytes = parse_memory(size).map_err(|e| e.in_place(format!("max_memory of {device}")))?;
            if memory.get(device).is_some() {
                return Err(err!(
                    InvalidArgument,
                    "max_memory \"{text}\": device {device} stands in it twice"
                ));
            }
            memory.set(device, bytes as f64);
        }
        if memory.0.is_empty() {
            return Err(err!(InvalidArgument, "max_memory \"{text}\" names no device"));
        }
        Ok(memory)
    }

    /// The memory that is free on this machine, as a version of transformers takes it if nothing is
    /// stated. This build has no GPU of its own to ask: GPUs must be stated.
    pub fn detect(flavour: Flavour) -> Self {
        available_bytes().map(|bytes| Self::of_free(bytes, flavour)).unwrap_or_default()
    }

    /// Of so many free bytes, 5.23 takes nine tenths for the CPU; 4.x takes them all.
    fn of_free(bytes: u64, flavour: Flavour) -> Self {
        let share = if flavour.is_v5() { DETECTED_SHARE } else { 1.0 };
        let mut memory = Self::new();
        memory.set(MapDevice::Cpu, bytes as f64 * share);
        memory
    }

    /// Sets a device's limit in bytes; below zero or not a number counts as zero.
    pub fn set(&mut self, device: MapDevice, bytes: f64) {
        self.0.insert(device, bytes.max(0.0));
    }

    /// A device's limit.
    pub fn get(&self, device: MapDevice) -> Option<f64> {
        self.0.get(&device).copied()
    }

    /// Devices and limits in order.
    pub fn iter(&self) -> impl Iterator<Item = (MapDevice, f64)> + '_ {
        self.0.iter().map(|(device, bytes)| (*device, *bytes))
    }

    /// Numbers of the GPUs that have any memory.
    pub fn gpus(&self) -> Vec<u32> {
        let number = |(device, bytes)| match device {
            MapDevice::Gpu(index) if bytes > 0.0 => Some(index),
            _ => None,
        };
        self.iter().filter_map(number).collect()
    }

    /// Every limit times 0.90, as transformers has it for bitsandbytes.
    #[must_use]
    pub fn adjusted(&self) -> Self {
        MaxMemory(self.0.iter().map(|(device, bytes)| (*device, bytes * USED_SHARE)).collect())
    }
}

/// Reads a number of bytes: a whole number, or a number with GiB, MiB, KiB (powers of 1024), GB, MB or
/// KB (powers of 1000) in any case, except that a lower-case `b` after a decimal unit (`Gb`) means bits.
pub fn parse_memory(text: &str) -> Result<u64> {
    const UNITS: [(&str, f64); 6] = [
        ("GIB", (1u64 << 30) as f64),
        ("MIB", (1u64 << 20) as f64),
        ("KIB", (1u64 << 10) as f64),
        ("GB", 1e9),
        ("MB", 1e6),
        ("KB", 1e3),
    ];
    let bad = || {
        err!(
            InvalidArgument,
            "`size` {text} is not in a valid format. Use an integer for bytes, or a string with an unit (like '5.0GB')."
        )
    };
    let trimmed = text.trim();
    if trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return trimmed.parse().map_err(|_| bad());
    }
    let upper = trimmed.to_ascii_uppercase();
    let unit = UNITS.iter().find(|(unit, _)| upper.ends_with(unit));
    let (unit, factor) = unit.ok_or_else(bad)?;
    let number: f64 = trimmed[..trimmed.len() - unit.len()].trim().parse().map_err(|_| bad())?;
    let bytes = number * factor;
    if !(bytes > -1.0 && bytes < 1.8e19) {
        return Err(bad());
    }
    let bits = unit.len() == 2 && trimmed.ends_with('b');
    Ok(if bits { bytes as u64 / 8 } else { bytes as u64 })
}

/// Memory that programs can have without swapping.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_5_23_leaves_a_share_of_free_memory() {
        let cpu = |flavour| MaxMemory::of_free(1000, flavour).get(MapDevice::Cpu);
        assert_eq!(
            [Flavour::V523, Flavour::V457, Flavour::V441].map(cpu),
            [Some(900.0), Some(1000.0), Some(1000.0)]
        );
    }

    #[test]
    fn units() {
        let read = |text| parse_memory(text).unwrap();
        assert_eq!(read("40MiB"), 41_943_040);
        assert_eq!(read("0.1GB"), 100_000_000);
        assert_eq!(read("8gb"), 1_000_000_000, "a lower-case b counts bits");
        assert_eq!(read("8Gb"), 1_000_000_000);
        assert_eq!(read("1.5KiB"), 1536);
        assert_eq!(read("1.5kib"), 1536, "but not after a binary unit");
        assert_eq!(read("1e3 KB"), 1_000_000);
        assert_eq!(read("17"), 17);
        for bad in ["GB", "5TB", "-2GB", "nanGB", "infGB", "5 G", "é", "1e400GB"] {
            let expected = format!(
                "`size` {bad} is not in a valid format. Use an integer for bytes, or a string with an unit (like '5.0GB')."
            );
            assert_eq!(parse_memory(bad).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn order_is_that_of_filling() {
        let memory = MaxMemory::parse("disk=1GB, cpu=2GB,10=3GB,mps=5GB,2=4GB").unwrap();
        let order: Vec<String> = memory.iter().map(|(device, _)| device.to_string()).collect();
        assert_eq!(order, ["2", "10", "mps", "cpu", "disk"]);
        assert_eq!(memory.adjusted().get(MapDevice::Gpu(10)), Some(3e9 * 0.90));
    }

    #[test]
    fn words_for_what_is_wrong() {
        let words = |text| MaxMemory::parse(text).unwrap_err().to_string();
        assert!(words("tpu=1GB").starts_with("Device tpu is not recognized, available devices are integers"));
        assert!(words("0").contains("expected device=size"));
        assert!(words("0=1GB,cuda:0=2GB").contains("twice"));
        assert!(words("0=lots").starts_with("max_memory of 0: `size` lots is not in a valid format"));
        assert!(words(" , ").contains("names no device"));
    }
}
