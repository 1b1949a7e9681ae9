//! The plan of an open checkpoint.

use super::Checkpoint;
use crate::config::{QuantizationConfig, write_config_json};
use crate::error::{Result, err};
use crate::plan::{Plan, PlanOptions, SourceTensor};

impl Checkpoint {
    /// Decides what happens to every tensor, from config.json and the tensors' names and shapes.
    pub fn plan(&self, options: &PlanOptions) -> Result<Plan> {
        let config = self.config()?.ok_or_else(|| {
            err!(NotFound, "{}: no config.json, which says what model this is", self.directory().display())
        })?;
        let tensors: Vec<SourceTensor> = self
            .tensors()
            .iter()
            .map(|t| SourceTensor { name: t.name.clone(), dtype: t.dtype, shape: t.shape })
            .collect();
        Plan::new(config, &tensors, options).map_err(|e| e.in_place(self.directory().display()))
    }
}

/// The text of config.json beside a checkpoint quantized by `plan`, if the source has one:
/// `quantization` describes it, with the plan's own list of modules that stay.
pub fn quantized_config(
    checkpoint: &Checkpoint,
    plan: &Plan,
    quantization: &QuantizationConfig,
) -> Result<Option<String>> {
    let Some(source) = checkpoint.config()? else { return Ok(None) };
    let quantization = QuantizationConfig { skip_modules: plan.skip_modules.clone(), ..quantization.clone() };
    write_config_json(source, &quantization, plan.dtype).map(Some)
}
