//! A device map: which module goes where.

use serde_json::{Map, Value};

use super::device::MapDevice;
use super::tree::ModuleTree;
use crate::error::{Result, err};

/// Modules (or single tensors) with their devices. An entry speaks for all that lies below it, unless a
/// longer one says otherwise; an empty name is the whole model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceMap {
    entries: Vec<(String, MapDevice)>,
    index: std::collections::HashMap<String, usize>,
}

impl DeviceMap {
    /// Of two entries of the same name the later one holds.
    pub fn new(entries: impl IntoIterator<Item = (String, MapDevice)>) -> Self {
        let mut map = DeviceMap::default();
        for (name, device) in entries {
            match map.index.get(&name) {
                Some(i) => map.entries[*i].1 = device,
                None => {
                    map.index.insert(name.clone(), map.entries.len());
                    map.entries.push((name, device));
                }
            }
        }
        map
    }

    /// Everything on one device.
    pub fn single(device: MapDevice) -> Self {
        DeviceMap::new([(String::new(), device)])
    }

    /// The entries, in the order of the model.
    pub fn entries(&self) -> &[(String, MapDevice)] {
        &self.entries
    }

    /// Where a module or tensor goes, by the longest entry that names it or what it lies in.
    pub fn device_of(&self, name: &str) -> Option<MapDevice> {
        let mut name = name;
        loop {
            if let Some(i) = self.index.get(name) {
                return Some(self.entries[*i].1);
            }
            if name.is_empty() {
                return None;
            }
            name = name.rsplit_once('.').map_or("", |(above, _)| above);
        }
    }

    /// Whether anything goes to the CPU or the disk.
    pub fn offloads(&self) -> bool {
        self.entries.iter().any(|(_, device)| device.is_offload())
    }

    /// Errors if a parameter has no device.
    pub fn check(&self, tree: &ModuleTree) -> Result<()> {
        self.check_names(tree.parameters())
    }

    fn check_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        const SHOWN: usize = 10;
        let mut missing = names.filter(|name| self.device_of(name).is_none());
        let shown: Vec<&str> = missing.by_ref().take(SHOWN).collect();
        if shown.is_empty() {
            return Ok(());
        }
        let more = match missing.count() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Err(err!(
            InvalidArgument,
            "The device_map provided does not give any device for the following parameters: {}{more}",
            shown.join(", ")
        ))
    }

    /// `{"model.embed_tokens": 0, "lm_head": "cpu"}`
    pub fn to_value(&self) -> Value {
        let entries = self.entries.iter().map(|(name, device)| (name.clone(), device.to_value()));
        Value::Object(entries.collect::<Map<_, _>>())
    }

    /// Reads what [`DeviceMap::to_value`] writes; devices as [`MapDevice::parse`] reads them.
    pub fn from_value(value: &Value) -> Result<Self> {
        let Value::Object(object) = value else {
            return Err(err!(
                Format,
                "device map: expected an object of module names and devices, such as {{\"\": 0}}"
            ));
        };
        let entry = |(name, device): (&String, &Value)| {
            let device = MapDevice::from_value(device);
            let device = device.map_err(|e| e.in_place(format!("device map: module \"{name}\"")))?;
            Ok((name.clone(), device))
        };
        let entries = object.iter().map(entry).collect::<Result<Vec<_>>>()?;
        if entries.is_empty() {
            return Err(err!(Format, "device map: it names no module"));
        }
        Ok(DeviceMap::new(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: Value) -> DeviceMap {
        DeviceMap::from_value(&json).unwrap()
    }

    #[test]
    fn the_longest_entry_holds() {
        let map =
            map(serde_json::json!({"model": 0, "model.layers.1": "cpu", "model.layers.1.mlp": "cuda:2"}));
        let of = |name| map.device_of(name);
        assert_eq!(of("model.layers.0.mlp.up_proj.weight"), Some(MapDevice::Gpu(0)));
        assert_eq!(of("model.layers.1.self_attn.q_proj.weight"), Some(MapDevice::Cpu));
        assert_eq!(of("model.layers.1.mlp.up_proj.weight"), Some(MapDevice::Gpu(2)));
        assert_eq!(of("model.layers.10"), Some(MapDevice::Gpu(0)), "no prefix within a component");
        assert_eq!(of("lm_head.weight"), None);
        let words = map.check_names(["model.norm.weight", "lm_head.weight"].into_iter()).unwrap_err();
        assert_eq!(
            words.to_string(),
            "The device_map provided does not give any device for the following parameters: lm_head.weight"
        );
    }

    #[test]
    fn json_goes_round() {
        let json = serde_json::json!({"": 1, "lm_head": "disk"});
        assert_eq!(map(json.clone()).to_value(), json);
        let words = |json| DeviceMap::from_value(&json).unwrap_err().to_string();
        assert!(words(serde_json::json!([])).contains("expected an object"));
        assert!(
            words(serde_json::json!({"a": "tpu"})).starts_with("device map: module \"a\": Device tpu is not")
        );
        assert!(words(serde_json::json!({"a": -1})).contains("expected the number of a GPU"));
        assert!(words(serde_json::json!({})).contains("names no module"));
    }
}
