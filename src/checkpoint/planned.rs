//! What config.json has a say in: the plan of a checkpoint, the config of what becomes of it.

use std::path::Path;

use super::{
    Checkpoint, DequantizeTarget, ProgressFn, SaveOptions, SaveReport, TensorEntry, dequantize_checkpoint,
};
use crate::config::{
    QuantizationConfig, model_type, quantization_config, stated_dtype, write_config_json,
    write_plain_config_json,
};
use crate::context::Context;
use crate::dtype::FloatType;
use crate::error::{Result, err};
use crate::plan::{
    Action, Experts, Mode, Plan, PlanEntry, PlanOptions, Profile, SourceTensor, conv1d_modules,
};
use crate::quant::QuantSpec;
use crate::weight::Weight;

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

    /// The plan that leaves every tensor as it is stored: that of a checkpoint which is quantized
    /// already. It needs no config.json.
    pub fn plan_as_stored(&self) -> Result<Plan> {
        let keep = |t: &TensorEntry| PlanEntry {
            source: SourceTensor { name: t.name.clone(), dtype: t.dtype, shape: t.shape },
            action: Action::Keep { dtype: t.dtype },
            reason: "taken as it is stored".to_owned(),
            bytes_before: t.byte_len(),
            bytes_after: t.byte_len(),
            device: None,
        };
        let config = self.config()?;
        let stated = config.map(stated_dtype).transpose()?.flatten();
        Ok(Plan {
            model_type: config.and_then(model_type).map(str::to_owned),
            profile: Profile::default(),
            mode: Mode::Generic,
            dtype: stated.or(first_weight_dtype(self)?).unwrap_or(FloatType::F32),
            skip_modules: None,
            entries: self.tensors().iter().map(keep).collect(),
            notes: Vec::new(),
        })
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
    let fused = |entry: &PlanEntry| entry.is_converted() && entry.source.shape.dims().len() == 3;
    let quantization = QuantizationConfig {
        skip_modules: plan.skip_modules.clone(),
        fused_experts: plan.entries.iter().any(fused),
        ..quantization.clone()
    };
    write_config_json(source, &quantization, plan.dtype).map(Some)
}

/// Turns a quantized checkpoint back into the plain one: [`dequantize_checkpoint`] with what
/// config.json knows of the model (which weights GPT-2's `Conv1D` stores transposed), and a
/// config.json without `quantization_config`. `dtype` is that of the weights; `None` leaves each in
/// the type it was made from.
pub fn dequantize_model(
    context: &Context,
    checkpoint: &Checkpoint,
    dtype: Option<FloatType>,
    output: &Path,
    options: &SaveOptions,
    progress: &mut ProgressFn<'_>,
) -> Result<SaveReport> {
    let config = checkpoint.config()?;
    let conv1d = conv1d_modules(config.and_then(model_type))?;
    let is_transposed = |name: &str| {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let leaf = module.rsplit('.').next().unwrap_or(module);
        conv1d.iter().any(|c| c == leaf)
    };
    let text = match config {
        Some(config) => {
            let stated = dtype.or(stated_dtype(config)?).or(first_weight_dtype(checkpoint)?);
            Some(write_plain_config_json(config, stated.unwrap_or(FloatType::Bf16))?)
        }
        None => None,
    };
    let target = DequantizeTarget { dtype, is_transposed: &is_transposed };
    let options = SaveOptions { config: text, ..options.clone() };
    dequantize_checkpoint(context, checkpoint, &target, output, &options, progress)
}

/// The plan that a quantized checkpoint's own config.json says it follows: its
/// `llm_int8_skip_modules` and dtype, read as transformers 5 reads them, or 4 if that explains more of
/// what was converted and cast.
pub fn plan_as_written(source: &Checkpoint, quantized: &Checkpoint) -> Result<Plan> {
    let place = quantized.directory().display();
    let config = quantized.config()?.ok_or_else(|| err!(NotFound, "{place}: no config.json"))?;
    let quantization = quantization_config(config).ok_or_else(|| {
        err!(Format, "{place}: config.json has no quantization_config: this is not a quantized checkpoint")
    })?;
    let quantization = QuantizationConfig::from_value(quantization).map_err(|e| e.in_place(place))?;
    let block_size = first_weight(quantized)?.map_or(QuantSpec::default().block_size, |w| w.block_size());
    let mut best: Option<(usize, Plan)> = None;
    for profile in [Profile::V5, Profile::V4] {
        let plan = source.plan(&PlanOptions {
            profile,
            skip: quantization.skip_modules.clone(),
            dtype: stated_dtype(config)?,
            experts: if quantization.fused_experts { Experts::FusedFourBit } else { Experts::Auto },
            spec: QuantSpec { block_size, ..QuantSpec::default() },
            ..PlanOptions::default()
        })?;
        let differs = |e: &&PlanEntry| match e.action {
            Action::Quantize { .. } => !quantized.is_weight(&e.source.name),
            Action::Keep { dtype } => {
                let found = quantized.find(&e.source.name).map(|i| quantized.tensors()[i].dtype);
                found != Some(dtype) || quantized.is_weight(&e.source.name)
            }
        };
        let differences = plan.entries.iter().filter(differs).count();
        if best.as_ref().is_none_or(|(fewest, _)| differences < *fewest) {
            best = Some((differences, plan));
        }
    }
    best.map(|(_, plan)| plan).ok_or_else(|| err!(NotFound, "no profile to read the config by"))
}

impl Checkpoint {
    /// Whether `name` is a quantized weight here.
    pub fn is_weight(&self, name: &str) -> bool {
        let entry = self.find_entry(name).map(|i| &self.entries()[i]);
        matches!(entry, Some(super::Entry::Weight(_)))
    }
}

fn first_weight_dtype(checkpoint: &Checkpoint) -> Result<Option<FloatType>> {
    Ok(first_weight(checkpoint)?.map(|weight| weight.dtype()))
}

fn first_weight(checkpoint: &Checkpoint) -> Result<Option<Weight>> {
    let mut weights = checkpoint.entries().iter().filter_map(|entry| match entry {
        super::Entry::Weight(weight) => Some(&weight.name),
        super::Entry::Tensor(_) => None,
    });
    weights.next().map(|name| checkpoint.weight(name)).transpose()
}
