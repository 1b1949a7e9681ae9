"""The fixture directory: config.json, model.safetensors, held-out text, tokenizer note."""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .model import Llama

TOKENIZER_CONFIG = {
    "tokenizer_class": "ByteTokenizer",
    "bos_token": "\0",
    "eos_token": "\0",
    "pad_token": "\0",
    "add_bos_token": True,
}


def write_checkpoint(model: Llama, held_out: bytes, directory: Path) -> None:
    """Write the weights, rounded to bf16, and what describes them."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", model.shape.config_json())
    write_json(directory / "tokenizer_config.json", TOKENIZER_CONFIG)
    (directory / "heldout.txt").write_bytes(held_out)


def read_weights(directory: Path) -> dict[str, Tensor]:
    """The weights, widened to fp32."""
    weights = load_file(directory / "model.safetensors")
    return {name: tensor.to(torch.float32) for name, tensor in weights.items()}


def write_json(path: Path, content: dict) -> str:
    """Write indented JSON, lists of numbers on one line, and return the text."""
    text = json.dumps(content, indent=2) + "\n"
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda found: f"[{joined(found[1])}]", text)
    path.write_text(text)
    return text


def joined(lines: str) -> str:
    return " ".join(lines.split())
