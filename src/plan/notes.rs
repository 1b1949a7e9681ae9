//! What a person should know about a plan besides its tensors.

use super::architecture::Architecture;
use super::decide::{Verdict, Version};
use super::generic::is_expert;
use super::options::{Experts, PlanOptions};
use super::reason::{Converted, Kept};
use super::types::{Profile, SourceTensor};
use crate::dtype::DType;

/// Notes, the most important ones first.
pub fn notes(
    architecture: &Architecture,
    tensors: &[SourceTensor],
    verdicts: &[Verdict],
    options: &PlanOptions,
    idle_patterns: &[String],
    by_version: &[(Version, usize)],
) -> Vec<String> {
    let mut notes = Vec::new();
    if !verdicts.iter().any(Result::is_ok) {
        notes.push("no linear layer to convert was found: nothing becomes 4-bit".to_owned());
        let alone = by_version.iter().filter(|(_, count)| *count > 0);
        notes.extend(alone.map(|(version, count)| {
            format!(
                "{} by itself would convert {count} layers (profile {})",
                version.name(),
                version.profile()
            )
        }));
    }
    notes.extend(known(architecture, options.profile));
    notes.extend(fused_experts(verdicts, options));
    notes.extend(experts(tensors, verdicts, options));
    notes.extend(doubles(tensors));
    notes.extend(replaced_list(tensors, verdicts, options));
    for pattern in idle_patterns {
        notes.push(format!("\"{pattern}\" names no module of this checkpoint"));
    }
    notes
}

fn known(architecture: &Architecture, profile: Profile) -> Option<String> {
    let Some(row) = &architecture.row else {
        return Some(match architecture.model_type {
            Some(name) => format!(
                "model type \"{name}\" is not in the table of architectures: names, shapes and config decided"
            ),
            None => "config.json names no model_type: names, shapes and config decided".to_owned(),
        });
    };
    let name = architecture.model_type.unwrap_or_default();
    match (row.only.as_deref(), profile) {
        (Some("v5"), Profile::V4 | Profile::V441) => {
            return Some(format!(
                "transformers 4.57 does not know \"{name}\": its rules were applied all the same"
            ));
        }
        (Some("v4"), Profile::V5) => {
            return Some(format!(
                "transformers 5 does not know \"{name}\": its rules were applied all the same"
            ));
        }
        _ => {}
    }
    let class = architecture.class.filter(|_| !architecture.is_own_class())?;
    Some(format!("saved as {class}, while the table describes {}: heads were found by name", row.arch))
}

/// Who reads fused experts in 4 bits.
fn fused_experts(verdicts: &[Verdict], options: &PlanOptions) -> Option<String> {
    if verdicts.iter().any(|v| matches!(v, Ok(Converted::FusedExperts(_)))) {
        return Some(
            "fused experts are 4-bit weights of three dimensions: only this library reads the result \
             (fourbit_weight_expert and fourbit_grouped_gemm), no version of transformers, nor vLLM or SGLang"
                .to_owned(),
        );
    }
    (options.experts == Experts::FusedFourBit)
        .then(|| "experts \"fused4bit\": no fused experts were converted".to_owned())
}

fn experts(tensors: &[SourceTensor], verdicts: &[Verdict], options: &PlanOptions) -> Option<String> {
    let mut each = tensors.iter().zip(verdicts).filter(|(t, _)| is_expert(&t.name)).map(|(_, v)| v);
    let any_converted = each.clone().any(Result::is_ok);
    let any_kept = each.any(|v| matches!(v, Err(Kept::Expert)));
    match options.profile {
        _ if any_converted => Some(
            "experts are 4-bit one by one: transformers 4, vLLM and SGLang read this, transformers 5 does not"
                .to_owned(),
        ),
        Profile::Portable if any_kept && options.experts == Experts::Auto => Some(
            "experts stay in 16 bit, so that transformers 5 reads the result, which fuses them; as 4-bit \
             layers they are read by transformers 4, vLLM and SGLang only"
                .to_owned(),
        ),
        _ => None,
    }
}

/// transformers loads whatever is a float in the load dtype.
fn doubles(tensors: &[SourceTensor]) -> Option<String> {
    let count = tensors.iter().filter(|t| t.dtype == DType::F64).count();
    (count > 0).then(|| {
        format!("{count} tensor(s) are stored as F64: they are cast like all floats, as transformers does")
    })
}

fn replaced_list(tensors: &[SourceTensor], verdicts: &[Verdict], options: &PlanOptions) -> Option<String> {
    let replaced = options.skip.is_some() && options.profile != Profile::Portable;
    let head = |(t, v): &(&SourceTensor, &Verdict)| v.is_ok() && t.name.ends_with("lm_head.weight");
    let (head, _) = tensors.iter().zip(verdicts).find(head).filter(|_| replaced)?;
    Some(format!(
        "the skip list takes the place of the automatic one, and does not name \"{}\": it is quantized",
        head.name
    ))
}
