"""What an engine must reproduce: perplexity, logits and greedy text, in fp32 arithmetic."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .corpus import SEPARATOR
from .model import Llama
from .nf4 import round_to_nf4

STRIDE = 128
GREEDY_TOKENS = 64
TOP_LOGITS = 8

PROMPTS = (
    "They went ",
    "Emma went ",
    "Miss Bingley returned ",
    "Mr. Knightley returned ",
    "Captain Wentworth said ",
    "Lydia returned ",
    "Mr. Darcy was ",
    "Elinor was not ",
    "She thought ",
    "The next morning ",
    '"My dear Emma,',
    '"I am sure ',
)


def measure(model: Llama, held_out: bytes) -> dict:
    """The content of expected.json: both sets of weights on the same text and prompts."""
    variants = {"bfloat16": model.eval(), "nf4_double_quant": nf4_copy(model).eval()}
    with torch.inference_mode():
        return {
            "tokenization": "token id = byte value; sequences for `greedy` start with bos (0)",
            "arithmetic": (
                "fp32; weights widened from bfloat16, or NF4 (block size 64, double quantization, "
                "lm_head and embeddings left in bfloat16) dequantized to fp32 without rounding"
            ),
            "perplexity": {
                "text": "heldout.txt",
                "context": model.shape.max_position_embeddings,
                "stride": STRIDE,
                "method": (
                    "windows of `context` tokens start at 0, stride, 2 * stride, ... and end with "
                    "the first that reaches the end of the text; no bos; each window scores only "
                    "the tokens that no earlier window scored; the first token is never scored"
                ),
                **{name: perplexity(variant, held_out) for name, variant in variants.items()},
            },
            "greedy": clearest_greedy(variants),
        }


def nf4_copy(model: Llama) -> Llama:
    """The model with every linear layer but lm_head rounded to NF4."""
    rounded = copy.deepcopy(model)
    for name, module in rounded.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            module.weight.data = torch.from_numpy(round_to_nf4(module.weight.detach().numpy()))
    return rounded


def perplexity(model: Llama, text: bytes) -> dict:
    """Mean negative log likelihood, in nats per token, and its exponential."""
    tokens = torch.tensor(list(text))
    context = model.shape.max_position_embeddings
    total, scored = 0.0, 1
    for start in range(0, len(tokens), STRIDE):
        window = tokens[start : start + context]
        end = start + len(window)
        logits = model(window[:-1].unsqueeze(0))[0]
        losses = F.cross_entropy(logits, window[1:], reduction="none")
        total += losses[scored - end :].double().sum().item()
        scored = end
        if end == len(tokens):
            break
    nats = total / (scored - 1)
    return {
        "tokens_scored": scored - 1,
        "nats_per_token": nats,
        "perplexity": float(torch.tensor(nats, dtype=torch.float64).exp()),
    }


def clearest_greedy(variants: dict[str, Llama]) -> dict:
    """Greedy text after the prompt, of PROMPTS, whose closest decision in any variant is clearest.

    An engine that rounds differently then still has to take the same decisions.
    """

    def runs(prompt: str) -> dict[str, dict]:
        return {name: greedy(variant, prompt) for name, variant in variants.items()}

    results = {prompt: runs(prompt) for prompt in PROMPTS}
    chosen = max(
        results, key=lambda prompt: min(run["smallest_margin"] for run in results[prompt].values())
    )
    return {"prompt": chosen, "prompt_ids": prompt_ids(chosen), **results[chosen]}


def prompt_ids(prompt: str) -> list[int]:
    return [SEPARATOR[0], *prompt.encode()]


def greedy(model: Llama, prompt: str) -> dict:
    """64 tokens of greedy decoding, each from the whole sequence so far."""
    ids, generated, margins, first = prompt_ids(prompt), [], [], None
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([ids + generated]))[0, -1]
        best = logits.topk(TOP_LOGITS)
        first = first or top_logits(best)
        margins.append((best.values[0] - best.values[1]).item())
        generated.append(int(best.indices[0]))
    return {
        "generated_ids": generated,
        "generated_text": bytes(generated).decode(errors="replace"),
        "smallest_margin": min(margins),
        "first_step_top_logits": first,
    }


def top_logits(best: tuple[Tensor, Tensor]) -> dict:
    values, indices = best
    return {"ids": indices.tolist(), "logits": values.tolist()}


def sample(model: Llama, prompt: str, count: int, temperature: float, seed: int) -> str:
    """Text drawn at the given temperature; the window slides once the context is full."""
    generator = torch.Generator().manual_seed(seed)
    ids = prompt_ids(prompt)
    with torch.inference_mode():
        for _ in range(count):
            logits = model(torch.tensor([ids[-model.shape.max_position_embeddings :]]))[0, -1]
            chances = (logits / temperature).softmax(dim=-1)
            ids.append(int(torch.multinomial(chances, 1, generator=generator)))
    return bytes(ids[1:]).decode(errors="replace")
