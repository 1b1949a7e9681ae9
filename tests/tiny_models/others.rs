//! Encoders and encoder-decoders.

use serde_json::json;

use super::TinyModel;

const VOCAB: u64 = 128;
const HIDDEN: u64 = 64;
const FFN: u64 = 96;

/// `wo` of its feed-forward layers is held in float32 and never quantized.
pub fn t5() -> TinyModel {
    let rest = json!({"vocab_size": VOCAB, "d_model": HIDDEN, "d_ff": FFN, "d_kv": 16, "num_heads": 4,
        "num_layers": 1, "num_decoder_layers": 1, "is_encoder_decoder": true, "tie_word_embeddings": true});
    let mut model = TinyModel::new("t5", "T5ForConditionalGeneration", rest);
    model.add("shared.weight", &[VOCAB, HIDDEN]);
    let square = ["q", "k", "v", "o"].map(|name| (name, [HIDDEN, HIDDEN]));
    for (stack, blocks) in [("encoder", 2), ("decoder", 3)] {
        let block = format!("{stack}.block.0.layer");
        model.add_layers(&format!("{block}.0.SelfAttention"), &square);
        model.add(format!("{block}.0.SelfAttention.relative_attention_bias.weight"), &[32, 4]);
        if stack == "decoder" {
            model.add_layers(&format!("{block}.1.EncDecAttention"), &square);
        }
        let ffn = [("wi", [FFN, HIDDEN]), ("wo", [HIDDEN, FFN])];
        model.add_layers(&format!("{block}.{}.DenseReluDense", blocks - 1), &ffn);
        for layer in 0..blocks {
            model.add(format!("{block}.{layer}.layer_norm.weight"), &[HIDDEN]);
        }
        model.add(format!("{stack}.final_layer_norm.weight"), &[HIDDEN]);
    }
    model
}

/// With both heads of pre-training: a tied decoder, and `seq_relationship`, the last parameter.
pub fn bert() -> TinyModel {
    let rest = json!({"vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 32, "type_vocab_size": 2,
        "tie_word_embeddings": true});
    let mut model = TinyModel::new("bert", "BertForPreTraining", rest);
    let embeddings = "bert.embeddings";
    let tables = [
        ("word_embeddings", [VOCAB, HIDDEN]),
        ("position_embeddings", [32, HIDDEN]),
        ("token_type_embeddings", [2, HIDDEN]),
    ];
    model.add_layers(embeddings, &tables).add_norms(embeddings, &["LayerNorm"], HIDDEN, true);
    let layer = "bert.encoder.layer.0";
    let layers = [
        ("attention.self.query", [HIDDEN, HIDDEN]),
        ("attention.self.key", [HIDDEN, HIDDEN]),
        ("attention.self.value", [HIDDEN, HIDDEN]),
        ("attention.output.dense", [HIDDEN, HIDDEN]),
        ("intermediate.dense", [FFN, HIDDEN]),
        ("output.dense", [HIDDEN, FFN]),
    ];
    model.add_biased(layer, &layers);
    model.add_norms(layer, &["attention.output.LayerNorm", "output.LayerNorm"], HIDDEN, true);
    model.add_biased("bert.pooler", &[("dense", [HIDDEN, HIDDEN])]);
    model.add("cls.predictions.bias", &[VOCAB]);
    model.add_biased("cls.predictions.transform", &[("dense", [HIDDEN, HIDDEN])]);
    model.add_norms("cls.predictions.transform", &["LayerNorm"], HIDDEN, true);
    model.add_biased("cls", &[("seq_relationship", [2, HIDDEN])]);
    model
}
