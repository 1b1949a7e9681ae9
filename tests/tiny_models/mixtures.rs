//! Mixtures of experts: one linear layer per expert, and fused in both orientations.

use serde_json::json;

use super::TinyModel;

pub const VOCAB: u64 = 128;
pub const HIDDEN: u64 = 64;
pub const EXPERTS: u64 = 4;

fn start(model_type: &str, class: &str, ffn: u64) -> TinyModel {
    let rest = json!({"vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": ffn,
        "moe_intermediate_size": ffn, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 4, "num_experts": EXPERTS, "num_local_experts": EXPERTS,
        "num_experts_per_tok": 2, "tie_word_embeddings": false});
    let mut model = TinyModel::new(model_type, class, rest);
    let attention = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| (name, [HIDDEN, HIDDEN]));
    model.add("model.embed_tokens.weight", &[VOCAB, HIDDEN]);
    model.add_layers("model.layers.0.self_attn", &attention);
    let norms = ["input_layernorm", "post_attention_layernorm"];
    model.add_norms("model.layers.0", &norms, HIDDEN, false).add_norms("model", &["norm"], HIDDEN, false);
    model.add("lm_head.weight", &[VOCAB, HIDDEN]);
    model
}

/// As transformers 4 saves it: three linear layers per expert.
pub fn mixtral() -> TinyModel {
    let mut model = start("mixtral", "MixtralForCausalLM", 96);
    let moe = "model.layers.0.block_sparse_moe";
    model.add(format!("{moe}.gate.weight"), &[EXPERTS, HIDDEN]);
    for expert in 0..EXPERTS {
        let layers = [("w1", [96, HIDDEN]), ("w2", [HIDDEN, 96]), ("w3", [96, HIDDEN])];
        model.add_layers(&format!("{moe}.experts.{expert}"), &layers);
    }
    model
}

/// As transformers 5 has it in memory: `[experts, out, in]`.
pub fn qwen3_moe(ffn: u64) -> TinyModel {
    let mut model = start("qwen3_moe", "Qwen3MoeForCausalLM", ffn);
    let norms = ["q_norm", "k_norm"];
    model.add_norms("model.layers.0.self_attn", &norms, 16, false);
    model.add("model.layers.0.mlp.gate.weight", &[EXPERTS, HIDDEN]);
    model.add("model.layers.0.mlp.experts.gate_up_proj", &[EXPERTS, 2 * ffn, HIDDEN]);
    model.add("model.layers.0.mlp.experts.down_proj", &[EXPERTS, HIDDEN, ffn]);
    model
}

/// `[experts, in, out]`, with biases.
pub fn gpt_oss(ffn: u64) -> TinyModel {
    let mut model = start("gpt_oss", "GptOssForCausalLM", ffn);
    let mlp = "model.layers.0.mlp";
    model
        .add(format!("{mlp}.router.weight"), &[EXPERTS, HIDDEN])
        .add(format!("{mlp}.router.bias"), &[EXPERTS]);
    model.add(format!("{mlp}.experts.gate_up_proj"), &[EXPERTS, HIDDEN, 2 * ffn]);
    model.add(format!("{mlp}.experts.gate_up_proj_bias"), &[EXPERTS, 2 * ffn]);
    model.add(format!("{mlp}.experts.down_proj"), &[EXPERTS, ffn, HIDDEN]);
    model.add(format!("{mlp}.experts.down_proj_bias"), &[EXPERTS, HIDDEN]);
    model
}

/// `[experts, out, in]` under names without "experts".
pub fn granitemoe() -> TinyModel {
    let mut model = start("granitemoe", "GraniteMoeForCausalLM", 96);
    let moe = "model.layers.0.block_sparse_moe";
    model.add(format!("{moe}.router.layer.weight"), &[EXPERTS, HIDDEN]);
    model.add(format!("{moe}.input_linear.weight"), &[EXPERTS, 192, HIDDEN]);
    model.add(format!("{moe}.output_linear.weight"), &[EXPERTS, HIDDEN, 96]);
    model
}
