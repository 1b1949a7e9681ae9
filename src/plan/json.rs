//! A plan as JSON, for people, scripts and the C interface.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sizes;
use super::types::{Action, Mode, Plan, PlanEntry, Profile, SourceTensor};
use crate::config::{parse_json, python_json};
use crate::device_map::MapDevice;
use crate::dtype::{DType, FloatType};
use crate::error::{Result, err};
use crate::shape::Shape;

#[derive(Serialize, Deserialize)]
struct PlanJson {
    model_type: Option<String>,
    profile: String,
    mode: String,
    dtype: String,
    skip_modules: Option<Vec<String>>,
    tensors: Vec<TensorJson>,
    totals: Option<TotalsJson>,
    #[serde(default)]
    notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct TensorJson {
    name: String,
    converted: bool,
    reason: String,
    shape: Vec<u64>,
    dtype: String,
    target_dtype: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    transpose: bool,
    bytes_before: u64,
    bytes_after: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<MapDevice>,
}

#[derive(Serialize, Deserialize)]
struct TotalsJson {
    converted: u64,
    kept: u64,
    bytes_before: u64,
    bytes_after: u64,
}

impl Plan {
    /// The plan as JSON text with two spaces of indent:
    /// `{"model_type", "profile", "mode", "dtype", "skip_modules", "tensors", "totals", "notes"}`, each
    /// tensor `{"name", "converted", "reason", "shape", "dtype", "target_dtype", "bytes_before",
    /// "bytes_after"}`, `"transpose": true` where that is so, and `"device"` (the number of a GPU, `"mps"`,
    /// `"cpu"` or `"disk"`) if a device map was asked for. `dtype` is the stored type,
    /// `target_dtype` the one it is cast to (before quantization, if converted), both by their names in
    /// safetensors headers; the plan's own `dtype` has torch's name.
    pub fn to_json(&self) -> String {
        python_json::indented(&self.to_value(), false)
    }

    /// [`Plan::to_json`] as a value.
    pub fn to_value(&self) -> Value {
        let totals = self.totals();
        let plan = PlanJson {
            model_type: self.model_type.clone(),
            profile: self.profile.name().into(),
            mode: self.mode.name().into(),
            dtype: self.dtype.torch_name().into(),
            skip_modules: self.skip_modules.clone(),
            tensors: self.entries.iter().map(tensor_json).collect(),
            totals: Some(TotalsJson {
                converted: totals.converted,
                kept: totals.kept,
                bytes_before: totals.bytes_before,
                bytes_after: totals.bytes_after,
            }),
            notes: self.notes.clone(),
        };
        // Strings, numbers and lists of them: there is nothing that could fail.
        serde_json::to_value(plan).unwrap_or_else(|_| Value::Object(Map::new()))
    }

    /// Reads what [`Plan::to_json`] writes. Names must be unique, and every action possible for its
    /// tensor; totals and `bytes_before` are computed anew.
    pub fn from_json(text: &str) -> Result<Plan> {
        let value = parse_json(text.as_bytes(), "plan")?;
        let plan: PlanJson = serde_json::from_value(value).map_err(|e| err!(Format, "plan: {e}"))?;
        let mut names = HashSet::new();
        let mut entries = Vec::with_capacity(plan.tensors.len());
        for tensor in plan.tensors {
            if !names.insert(tensor.name.clone()) {
                return Err(err!(Format, "plan: tensor \"{}\" stands in it twice", tensor.name));
            }
            let name = tensor.name.clone();
            entries.push(entry(tensor).map_err(|e| e.in_place(format!("plan: tensor \"{name}\"")))?);
        }
        Ok(Plan {
            model_type: plan.model_type,
            profile: Profile::parse(&plan.profile).map_err(|e| e.in_place("plan"))?,
            mode: Mode::parse(&plan.mode).map_err(|e| e.in_place("plan"))?,
            dtype: FloatType::parse(&plan.dtype).map_err(|e| e.in_place("plan"))?,
            skip_modules: plan.skip_modules,
            entries,
            notes: plan.notes,
        })
    }
}

fn tensor_json(entry: &PlanEntry) -> TensorJson {
    let (converted, target, transpose) = match entry.action {
        Action::Quantize { dtype, transpose } => (true, DType::from(dtype), transpose),
        Action::Keep { dtype } => (false, dtype, false),
    };
    TensorJson {
        name: entry.source.name.clone(),
        converted,
        reason: entry.reason.clone(),
        shape: entry.source.shape.dims().to_vec(),
        dtype: entry.source.dtype.safetensors_name().into(),
        target_dtype: target.safetensors_name().into(),
        transpose,
        bytes_before: entry.bytes_before,
        bytes_after: entry.bytes_after,
        device: entry.device,
    }
}

fn entry(tensor: TensorJson) -> Result<PlanEntry> {
    let shape = Shape::new(&tensor.shape)?;
    let dtype = parse_dtype("dtype", &tensor.dtype)?;
    let target = parse_dtype("target_dtype", &tensor.target_dtype)?;
    let action = if tensor.converted {
        let (true, Some(float)) = (dtype.is_castable(), target.float()) else {
            return Err(err!(
                Format,
                "converted from {} by way of {}: only F64, F32, F16 and BF16 are quantized, by way of F32, F16 or BF16",
                tensor.dtype,
                tensor.target_dtype
            ));
        };
        if tensor.transpose && shape.matrix().is_none() {
            return Err(err!(Format, "shape {shape} cannot be transposed: expected two dimensions"));
        }
        Action::Quantize { dtype: float, transpose: tensor.transpose }
    } else {
        if tensor.transpose {
            return Err(err!(Format, "transposed but not converted: only converted tensors are transposed"));
        }
        if target != dtype && (!dtype.is_castable() || target.float().is_none()) {
            return Err(err!(
                Format,
                "cast from {} to {}: only F64, F32, F16 and BF16 are cast, to F32, F16 or BF16",
                tensor.dtype,
                tensor.target_dtype
            ));
        }
        Action::Keep { dtype: target }
    };
    let bytes_after = if tensor.converted { tensor.bytes_after } else { sizes::plain(&shape, target) };
    let bytes_before = sizes::plain(&shape, dtype);
    let source = SourceTensor { name: tensor.name, dtype, shape };
    Ok(PlanEntry { source, action, reason: tensor.reason, bytes_before, bytes_after, device: tensor.device })
}

fn parse_dtype(field: &str, name: &str) -> Result<DType> {
    DType::from_safetensors_name(name)
        .ok_or_else(|| err!(Format, "{field} \"{name}\": expected a safetensors type such as BF16"))
}
