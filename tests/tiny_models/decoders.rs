//! Decoders, a layer or two each.

use serde_json::{Value, json};

use super::TinyModel;

const VOCAB: u64 = 128;
const HIDDEN: u64 = 64;
const FFN: u64 = 96;

/// `model.layers.N.{self_attn,mlp}` and the norms around them.
fn llama_like(model: &mut TinyModel, norms: &[&str], heads: [u64; 2], extra: &dyn Fn(&mut TinyModel, &str)) {
    let [q, kv] = heads;
    model.add("model.embed_tokens.weight", &[VOCAB, HIDDEN]);
    for layer in 0..2 {
        let prefix = format!("model.layers.{layer}");
        let attention = [
            ("self_attn.q_proj", [q, HIDDEN]),
            ("self_attn.k_proj", [kv, HIDDEN]),
            ("self_attn.v_proj", [kv, HIDDEN]),
            ("self_attn.o_proj", [HIDDEN, q]),
        ];
        let mlp = [
            ("mlp.gate_proj", [FFN, HIDDEN]),
            ("mlp.up_proj", [FFN, HIDDEN]),
            ("mlp.down_proj", [HIDDEN, FFN]),
        ];
        model.add_layers(&prefix, &attention).add_layers(&prefix, &mlp);
        model.add_norms(&prefix, norms, HIDDEN, false);
        extra(model, &prefix);
    }
    model.add("model.norm.weight", &[HIDDEN]);
}

fn config(tie: bool) -> Value {
    json!({"vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": tie})
}

const NORMS: [&str; 2] = ["input_layernorm", "post_attention_layernorm"];

pub fn llama() -> TinyModel {
    let mut model = TinyModel::new("llama", "LlamaForCausalLM", config(false));
    llama_like(&mut model, &NORMS, [64, 32], &|_, _| ());
    model.add("lm_head.weight", &[VOCAB, HIDDEN]);
    model
}

pub fn mistral() -> TinyModel {
    let mut model = TinyModel::new("mistral", "MistralForCausalLM", config(false));
    llama_like(&mut model, &NORMS, [64, 32], &|_, _| ());
    model.add("lm_head.weight", &[VOCAB, HIDDEN]);
    model
}

pub fn qwen2() -> TinyModel {
    let mut model = TinyModel::new("qwen2", "Qwen2ForCausalLM", config(true));
    llama_like(&mut model, &NORMS, [64, 32], &|model, prefix| {
        for (name, len) in [("q", 64), ("k", 32), ("v", 32)] {
            model.add(format!("{prefix}.self_attn.{name}_proj.bias"), &[len]);
        }
    });
    model
}

pub fn qwen3() -> TinyModel {
    let mut model = TinyModel::new("qwen3", "Qwen3ForCausalLM", config(true));
    llama_like(&mut model, &NORMS, [64, 32], &|model, prefix| {
        model.add_norms(&format!("{prefix}.self_attn"), &["q_norm", "k_norm"], 16, false);
    });
    model
}

pub fn gemma2() -> TinyModel {
    let mut model = TinyModel::new("gemma2", "Gemma2ForCausalLM", config(true));
    let norms = [
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ];
    llama_like(&mut model, &norms, [128, 64], &|_, _| ());
    model
}

/// Weights of its Conv1D modules are `[in, out]`.
pub fn gpt2() -> TinyModel {
    let rest = json!({"vocab_size": VOCAB, "n_embd": HIDDEN, "n_layer": 1, "n_head": 4, "n_positions": 32,
        "tie_word_embeddings": true});
    let mut model = TinyModel::new("gpt2", "GPT2LMHeadModel", rest);
    model.add("transformer.wte.weight", &[VOCAB, HIDDEN]).add("transformer.wpe.weight", &[32, HIDDEN]);
    let layers = [
        ("attn.c_attn", [HIDDEN, 3 * HIDDEN]),
        ("attn.c_proj", [HIDDEN, HIDDEN]),
        ("mlp.c_fc", [HIDDEN, 4 * HIDDEN]),
        ("mlp.c_proj", [4 * HIDDEN, HIDDEN]),
    ];
    for (name, dims) in layers {
        model.add(format!("transformer.h.0.{name}.weight"), &dims);
        model.add(format!("transformer.h.0.{name}.bias"), &dims[1..]);
    }
    model.add_norms("transformer.h.0", &["ln_1", "ln_2"], HIDDEN, true);
    model.add_norms("transformer", &["ln_f"], HIDDEN, true);
    model
}

pub fn opt() -> TinyModel {
    let rest = json!({"vocab_size": VOCAB, "hidden_size": HIDDEN, "ffn_dim": FFN, "num_hidden_layers": 1,
        "num_attention_heads": 4, "word_embed_proj_dim": HIDDEN, "max_position_embeddings": 32,
        "tie_word_embeddings": true});
    let mut model = TinyModel::new("opt", "OPTForCausalLM", rest);
    model.add("model.decoder.embed_tokens.weight", &[VOCAB, HIDDEN]);
    model.add("model.decoder.embed_positions.weight", &[34, HIDDEN]);
    let square = [HIDDEN, HIDDEN];
    let names = ["q_proj", "k_proj", "v_proj", "out_proj"].map(|name| (name, square));
    model.add_biased("model.decoder.layers.0.self_attn", &names);
    model.add_biased("model.decoder.layers.0", &[("fc1", [FFN, HIDDEN]), ("fc2", [HIDDEN, FFN])]);
    let norms = ["self_attn_layer_norm", "final_layer_norm"];
    model.add_norms("model.decoder.layers.0", &norms, HIDDEN, true);
    model.add_norms("model.decoder", &["final_layer_norm"], HIDDEN, true);
    model
}

fn query_key_value(model: &mut TinyModel) {
    let prefix = "transformer.h.0";
    let layers = [
        ("self_attention.query_key_value", [3 * HIDDEN, HIDDEN]),
        ("self_attention.dense", [HIDDEN, HIDDEN]),
        ("mlp.dense_h_to_4h", [4 * HIDDEN, HIDDEN]),
        ("mlp.dense_4h_to_h", [HIDDEN, 4 * HIDDEN]),
    ];
    model.add("transformer.word_embeddings.weight", &[VOCAB, HIDDEN]);
    model.add_biased(prefix, &layers);
    model.add_norms(prefix, &["input_layernorm", "post_attention_layernorm"], HIDDEN, true);
    model.add_norms("transformer", &["ln_f"], HIDDEN, true);
}

fn one_layer() -> Value {
    json!({"vocab_size": VOCAB, "hidden_size": HIDDEN, "n_layer": 1, "num_hidden_layers": 1, "n_head": 4,
        "num_attention_heads": 4, "tie_word_embeddings": true})
}

pub fn bloom() -> TinyModel {
    let mut model = TinyModel::new("bloom", "BloomForCausalLM", one_layer());
    query_key_value(&mut model);
    model.add_norms("transformer", &["word_embeddings_layernorm"], HIDDEN, true);
    model
}

pub fn falcon() -> TinyModel {
    let mut model = TinyModel::new("falcon", "FalconForCausalLM", one_layer());
    query_key_value(&mut model);
    model
}

pub fn mamba() -> TinyModel {
    let (inner, state, rank) = (2 * HIDDEN, 16, 4);
    let rest = json!({"vocab_size": VOCAB, "hidden_size": HIDDEN, "num_hidden_layers": 1, "state_size": state,
        "time_step_rank": rank, "intermediate_size": inner, "tie_word_embeddings": true});
    let mut model = TinyModel::new("mamba", "MambaForCausalLM", rest);
    model.add("backbone.embeddings.weight", &[VOCAB, HIDDEN]);
    let mixer = "backbone.layers.0.mixer";
    let layers = [
        ("in_proj", [2 * inner, HIDDEN]),
        ("x_proj", [rank + 2 * state, inner]),
        ("dt_proj", [inner, rank]),
        ("out_proj", [HIDDEN, inner]),
    ];
    model.add_layers(mixer, &layers).add(format!("{mixer}.dt_proj.bias"), &[inner]);
    model.add(format!("{mixer}.A_log"), &[inner, state]).add(format!("{mixer}.D"), &[inner]);
    model.add(format!("{mixer}.conv1d.weight"), &[inner, 1, 4]).add(format!("{mixer}.conv1d.bias"), &[inner]);
    model.add("backbone.layers.0.norm.weight", &[HIDDEN]).add("backbone.norm_f.weight", &[HIDDEN]);
    model
}
