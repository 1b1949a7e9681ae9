"""torch's dense product with weights of 16 or 32 bits: what 4 bits must keep up with."""

import torch

from peers import operands
from peers.case import Case, copies


class Peer:
    def __init__(self, threads: int, rotation: int) -> None:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.rotation = rotation
        self.weights, self.key = [], None

    def about(self) -> str:
        capability = torch.backends.cpu.get_cpu_capability()
        return f"torch {torch.__version__} dense, {capability}"

    def prepare(self, case: Case):
        if case.operation != "gemm" or case.double:
            return None
        dtype = getattr(torch, case.dtype)
        if case.weights() != self.key:
            self.weights = []
            weight = torch.from_numpy(operands.weight(case)).to(dtype)
            count = copies(case.dense_bytes(), self.rotation)
            self.weights, self.key = [weight.clone() for _ in range(count)], case.weights()
        weights = self.weights
        x = torch.from_numpy(operands.inputs(case)).to(dtype)

        def operation(i: int):
            return torch.nn.functional.linear(x, weights[i % len(weights)])

        # Its weights are not rounded to 4 bits: no values to compare.
        return operation, []
