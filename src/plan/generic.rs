//! Telling layers apart by name, shape and config alone, for model types that are not in the table.
//!
//! The patterns were tuned on some 400 architectures of transformers 5.23, 4.57 and 4.41.

use std::collections::HashSet;
use std::sync::OnceLock;

use regex_lite::Regex;
use serde_json::Value;

use super::names::{is_number, leaf, module_of, parent};
use crate::config::find_integers;

/// What a 2-D `.weight` is, judging by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A look-up table.
    Embedding,
    /// Held in float32 by the architectures known to do so.
    Fp32,
    /// `out_proj` of an `nn.MultiheadAttention`: a subclass of `nn.Linear`, which only 4.x converts.
    AttentionOut,
    /// Output head.
    Head,
    /// Normalization.
    Norm,
    /// Router of a mixture of experts.
    Router,
    /// A linear layer.
    Linear,
}

/// Largest number of rows of a router without a stated number of experts.
const MAX_ROUTER_ROWS: u64 = 512;
/// Fewer classes than this say nothing about being a vocabulary.
const MIN_VOCAB: u64 = 1000;

/// Every name of an embedding has one of these, or a single letter.
const EMBEDDING_PARTS: [&str; 9] =
    ["emb", "token", "wte", "wpe", "shared", "bias", "position", "codebook", "pe_"];

/// What the config says that names alone do not.
#[derive(Debug, Default)]
pub struct Hints {
    vocab: HashSet<u64>,
    experts: HashSet<u64>,
    hidden: HashSet<u64>,
}

impl Hints {
    /// Collects vocabulary sizes, numbers of experts and hidden sizes, nested configs included.
    pub fn new(config: &Value) -> Self {
        let all = |keys: &[&'static str]| -> HashSet<u64> {
            keys.iter().flat_map(|key| find_integers(config, key)).collect()
        };
        Hints {
            vocab: all(&["vocab_size", "padded_vocab_size"]),
            experts: all(&[
                "num_experts",
                "n_routed_experts",
                "num_local_experts",
                "moe_num_experts",
                "num_routed_experts",
            ]),
            hidden: all(&["hidden_size", "d_model", "n_embd"]),
        }
    }

    /// Whether the config states so many experts.
    pub fn is_expert_count(&self, count: u64) -> bool {
        self.experts.contains(&count)
    }

    /// Whether the config states this hidden size.
    pub fn is_hidden_size(&self, size: u64) -> bool {
        self.hidden.contains(&size)
    }

    /// Judges the 2-D weight `tensor` of so many rows. `exists` tells whether the checkpoint has a
    /// tensor of a given name.
    pub fn kind(&self, tensor: &str, rows: u64, exists: impl Fn(&str) -> bool) -> Kind {
        let module = module_of(tensor);
        let (leaf, above) = (leaf(module), parent(module));
        let r = rules();
        let vocab = self.vocab.contains(&rows);
        if self.is_embedding(module, rows) {
            Kind::Embedding
        } else if r.fp32.is_match(module) {
            Kind::Fp32
        } else if leaf == "out_proj" && exists(&format!("{above}.in_proj_weight")) {
            Kind::AttentionOut
        } else if r.head.is_match(leaf) || (r.head_if_vocab.is_match(leaf) && vocab) {
            Kind::Head
        } else if r.norm.is_match(leaf) {
            Kind::Norm
        } else if self.is_router(module, rows) {
            Kind::Router
        } else if vocab && rows > MIN_VOCAB && !matches!(leaf, "up_proj" | "gate_proj" | "down_proj") {
            Kind::Head
        } else {
            Kind::Linear
        }
    }

    /// Whether a module's name says embedding, or its rows are those of a vocabulary and its name does
    /// not contradict.
    pub fn is_embedding(&self, module: &str, rows: u64) -> bool {
        let mut name = leaf(module);
        let owner = leaf(parent(module));
        if is_number(name) && (owner.contains("embed") || owner.contains("emb_layers")) {
            name = owner;
        }
        let vocab = rows > MIN_VOCAB && self.vocab.contains(&rows);
        (vocab && name.contains("emb")) || is_embedding_leaf(name)
    }

    /// Whether a module's name says router and its rows do not contradict.
    pub fn is_router(&self, module: &str, rows: u64) -> bool {
        let may_be = matches!(leaf(module), "gate" | "router" | "layer" | "classifier" | "wg" | "moe_gate");
        may_be && (rows <= MAX_ROUTER_ROWS || self.experts.contains(&rows)) && rules().router.is_match(module)
    }
}

/// Whether a last component names an embedding.
pub fn is_embedding_leaf(leaf: &str) -> bool {
    // Most names have none of these, and the expressions below are slow.
    if leaf.len() > 1 && !EMBEDDING_PARTS.iter().any(|part| leaf.contains(part)) {
        return false;
    }
    let r = rules();
    if !(r.embedding.is_match(leaf) || leaf == "emb_layers") {
        return false;
    }
    let judged = leaf.replace("input_embedding", "");
    !r.no_embedding.is_match(if judged.is_empty() { "emb" } else { &judged })
}

/// Whether a path goes through a numbered expert.
pub fn is_expert(module: &str) -> bool {
    let mut after = module.match_indices(".experts.").map(|(at, found)| &module[at + found.len()..]);
    after.any(|rest| is_number(rest.split('.').next().unwrap_or_default()))
}

struct Rules {
    embedding: Regex,
    no_embedding: Regex,
    fp32: Regex,
    head: Regex,
    head_if_vocab: Regex,
    norm: Regex,
    router: Regex,
}

fn rules() -> &'static Rules {
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(|| {
        let compile = |pattern: &str| Regex::new(pattern).expect("a constant pattern");
        Rules {
            embedding: compile(concat!(
                r"^(?:wte|wpe|shared|w|tok_emb|embed_in|embed_pos(?:itions)?|pos_embed(?:s|ding|dings)?",
                r"|(?:.*_)?(?:embed(?:ding)?s?|emb)(?:_tokens)?(?:_per_layer|_table)?|embed_tokens_\w+",
                r"|(?:relative_)?attention_bias|input_embedding|embed_global|(?:row|column)_embedder",
                r"|bias_values|position_ids|codebook|.*_codebook|.*(?:_|^)tokens?|.*_tokens?_type",
                r"|.*_position_bias|.*_positional_encoding|pe_k|pe_v)$"
            )),
            no_embedding: compile(concat!(
                r"proj|dense|mapping|linear|hidden|transform|gate|patch_embed|class_embed|bbox_embed",
                r"|vision_embed_tokens|embed_(?:return|state|action|timestep)|decoder_embed|predictor_embed"
            )),
            fp32: compile(r"DenseReluDense\.wo$|(?:^|\.)layer\.\d+\.mlp\.wo$|indexer\.weights_proj$"),
            head: compile(concat!(
                r"^(?:lm_head|embed_out|proj_out|output_projection|vocab_projector|generator_lm_head",
                r"|logits_dense|output_embeddings|lm_loss|score|qa_outputs|codebook_head|audio_head",
                r"|wp_head|ctc_head)$"
            )),
            head_if_vocab: compile(r"^(?:decoder|output|head|predictions?|ff_out|linear|lm_head_.*)$"),
            norm: compile(r"(?:^|[._])(?:layer)?norm(?:s|_?\w)?$|_norm$|layer_norm"),
            router: compile(r"(?:^|\.)(?:gate|router|router\.layer|router\.classifier|gate\.wg|moe_gate)$"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_of_every_kind() {
        let config = json!({"vocab_size": 32000, "text_config": {"num_experts": 640}});
        let hints = Hints::new(&config);
        let exists = |name: &str| name == "enc.attn.in_proj_weight";
        let cases = [
            ("model.embed_tokens.weight", 32000, Kind::Embedding),
            ("transformer.wpe.weight", 1024, Kind::Embedding),
            ("x.input_embedding.weight", 7, Kind::Embedding),
            ("vision.patch_embed.proj.weight", 64, Kind::Linear),
            ("encoder.block.0.layer.1.DenseReluDense.wo.weight", 64, Kind::Fp32),
            ("enc.attn.out_proj.weight", 64, Kind::AttentionOut),
            ("dec.attn.out_proj.weight", 64, Kind::Linear),
            ("lm_head.weight", 32000, Kind::Head),
            ("output.weight", 32000, Kind::Head),
            ("layer.0.output.weight", 64, Kind::Linear),
            ("x.q_norm.weight", 64, Kind::Norm),
            ("model.layers.0.mlp.gate.weight", 640, Kind::Router),
            ("model.layers.0.mlp.gate.weight", 700, Kind::Linear),
            ("model.layers.0.mlp.gate_proj.weight", 128, Kind::Linear),
        ];
        for (name, rows, expected) in cases {
            assert_eq!(hints.kind(name, rows, exists), expected, "{name}");
        }
        assert!(is_expert("model.layers.0.mlp.experts.11.w1"));
        assert!(!is_expert("model.layers.0.mlp.shared_experts.gate_proj"));
    }
}
