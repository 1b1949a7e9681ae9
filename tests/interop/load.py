"""transformers loads what `fourbit quantize` wrote and computes what it computes from its own quantization.
load.py SOURCE_DIRECTORY QUANTIZED_DIRECTORY...      (QUANTIZED_DIRECTORY is named MODEL or MODEL@VARIANT)"""

import json
import logging
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # the mean that becomes nested_offset depends on it
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import bitsandbytes as bnb  # noqa: E402
import torch  # noqa: E402
import transformers as T  # noqa: E402
from tap import check, finish  # noqa: E402

torch.set_num_threads(1)
T.utils.logging.disable_progress_bar()


def load(path, model_class, **options):
    model, info = model_class.from_pretrained(path, output_loading_info=True, **options)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), f"{path}: {kind}: {sorted(info[kind])[:5]}"
    return model.eval()


def converted(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, bnb.nn.Linear4bit)}


def statistics(module):
    state = module.weight.quant_state
    found = [module.weight.data.view(torch.uint8).flatten(), state.absmax, state.code]
    if state.nested:
        found += [state.state2.absmax, state.state2.code, state.offset.reshape(1)]
    return found


def agrees(source, path):
    with open(os.path.join(path, "config.json")) as file:
        config = json.load(file)
    model_class = getattr(T, config["architectures"][0])
    options = config["quantization_config"]
    known = {k: v for k, v in options.items() if k.startswith(("bnb_", "llm_")) or k == "load_in_4bit"}
    dtype = getattr(torch, config.get("dtype") or config["torch_dtype"])
    kind = {"dtype": dtype, "device_map": {"": "cpu"}}
    ours = load(path, model_class, **kind)
    theirs = load(source, model_class, quantization_config=T.BitsAndBytesConfig(**known), **kind)
    a, b = converted(ours), converted(theirs)
    assert a, "no layer is 4-bit"
    assert a.keys() == b.keys(), f"converted by one alone: {sorted(a.keys() ^ b.keys())[:5]}"
    for name in a:  # before any product: on some processors the first one repacks the weights
        for mine, other in zip(statistics(a[name]), statistics(b[name]), strict=True):
            assert torch.equal(mine, other), f"{name}: other codes or statistics"
    tokens = torch.randint(3, 300, (2, 17), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        x, y = ours(input_ids=tokens).logits, theirs(input_ids=tokens).logits
    assert x.isfinite().all(), "logits are not finite"
    assert torch.equal(x, y), f"logits differ by up to {(x - y).abs().max():.3g} of {y.abs().max():.3g}"


def main():
    for path in sys.argv[2:]:
        name = os.path.basename(path)
        source = os.path.join(sys.argv[1], name.split("@")[0])
        check(f"transformers {T.__version__}: {name}: its own codes and logits", agrees, source, path)
    finish()


main()
