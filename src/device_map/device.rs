//! The devices a map may name.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Result, err};

/// A device of a map. The order is that in which devices are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapDevice {
    /// A GPU by its number.
    Gpu(u32),
    /// Apple's GPU.
    Mps,
    /// Ordinary memory.
    Cpu,
    /// Left in the file.
    Disk,
}

impl MapDevice {
    /// Reads `0`, `cuda:0`, `cuda`, `mps`, `cpu` or `disk`.
    pub fn parse(name: &str) -> Result<Self> {
        let number = name.strip_prefix("cuda:").unwrap_or(name);
        match (name, number.parse::<u32>()) {
            ("mps", _) => Ok(MapDevice::Mps),
            ("cpu", _) => Ok(MapDevice::Cpu),
            ("disk", _) => Ok(MapDevice::Disk),
            ("cuda", _) => Ok(MapDevice::Gpu(0)),
            (_, Ok(index)) if number.bytes().all(|b| b.is_ascii_digit()) => Ok(MapDevice::Gpu(index)),
            _ => Err(err!(
                InvalidArgument,
                "Device {name} is not recognized, available devices are integers(for GPU/XPU), 'mps', 'cpu' and 'disk'"
            )),
        }
    }

    /// Whether weights here are offloaded: `cpu` or `disk`.
    pub fn is_offload(self) -> bool {
        matches!(self, MapDevice::Cpu | MapDevice::Disk)
    }

    /// A number for a GPU, else a string, as maps have them.
    pub fn to_value(self) -> Value {
        match self {
            MapDevice::Gpu(index) => index.into(),
            other => other.to_string().into(),
        }
    }

    /// Reads a number or a string.
    pub fn from_value(value: &Value) -> Result<Self> {
        match value {
            Value::String(name) => MapDevice::parse(name),
            Value::Number(n) if n.as_u64().is_some_and(|n| n <= u64::from(u32::MAX)) => {
                MapDevice::parse(&n.to_string())
            }
            other => Err(err!(
                InvalidArgument,
                "device {other}: expected the number of a GPU, \"mps\", \"cpu\" or \"disk\""
            )),
        }
    }
}

impl std::fmt::Display for MapDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MapDevice::Gpu(index) => write!(f, "{index}"),
            MapDevice::Mps => f.pad("mps"),
            MapDevice::Cpu => f.pad("cpu"),
            MapDevice::Disk => f.pad("disk"),
        }
    }
}

impl Serialize for MapDevice {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MapDevice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        MapDevice::from_value(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let read = |name| MapDevice::parse(name).unwrap();
        assert_eq!(read("3"), MapDevice::Gpu(3));
        assert_eq!(read("cuda:3"), MapDevice::Gpu(3));
        assert_eq!(read("cuda"), MapDevice::Gpu(0));
        assert_eq!(read("disk"), MapDevice::Disk);
        for bad in ["-1", "+1", "", "cuda:", "gpu", "CPU", "cuda:99999999999"] {
            let words = MapDevice::parse(bad).unwrap_err().to_string();
            let expected = format!(
                "Device {bad} is not recognized, available devices are integers(for GPU/XPU), 'mps', 'cpu' and 'disk'"
            );
            assert_eq!(words, expected);
        }
        assert!(MapDevice::from_value(&Value::from(1.5)).is_err());
        assert!(MapDevice::from_value(&Value::from(1u64 << 32)).is_err());
    }
}
