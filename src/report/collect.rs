//! Reading two checkpoints through, a tensor at a time, for what a report says of them.

use std::ops::ControlFlow;

use fourbit::checkpoint::{Checkpoint, Entry, TensorCheck, Verdict, plan_as_written, verify};
use fourbit::config::{self, QuantizationConfig};
use fourbit::plan::{Hints, Kind, Plan};
use fourbit::quant::QuantError;
use fourbit::{Context, Error, Result, Weight};
use serde_json::Value;

use super::facts::{Distribution, Facts, Finding, Size, WeightFacts};
use super::histogram::Histogram;
use crate::cli::plan::folded_names;

/// What is seen on the way, and its plan.
pub(crate) struct Collected {
    /// For the page.
    pub facts: Facts,
    /// What the quantized checkpoint's config says of the source.
    pub plan: Plan,
}

/// How far the work is: tensors done, of how many, and the one at work. `Break` ends it.
pub(crate) type ProgressFn<'a> = dyn FnMut(u64, u64, &str) -> ControlFlow<()> + 'a;

/// Rounding to 4 bits moves an element by at most half the widest gap between codes (a sixth of the
/// absmax, for FP4), and double quantization an absmax by a hundredth or so of the largest.
const MOST_BY_ROUNDING: f64 = 0.25;

/// Compares `quantized` with its source and looks at every weight.
pub(crate) fn collect(
    context: &Context,
    source: &Checkpoint,
    quantized: &Checkpoint,
    progress: &mut ProgressFn<'_>,
) -> Result<Collected> {
    let plan = plan_as_written(source, quantized)?;
    let mut facts = Facts {
        names: [source, quantized].map(name_of),
        provenance: provenance(source, quantized, &plan)?,
        config: Vec::new(),
        skip_modules: None,
        sizes: sizes(source, quantized)?,
        weights: Vec::new(),
        kept: 0,
        distributions: Vec::new(),
        findings: Vec::new(),
        maps: Vec::new(),
        map_refused: None,
    };
    read_config(quantized, &mut facts)?;
    let total = source.tensors().len() as u64;
    for (done, check) in verify(context, source, quantized, &plan)?.enumerate() {
        let check = check?;
        if progress(done as u64, total, &check.name).is_break() {
            return Err(Error::Cancelled("stopped while comparing: nothing was written".to_owned()));
        }
        look(quantized, check, &mut facts)?;
    }
    Ok(Collected { facts, plan })
}

/// The last component of a checkpoint's directory: the rest is of this machine alone.
fn name_of(checkpoint: &Checkpoint) -> String {
    let full = std::fs::canonicalize(checkpoint.directory());
    let full = full.unwrap_or_else(|_| checkpoint.directory().to_owned());
    full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn look(quantized: &Checkpoint, check: TensorCheck, facts: &mut Facts) -> Result<()> {
    let TensorCheck { name, verdict } = check;
    let mut find = |words: String| facts.findings.push(Finding { tensor: name.clone(), words });
    let error = match verdict {
        Verdict::Converted(error) => error,
        Verdict::Kept => {
            facts.kept += 1;
            return Ok(());
        }
        Verdict::Missing => {
            find("is missing in the quantized checkpoint".to_owned());
            return Ok(());
        }
        Verdict::Unexpected => {
            find("is in the quantized checkpoint, but not in the source".to_owned());
            return Ok(());
        }
        Verdict::Different(why) => {
            find(why);
            return Ok(());
        }
    };
    let weight = quantized.read_weight(&name)?;
    let largest = count(&weight, &mut facts.distributions);
    if let Some(words) = unlike(&error, largest) {
        facts.findings.push(Finding { tensor: name.clone(), words });
    }
    facts.weights.push(WeightFacts { name, shape: weight.shape().dims().to_vec(), error });
    Ok(())
}

/// Why a weight cannot be a quantization of its source, if it cannot.
fn unlike(error: &QuantError, largest_absmax: f64) -> Option<String> {
    let most = MOST_BY_ROUNDING * largest_absmax;
    // Weights with infinities have no such bound.
    (most.is_finite() && error.max > most).then(|| {
        format!(
            "does not look like a quantization of the source: an element is off by {:.3e}, which is more than \
             rounding can do to blocks with an absmax of up to {largest_absmax:.3e} (SNR {:.2} dB)",
            error.max, error.snr_db
        )
    })
}

/// Counts a weight's codes and absmax values; the largest of them.
fn count(weight: &Weight, distributions: &mut Vec<Distribution>) -> f64 {
    let key = (weight.quant_type(), weight.block_size().get());
    let at = distributions.iter().position(|d| (d.quant_type, d.block_size) == key);
    let at = at.unwrap_or_else(|| {
        let (quant_type, block_size) = key;
        let absmax = Histogram::default();
        distributions.push(Distribution { quant_type, block_size, weights: 0, codes: [0; 16], absmax });
        distributions.len() - 1
    });
    let distribution = &mut distributions[at];
    distribution.weights += 1;
    for (sum, count) in distribution.codes.iter_mut().zip(weight.code_counts()) {
        *sum += count;
    }
    let mut largest = 0.0f64;
    weight.for_each_absmax(|value| {
        distribution.absmax.add(value);
        largest = largest.max(f64::from(value).abs());
    });
    largest
}

fn sizes(source: &Checkpoint, quantized: &Checkpoint) -> Result<Vec<Size>> {
    let config = source.config()?.cloned().unwrap_or_default();
    let hints = Hints::new(&config);
    let size = |label, class| Size { label, class, ..Size::default() };
    let mut sizes = [
        size("4-bit weights", "s0"),
        size("statistics: absmax, code tables, quant states", "s1"),
        size("embeddings and output heads", "s2"),
        size("other tensors: normalization, biases, …", "s3"),
        size("file headers", "s4"),
    ];
    // A tensor of the source is what the quantized checkpoint made of it.
    let kind = |name: &str, dims: &[u64]| {
        let is_matrix = dims.len() == 2 && name.ends_with(".weight");
        let table = || hints.kind(name, dims[0], |other| source.find(other).is_some());
        match () {
            () if quantized.is_weight(name) => 0,
            () if is_matrix && matches!(table(), Kind::Embedding | Kind::Head) => 2,
            () => 3,
        }
    };
    for tensor in source.tensors() {
        let size = &mut sizes[kind(&tensor.name, tensor.shape.dims())];
        size.tensors += 1;
        size.before += tensor.byte_len();
    }
    for entry in quantized.entries() {
        match entry {
            Entry::Tensor(i) => {
                let tensor = &quantized.tensors()[*i];
                sizes[kind(&tensor.name, tensor.shape.dims())].after += tensor.byte_len();
            }
            Entry::Weight(weight) => {
                for (part, i) in &weight.parts {
                    sizes[usize::from(!part.is_empty())].after += quantized.tensors()[*i].byte_len();
                }
            }
        }
    }
    let headers = |c: &Checkpoint| {
        let files: u64 = c.shards().iter().map(|s| s.len()).sum();
        files.saturating_sub(c.tensors().iter().map(|t| t.byte_len()).sum())
    };
    sizes[4].before = headers(source);
    sizes[4].after = headers(quantized);
    Ok(sizes.into())
}

fn provenance(source: &Checkpoint, quantized: &Checkpoint, plan: &Plan) -> Result<Vec<(String, String)>> {
    let config = source.config()?.cloned().unwrap_or_default();
    let written = quantized.config()?.cloned().unwrap_or_default();
    let files = |c: &Checkpoint| {
        let bytes = c.shards().iter().map(|s| s.len()).sum();
        format!("{}, {}", crate::cli::table::count(c.shards().len(), "file"), crate::cli::table::bytes(bytes))
    };
    let mut list = vec![("source".to_owned(), format!("{}: {}", name_of(source), files(source)))];
    list.push(("quantized".to_owned(), format!("{}: {}", name_of(quantized), files(quantized))));
    let model_type = plan.model_type.clone().unwrap_or_else(|| "not given".to_owned());
    list.push(("model type".to_owned(), model_type));
    if let Some(class) = config::architecture(&config) {
        list.push(("class".to_owned(), class.to_owned()));
    }
    list.push(("read by the rules of".to_owned(), format!("profile {}", plan.profile.name())));
    let mode = match plan.mode {
        fourbit::plan::Mode::Table => "the table of architectures",
        fourbit::plan::Mode::Generic => "names, shapes and config: not in the table of architectures",
    };
    list.push(("architecture known from".to_owned(), mode.to_owned()));
    list.push(("load dtype".to_owned(), plan.dtype.torch_name().to_owned()));
    for key in ["transformers_version", "_name_or_path"] {
        for (whose, config) in [("source", &config), ("quantized", &written)] {
            if let Some(value) = config.get(key).and_then(Value::as_str).filter(|v| !v.is_empty()) {
                list.push((format!("{key} ({whose})"), value.to_owned()));
            }
        }
    }
    list.push(("report by".to_owned(), format!("fourbit {}", env!("CARGO_PKG_VERSION"))));
    Ok(list)
}

/// `quantization_config` as it stands, the skip list apart.
fn read_config(quantized: &Checkpoint, facts: &mut Facts) -> Result<()> {
    let config = quantized.config()?.cloned().unwrap_or_default();
    let Some(value) = config::quantization_config(&config) else { return Ok(()) };
    let read = QuantizationConfig::from_value(value)?;
    facts.skip_modules = read.skip_modules.as_deref().map(folded_names);
    for (key, value) in
        value.as_object().into_iter().flatten().filter(|(key, _)| *key != "llm_int8_skip_modules")
    {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        facts.config.push((key.clone(), text));
    }
    Ok(())
}
