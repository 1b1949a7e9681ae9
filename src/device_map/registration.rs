//! The order in which a model registers its modules. Files do not keep it (safetensors are sorted by
//! name), but packing goes by it: embeddings come first, layers by number, heads last.

use std::cmp::Ordering;

use crate::plan::natural_order;

/// Compares two paths as their modules follow one another in the model; what lies below a module follows
/// it.
pub(super) fn registration_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        match (left.next(), right.next()) {
            (Some(x), Some(y)) if x == y => {}
            (Some(x), Some(y)) => {
                return rank(x).cmp(&rank(y)).then_with(|| natural_order(x, y)).then_with(|| x.cmp(y));
            }
            (x, y) => return x.is_some().cmp(&y.is_some()),
        }
    }
}

/// The usual place of a module among its neighbours, by its name.
fn rank(component: &str) -> u8 {
    const HEADS: [&str; 15] = [
        "lm_head",
        "embed_out",
        "score",
        "classifier",
        "qa_outputs",
        "output_projection",
        "predictions",
        "cls",
        "pooler",
        "head",
        "out_proj",
        "lm_heads",
        "codebooks_head",
        "proj_out",
        "unembed",
    ];
    const NORMS: [&str; 10] = [
        "norm",
        "ln_f",
        "norm_f",
        "final_layer_norm",
        "final_layernorm",
        "layer_norm",
        "layernorm",
        "embedding_norm",
        "ln_post",
        "post_layernorm",
    ];
    const EMBEDDINGS: [&str; 5] = ["wte", "shared", "tokens_embed", "tok_embeddings", "patch_embed"];
    let starts = |starts: &[&str]| starts.iter().any(|start| component.starts_with(start));
    let contains = |parts: &[&str]| parts.iter().any(|part| component.contains(part));
    match component {
        _ if HEADS.contains(&component) => 9,
        _ if NORMS.contains(&component) => 7,
        // Positions and types are added to words.
        "wpe" => 1,
        _ if component.contains("embed") && contains(&["pos", "type", "per_layer", "proj"]) => 1,
        _ if EMBEDDINGS.contains(&component) || component.contains("embed") => 0,
        _ if starts(&["conv", "feature_", "subsampl"]) => 2,
        _ if starts(&["vision", "visual", "image", "audio", "speech"]) => 3,
        _ if starts(&["multi_modal", "connector", "aligner", "mm_proj", "projector"]) => 4,
        _ if starts(&["encoder"]) => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_models_register_them() {
        let order = [
            "",
            "model",
            "model.embed_tokens",
            "model.layers",
            "model.layers.2",
            "model.layers.2.mlp",
            "model.layers.10",
            "model.norm",
            "lm_head",
        ];
        for (i, a) in order.iter().enumerate().skip(1) {
            for (j, b) in order.iter().enumerate().skip(1) {
                assert_eq!(registration_order(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for pair in [["wte", "h"], ["shared", "encoder"], ["encoder", "decoder"], ["layers", "norm"]] {
            assert_eq!(registration_order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }
}
