"""torch's dense product with weights of 16 or 32 bits: what 4 bits must keep up with."""

import torch

from peers import operands
from peers.case import Case, copies


class Peer:
    def __init__(self, threads: int, rotation: int) -> None:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.rotation = rotation

    def about(self) -> str:
        capability = torch.backends.cpu.get_cpu_capability()
        return f"torch {torch.__version__} dense, {capability}"

    def prepare(self, case: Case):
        if case.operation != "gemm" or case.double:
            return None
        dtype = getattr(torch, case.dtype)
        weight = torch.from_numpy(operands.weight(case)).to(dtype)
        count = copies(case.dense_bytes(), self.rotation)
        weights = [weight.clone() for _ in range(count)]
        x = torch.from_numpy(operands.inputs(case)).to(dtype)

        def operation(i: int):
            return torch.nn.functional.linear(x, weights[i % count])

        return operation, operation(0)[0, :4].float().tolist()
