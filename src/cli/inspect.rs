//! `fourbit inspect`: what a checkpoint holds.

use serde_json::{Value, json};

use fourbit::checkpoint::{Checkpoint, Entry};
use fourbit::{Result, Weight};

use super::args::InspectArgs;
use super::{Answer, print, table};

/// One line of the listing.
struct Line {
    name: String,
    what: String,
    shape: Vec<u64>,
    bytes: u64,
    weight: Option<Weight>,
}

pub(crate) fn run(args: &InspectArgs) -> Result<Answer> {
    let checkpoint = Checkpoint::open(&args.path)?;
    let lines = checkpoint.entries().iter().map(|e| line(&checkpoint, e)).collect::<Result<Vec<_>>>()?;
    if args.json {
        print(&format!("{:#}", to_json(&checkpoint, &lines)?));
    } else {
        print(&to_text(&checkpoint, &lines));
    }
    Ok(Answer::Yes)
}

fn line(checkpoint: &Checkpoint, entry: &Entry) -> Result<Line> {
    let tensors = checkpoint.tensors();
    Ok(match entry {
        Entry::Tensor(i) => Line {
            name: tensors[*i].name.clone(),
            what: tensors[*i].dtype.safetensors_name().into(),
            shape: tensors[*i].shape.dims().to_vec(),
            bytes: tensors[*i].byte_len(),
            weight: None,
        },
        Entry::Weight(parts) => {
            let weight = checkpoint.weight(&parts.name)?;
            Line {
                name: parts.name.clone(),
                what: describe(&weight),
                shape: weight.shape().dims().to_vec(),
                bytes: weight.byte_size(),
                weight: Some(weight),
            }
        }
    })
}

/// `nf4/64 double, from bfloat16`
fn describe(weight: &Weight) -> String {
    let double = if weight.is_double_quantized() { " double" } else { "" };
    format!(
        "{}/{}{double}, from {}",
        weight.quant_type().name(),
        weight.block_size().get(),
        weight.dtype().torch_name()
    )
}

fn to_text(checkpoint: &Checkpoint, lines: &[Line]) -> String {
    let mut listing = table::new(&["tensor", "type", "shape", "bytes"], &["bytes"]);
    for line in lines {
        listing.add_row([
            line.name.clone(),
            line.what.clone(),
            table::shape(&line.shape),
            line.bytes.to_string(),
        ]);
    }
    let weights = lines.iter().filter(|l| l.weight.is_some()).count();
    let bytes = lines.iter().map(|l| l.bytes).sum();
    format!(
        "{listing}\n{} file(s), {} tensors: {weights} in 4 bits, {} plain; {}",
        checkpoint.shards().len(),
        lines.len(),
        lines.len() - weights,
        table::bytes(bytes)
    )
}

fn to_json(checkpoint: &Checkpoint, lines: &[Line]) -> Result<Value> {
    let tensors: Vec<Value> = lines
        .iter()
        .map(|l| match &l.weight {
            None => {
                json!({"name": l.name, "kind": "tensor", "dtype": l.what, "shape": l.shape, "bytes": l.bytes})
            }
            Some(w) => json!({
                "name": l.name,
                "kind": "weight",
                "quant_type": w.quant_type().name(),
                "block_size": w.block_size().get(),
                "double_quant": w.is_double_quantized(),
                "dtype": w.dtype().torch_name(),
                "storage": w.storage().torch_name(),
                "shape": l.shape,
                "bytes": l.bytes,
            }),
        })
        .collect();
    let files: Vec<String> = checkpoint.shards().iter().map(|s| s.path().display().to_string()).collect();
    let config = checkpoint.config()?.cloned().unwrap_or_default();
    Ok(json!({
        "files": files,
        "model_type": config["model_type"],
        "quantization_config": config["quantization_config"],
        "tensors": tensors,
    }))
}
