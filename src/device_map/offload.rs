//! What may lie on the CPU or on disk, and what becomes of it.

use super::device::MapDevice;
use super::flavour::Flavour;
use super::map::DeviceMap;
use crate::error::{Error, Result, err};

/// The check of a whole map (`validate_environment`): without `offload`
/// (`llm_int8_enable_fp32_cpu_offload`), nothing may lie on the CPU or on disk, unless the whole model
/// lies on the CPU (4.57 and 5.23). 4.x does not mind map entries that are exactly in `skip`, the list of
/// modules that are not converted.
pub fn check_dispatch(map: &DeviceMap, flavour: Flavour, offload: bool, skip: &[String]) -> Result<()> {
    if offload || !map.offloads() {
        return Ok(());
    }
    let all_cpu = map.entries().iter().all(|(_, device)| *device == MapDevice::Cpu);
    let counts = |name: &String| flavour.is_v5() || !skip.contains(name);
    let offends = map.entries().iter().any(|(name, device)| device.is_offload() && counts(name));
    match flavour {
        Flavour::V457 | Flavour::V523 if all_cpu => Ok(()),
        _ if offends => Err(dispatched(flavour)),
        _ => Ok(()),
    }
}

/// The modules of an explicit map that stay unquantized because they are offloaded: their names join the
/// list of modules that are not converted. 4.x looks only at maps of more than one entry and insists on
/// `offload`; 5.23 takes every entry, so that an empty name (the whole model) leaves nothing to convert.
/// Maps that are computed come too late for this: what they offload is converted.
pub fn offloaded_modules(map: &DeviceMap, flavour: Flavour, offload: bool) -> Result<Vec<String>> {
    let offloaded = map.entries().iter().filter(|(_, device)| device.is_offload());
    let names: Vec<String> = offloaded.map(|(name, _)| name.clone()).collect();
    match flavour {
        Flavour::V523 if offload => Ok(names),
        Flavour::V523 => Ok(Vec::new()),
        Flavour::V441 | Flavour::V457 if map.entries().len() < 2 => Ok(Vec::new()),
        Flavour::V441 | Flavour::V457 if offload || names.is_empty() => Ok(names),
        Flavour::V441 | Flavour::V457 => Err(err!(
            InvalidArgument,
            "If you want to offload some keys to `cpu` or `disk`, you need to set `llm_int8_enable_fp32_cpu_offload=True`. Note that these modules will not be  converted to 8-bit but kept in 32-bit."
        )),
    }
}

fn dispatched(flavour: Flavour) -> Error {
    let flag = match flavour {
        Flavour::V441 => "load_in_8bit_fp32_cpu_offload=True",
        Flavour::V457 | Flavour::V523 => "llm_int8_enable_fp32_cpu_offload=True",
    };
    err!(
        InvalidArgument,
        "Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit the quantized model. If you want to dispatch the model on the CPU or the disk while keeping these modules in 32-bit, you need to set `{flag}` and pass a custom `device_map` to `from_pretrained`. Check https://huggingface.co/docs/transformers/main/en/main_classes/quantization#offload-between-cpu-and-gpu for more details. "
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Flavour::{V441, V457, V523};

    fn map(json: serde_json::Value) -> DeviceMap {
        DeviceMap::from_value(&json).unwrap()
    }

    #[test]
    fn dispatch_without_the_flag() {
        let all_cpu = map(serde_json::json!({"": "cpu"}));
        let head = map(serde_json::json!({"model": 0, "lm_head": "disk"}));
        let layer = map(serde_json::json!({"model": "cpu", "lm_head": 0}));
        let skip = ["lm_head".to_owned()];
        let ok = |map: &DeviceMap, flavour| check_dispatch(map, flavour, false, &skip).is_ok();
        assert_eq!([V441, V457, V523].map(|f| ok(&all_cpu, f)), [false, true, true]);
        assert_eq!([V441, V457, V523].map(|f| ok(&head, f)), [true, true, false]);
        assert_eq!([V441, V457, V523].map(|f| ok(&layer, f)), [false; 3]);
        assert!(check_dispatch(&layer, V523, true, &[]).is_ok());
        let words = |f| check_dispatch(&layer, f, false, &skip).unwrap_err().to_string();
        assert!(words(V441).contains("you need to set `load_in_8bit_fp32_cpu_offload=True` and pass"));
        assert!(words(V457).contains("you need to set `llm_int8_enable_fp32_cpu_offload=True` and pass"));
        assert!(words(V523).starts_with("Some modules are dispatched on the CPU or the disk. Make sure"));
    }

    #[test]
    fn what_stays_unquantized() {
        let all_cpu = map(serde_json::json!({"": "cpu"}));
        let split = map(serde_json::json!({"model.layers.0": 0, "model.layers.1": "cpu", "lm_head": "disk"}));
        let kept = |map: &DeviceMap, flavour| offloaded_modules(map, flavour, true).unwrap();
        assert_eq!(kept(&all_cpu, V523), [""], "nothing is converted");
        assert!(kept(&all_cpu, V457).is_empty(), "everything is");
        for flavour in [V441, V457, V523] {
            assert_eq!(kept(&split, flavour), ["model.layers.1", "lm_head"]);
        }
        assert!(offloaded_modules(&split, V523, false).unwrap().is_empty(), "the other check refuses it");
        let words = offloaded_modules(&split, V457, false).unwrap_err().to_string();
        assert!(
            words.starts_with("If you want to offload some keys to `cpu` or `disk`, you need to set `llm")
        );
    }
}
