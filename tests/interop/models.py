"""Small models with random weights, each standing for a kind of checkpoint.   models.py OUTPUT_DIRECTORY"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
import transformers as T  # noqa: E402

# Widths are multiples of 64: bitsandbytes' own CPU kernels take no others, or are wrong there.
COMMON = dict(
    vocab_size=320, hidden_size=128, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
GPT2 = dict(vocab_size=320, n_embd=128, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2)
OPT = dict(
    vocab_size=320, hidden_size=128, ffn_dim=256, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=128, word_embed_proj_dim=128,
)  # fmt: skip

MODELS = {
    "llama": (torch.bfloat16, lambda: T.LlamaForCausalLM(T.LlamaConfig(**COMMON, tie_word_embeddings=False))),
    "llama-fp32": (torch.float32, lambda: T.LlamaForCausalLM(T.LlamaConfig(**COMMON, tie_word_embeddings=False))),
    # Biases, and a head that is the embedding.
    "qwen2": (torch.bfloat16, lambda: T.Qwen2ForCausalLM(T.Qwen2Config(**COMMON, tie_word_embeddings=True))),
    # Conv1D stores its weights transposed.
    "gpt2": (torch.float16, lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2))),
    "opt": (torch.bfloat16, lambda: T.OPTForCausalLM(T.OPTConfig(**OPT))),
    # Experts, which transformers 5 fuses when it loads.
    "mixtral": (torch.bfloat16, lambda: T.MixtralForCausalLM(T.MixtralConfig(**COMMON, num_local_experts=4))),
}


def main(out):
    T.logging.disable_progress_bar()
    for seed, (name, (dtype, make)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model = make()
        with torch.no_grad():  # fresh models have norms of 1 and biases of 0
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.03)
        model.to(dtype).save_pretrained(os.path.join(out, name))


if __name__ == "__main__":
    main(sys.argv[1])
