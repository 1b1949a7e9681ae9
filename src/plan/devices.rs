//! What a device map has to do with a plan: offloaded modules stay unquantized, entries get a device.

use serde_json::Value;

use super::options::PlanOptions;
use super::types::Plan;
use crate::device_map::{
    DeviceMapOptions, Flavour, Strategy, check_dispatch, model_of_plan, offloaded_modules, place,
};
use crate::error::Result;

/// Modules that an explicit device map leaves unquantized.
pub fn offloaded(options: &PlanOptions) -> Result<Vec<String>> {
    let Some(DeviceMapOptions { strategy: Strategy::Explicit(map), offload, .. }) = &options.device_map
    else {
        return Ok(Vec::new());
    };
    let flavour = Flavour::from(options.profile);
    check_dispatch(map, flavour, *offload, options.skip.as_deref().unwrap_or_default())?;
    offloaded_modules(map, flavour, *offload)
}

/// Gives every entry its device.
pub fn assign(config: &Value, plan: &mut Plan, options: &PlanOptions) -> Result<()> {
    let Some(request) = &options.device_map else { return Ok(()) };
    let model = model_of_plan(config, plan, &options.spec)?;
    let flavour = Flavour::from(plan.profile);
    let placement = place(&model, flavour, request)?;
    if !matches!(request.strategy, Strategy::Explicit(_)) {
        check_dispatch(&placement.map, flavour, request.offload, &model.not_converted)?;
    }
    for entry in &mut plan.entries {
        entry.device = placement.map.device_of(&entry.source.name);
    }
    Ok(())
}
