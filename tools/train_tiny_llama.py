#!/usr/bin/env python3
"""Train the fixture tests/fixtures/tiny-llama: a byte-level Llama of one million parameters.

    apt-get download r-cran-janeaustenr            # Debian 12; the training text is inside
    python3 -m venv venv
    venv/bin/pip install -r tools/requirements-tiny-llama.txt
    venv/bin/python tools/train_tiny_llama.py r-cran-janeaustenr_1.0.0-1_all.deb

About 20 minutes on one core with AVX512-BF16 or AMX. The seed fixes the weights for one version of
torch on one kind of CPU; elsewhere the sums round differently and another, equally good, model
comes out. `--keep-weights` only measures the weights that are there and rewrites expected.json.
"""

import argparse
from pathlib import Path

import torch

from tiny_llama.checkpoint import read_weights, write_checkpoint, write_json
from tiny_llama.corpus import load_corpus
from tiny_llama.evaluate import measure, nf4_copy, sample
from tiny_llama.model import Llama, LlamaShape
from tiny_llama.training import TrainingPlan, train

FIXTURE = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "tiny-llama"
SAMPLE_PROMPT = '"My dear Emma,'


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", type=Path, help="the Debian package with the text")
    parser.add_argument("--out", type=Path, default=FIXTURE, help="default: the fixture")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=TrainingPlan.steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep-weights", action="store_true", help="measure the weights in --out, do not train"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    corpus = load_corpus(arguments.package)
    model = Llama(LlamaShape())
    if not arguments.keep_weights:
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"{count} parameters, {len(corpus.train)} bytes of text")
        train(model, corpus.train, TrainingPlan(steps=arguments.steps), arguments.seed)
        write_checkpoint(model, corpus.held_out, arguments.out)
    model.load_state_dict(read_weights(arguments.out))
    print(write_json(arguments.out / "expected.json", measure(model, corpus.held_out)))
    for name, variant in (("bfloat16", model), ("NF4", nf4_copy(model))):
        print(f"{name}, temperature 0.7: {sample(variant, SAMPLE_PROMPT, 240, 0.7, seed=3)}\n")


if __name__ == "__main__":
    main()
