#!/usr/bin/env python3
"""Golden plans of classes that src/plan/table.json does not describe (classifiers, base models, …).

  plan_classes.py OUT.json     with the transformers (4.57 or 5.x), torch, accelerate and bitsandbytes installed

Each class is built on the meta device with a small config, and transformers' own functions are asked which
modules would become Linear4bit. Rows are [converted, class of the owning module, shape].
"""
import contextlib
import json
import os
import re
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers as T
from transformers.modeling_utils import PreTrainedModel
from transformers.pytorch_utils import Conv1D

V5 = T.__version__.startswith("5")
if V5:
    from transformers.initialization import no_init_weights, no_tie_weights
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module
else:
    from transformers.integrations import get_keys_to_not_convert
    from transformers.modeling_utils import no_init_weights

    no_tie_weights = contextlib.nullcontext

FAMILIES = """Llama Mistral Qwen2 Qwen3 Gemma Gemma2 GPT2 OPT Bert Roberta DistilBert Electra Albert T5 Bart GPTNeoX
GPTNeo Bloom Falcon Phi Phi3 Mpt GPTJ ViT Deit Dinov2 Wav2Vec2 Hubert Camembert MPNet LayoutLM StableLm Starcoder2
Mixtral Qwen2Moe ModernBert Qwen3Moe GPTBigCode MBart CTRL ConvBert Swin Beit Segformer Whisper MT5 UMT5 Nemotron Glm
SmolLM3 Longformer RemBert Funnel Esm DebertaV2 XLMRoberta BigBird""".split()
CLASSES = r"(Model|For[A-Z]\w*|LMHeadModel|DoubleHeadsModel|EncoderModel)$"
SMALL = dict(
    vocab_size=2048, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, n_embd=64, n_layer=2, n_head=4, n_inner=96, d_model=64, d_ff=96, d_kv=16, num_layers=2,
    num_heads=4, num_decoder_layers=2, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
    decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96, ffn_dim=96, dim=64, hidden_dim=96, n_heads=4,
    n_layers=2, num_experts=4, num_local_experts=4, moe_intermediate_size=32, shared_expert_intermediate_size=32,
    embedding_size=32, word_embed_proj_dim=64, head_dim=16, max_position_embeddings=256, pad_token_id=0,
    bos_token_id=1, eos_token_id=2,
)
AS_IS = {"swin", "segformer", "beit", "vit", "deit", "dinov2", "wav2vec2", "hubert", "funnel", "longformer", "ctrl"}
SPECIAL = {
    "gptj": {**SMALL, "rotary_dim": 8},
    "gpt_neo": {**SMALL, "attention_types": [[["global", "local"], 1]]},
    "mpt": dict(d_model=64, n_layers=2, n_heads=4, vocab_size=2048),
    "esm": dict(vocab_size=33),
}
CONFIG_KEYS = {"model_type", "vocab_size", "tie_word_embeddings", "num_experts", "num_local_experts", "hidden_size"}


def small_config(cls):
    default = cls.config_class()
    name = default.model_type
    wanted = {} if name in AS_IS else SPECIAL.get(name, SMALL)
    keep = {k: v for k, v in wanted.items() if hasattr(default, k) or k in ("rotary_dim", "attention_types")}
    return cls.config_class(**keep)


def is_converted(name, module, keys):
    if V5:
        return should_convert_module(name, keys) and (isinstance(module, Conv1D) or type(module) is torch.nn.Linear)
    leaf = name.rpartition(".")[2]
    skipped = leaf in keys or any(k + "." in name or k == name for k in keys)
    return isinstance(module, (torch.nn.Linear, Conv1D)) and not skipped


def plan(cls):
    config = small_config(cls)
    with torch.device("meta"), no_init_weights(), no_tie_weights():
        model = cls(config)
    keys = list(get_keys_to_not_convert(model)) + list(model._keep_in_fp32_modules or [])
    tied = getattr(config, "tie_word_embeddings", None)
    absent = (model.all_tied_weights_keys if V5 else model._tied_weights_keys or []) if tied else []
    absent = [name for name in absent if name != "shared.weight"]
    rows = {}
    for path, module in model.named_modules():
        for leaf, p in module.named_parameters(recurse=False):
            name = f"{path}.{leaf}" if path else leaf
            near_the_top = name.count(".") <= 2 or re.search("head|classif|pool|cls", name)
            wanted = p.dim() >= 2 or (leaf == "bias" and near_the_top)
            if wanted and not any(re.fullmatch(pattern, name) for pattern in absent):
                converted = leaf == "weight" and p.dim() == 2 and is_converted(path, module, keys)
                rows[name] = [int(converted), type(module).__name__, list(p.shape)]
    kept = {k: v for k, v in json.loads(json.dumps(config.to_dict())).items() if k in CONFIG_KEYS}
    return {"arch": cls.__name__, "task": "variant", "tie": tied, "config": kept, "tensors": rows}


def main(out):
    T.logging.set_verbosity_error()
    models = {}
    for family in FAMILIES:
        for name in dir(T):
            cls = getattr(T, name) if re.match(family + CLASSES, name) else None
            if isinstance(cls, type) and issubclass(cls, PreTrainedModel):
                try:
                    models[name] = plan(cls)
                except Exception as error:
                    print("left out:", name, repr(error)[:120])
    lines = (f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in models.items())
    meta = json.dumps({"transformers": T.__version__})
    with open(out, "w") as f:
        f.write('{"_meta":' + meta + ',"models":{\n' + ",\n".join(lines) + "\n}}\n")
    print(T.__version__, len(models), "classes")


main(sys.argv[1])
