"""The training loop: AdamW with a cosine schedule, bf16 arithmetic on fp32 master weights."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from .corpus import SEPARATOR
from .model import Llama


@dataclass(frozen=True)
class TrainingPlan:
    steps: int = 4000
    batch: int = 16
    peak_rate: float = 4e-3
    final_rate: float = 4e-5
    warmup_steps: int = 100
    # Applied to matrices only. Small, so that no weight stands far out of its quantization block.
    weight_decay: float = 0.05
    gradient_norm: float = 1.0
    # Rows of a batch that start with bos and the first byte of a paragraph, as a prompt would.
    paragraph_rows: int = 2
    log_every: int = 100


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """Linear warm-up, then half a cosine from the peak rate to the final rate."""
    if step < plan.warmup_steps:
        return plan.peak_rate * (step + 1) / plan.warmup_steps
    progress = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return plan.final_rate + (plan.peak_rate - plan.final_rate) * cosine


def batches(text: bytes, length: int, plan: TrainingPlan, seed: int) -> Iterator[Tensor]:
    """Random windows of `length` + 1 tokens: inputs and, one to the right, targets."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    last_start = len(tokens) - length - 1
    line_ends = torch.nonzero(tokens[:last_start] == ord("\n")).flatten()
    window = torch.arange(length + 1)
    while True:
        starts = torch.randint(0, last_start + 1, (plan.batch,), generator=generator)
        chosen = torch.randint(0, len(line_ends), (plan.paragraph_rows,), generator=generator)
        starts[: plan.paragraph_rows] = line_ends[chosen]
        batch = tokens[starts.unsqueeze(1) + window].long()
        batch[: plan.paragraph_rows, 0] = SEPARATOR[0]
        yield batch


def make_optimizer(model: Llama, plan: TrainingPlan) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.peak_rate, betas=(0.9, 0.98), fused=True)


def bf16_loss(model: Llama, batch: Tensor) -> Tensor:
    """Mean cross entropy with the weights rounded to bf16, as the checkpoint will hold them."""
    state = {name: tensor.bfloat16() for name, tensor in model.named_parameters()}
    state |= {name: tensor.bfloat16() for name, tensor in model.named_buffers()}
    logits = functional_call(model, state, (batch[:, :-1],)).float()
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def train(model: Llama, text: bytes, plan: TrainingPlan, seed: int) -> None:
    """Train in place; one line of progress every `plan.log_every` steps."""
    optimizer = make_optimizer(model, plan)
    source = batches(text, model.shape.max_position_embeddings, plan, seed)
    started, total = time.process_time(), 0.0
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan, step)
        loss = bf16_loss(model, next(source))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        if (step + 1) % plan.log_every == 0:
            seconds = time.process_time() - started
            mean = total / plan.log_every
            print(f"step {step + 1:5d}  loss {mean:.4f}  cpu {seconds:6.1f} s", flush=True)
            total = 0.0
