//! Making a plan.

use serde_json::Value;

use super::architecture::Architecture;
use super::decide::Verdict;
use super::devices;
use super::draft::Draft;
use super::names::leaf;
use super::options::PlanOptions;
use super::reason::Converted;
use super::sizes;
use super::stored::Casts;
use super::types::{Action, Plan, PlanEntry, SourceTensor};
use crate::config;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::log::{Level, log};

impl Plan {
    /// Plans a checkpoint from its config.json and the names, types and shapes of its tensors.
    ///
    /// Errors if the checkpoint is already quantized, by any method, and if an option or the config
    /// states a dtype that cannot be loaded in.
    pub fn new(config: &Value, tensors: &[SourceTensor], options: &PlanOptions) -> Result<Plan> {
        refuse_quantized(config, tensors)?;
        let architecture = Architecture::new(config, tensors)?;
        let dtype = load_dtype(config, tensors, options)?;
        let draft = Draft::new(&architecture, tensors, options)?;
        let (verdicts, skip_modules) = draft.finish()?;
        let notes = draft.notes(&verdicts);
        let casts = Casts::new(&architecture, options.profile.casts_like(), dtype)?;
        let entries = tensors.iter().zip(&verdicts);
        let entries = entries.map(|(t, v)| entry(t, v, &casts, &architecture, options)).collect();
        let mut plan = Plan {
            model_type: architecture.model_type.map(str::to_owned),
            profile: options.profile,
            mode: architecture.mode(),
            dtype,
            skip_modules,
            entries,
            notes,
        };
        devices::assign(config, &mut plan, options)?;
        report(&plan);
        Ok(plan)
    }
}

/// Tells the log what a person should know.
fn report(plan: &Plan) {
    log(Level::Info, || {
        let converted = plan.entries.iter().filter(|e| matches!(e.action, Action::Quantize { .. })).count();
        let model = plan.model_type.as_deref().unwrap_or("unknown model type");
        format!(
            "plan: {model}, profile {}: {converted} of {} tensors become 4-bit",
            plan.profile.name(),
            plan.entries.len()
        )
    });
    for note in &plan.notes {
        log(Level::Warning, || format!("plan: {note}"));
    }
}

fn entry(
    tensor: &SourceTensor,
    verdict: &Verdict,
    casts: &Casts,
    architecture: &Architecture,
    options: &PlanOptions,
) -> PlanEntry {
    let bytes_before = sizes::plain(&tensor.shape, tensor.dtype);
    let (action, bytes_after) = match (verdict, tensor.dtype.is_castable()) {
        (Ok(converted), true) => {
            let dtype = casts.of(architecture, &tensor.name, true);
            let transpose = *converted == Converted::Conv1d;
            (Action::Quantize { dtype, transpose }, sizes::quantized(&tensor.shape, dtype, &options.spec))
        }
        (_, true) => {
            let dtype = DType::from(casts.of(architecture, &tensor.name, false));
            (Action::Keep { dtype }, sizes::plain(&tensor.shape, dtype))
        }
        (_, false) => (Action::Keep { dtype: tensor.dtype }, bytes_before),
    };
    let reason = match verdict {
        Ok(converted) => converted.to_string(),
        Err(kept) => kept.to_string(),
    };
    PlanEntry { source: tensor.clone(), action, reason, bytes_before, bytes_after, device: None }
}

fn load_dtype(config: &Value, tensors: &[SourceTensor], options: &PlanOptions) -> Result<FloatType> {
    if let Some(dtype) = options.dtype {
        return Ok(dtype);
    }
    let stated = config::stated_dtype(config)?;
    let first = || tensors.iter().find_map(|t| t.dtype.float());
    Ok(stated.or_else(first).unwrap_or(FloatType::F32))
}

/// Quantizing twice is never what is meant.
fn refuse_quantized(config: &Value, tensors: &[SourceTensor]) -> Result<()> {
    let refuse = |found: String| {
        Err(err!(
            InvalidState,
            "already quantized: {found}; a plan is made from a float checkpoint, so dequantize it first"
        ))
    };
    if let Some(method) = config::quantized(config) {
        return refuse(format!("{method} (quantization_config in config.json)"));
    }
    let statistics = [
        ("absmax", "bitsandbytes 4-bit"),
        ("bitsandbytes__nf4", "bitsandbytes 4-bit"),
        ("bitsandbytes__fp4", "bitsandbytes 4-bit"),
        ("SCB", "bitsandbytes 8-bit"),
        ("qweight", "gptq or awq"),
        ("qzeros", "gptq or awq"),
        ("weight_scale_inv", "fp8"),
        ("weight_packed", "compressed-tensors"),
    ];
    let method = |name: &str| statistics.iter().find(|(part, _)| *part == leaf(name)).map(|(_, m)| *m);
    let found = tensors.iter().find_map(|t| Some((&t.name, method(&t.name)?)));
    match found {
        Some((name, method)) => refuse(format!("{method} (tensor \"{name}\")")),
        None => Ok(()),
    }
}
