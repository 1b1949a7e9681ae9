"""bitsandbytes, or a fork of it that is imported by the same name from a folder of its own."""

import copy
import logging
import os
import sys

from peers import operands
from peers.case import Case, copies


class Peer:
    def __init__(self, threads: int, rotation: int, folder: str | None = None) -> None:
        if folder:
            sys.path.insert(0, folder)
        # A network look-up for kernels it may have elsewhere; they are no part of the package.
        os.environ["HF_HUB_OFFLINE"] = "1"
        logging.disable(logging.WARNING)
        import bitsandbytes
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.bnb, self.torch, self.rotation = bitsandbytes, torch, rotation
        self.functional = bitsandbytes.functional
        self.weights, self.key = [], None

    def about(self) -> str:
        return f"bitsandbytes {self.bnb.__version__}, torch {self.torch.__version__}"

    def prepare(self, case: Case):
        return getattr(self, f"prepare_{case.operation}")(case)

    def dtype(self, case: Case):
        return getattr(self.torch, case.dtype)

    def prepare_quantize(self, case: Case):
        weight = self.torch.from_numpy(operands.weight(case)).to(self.dtype(case))
        count = copies(case.dense_bytes(), self.rotation)
        weights = [weight.clone() for _ in range(count)]

        def operation(i: int) -> None:
            self.functional.quantize_4bit(
                weights[i % count], quant_type="nf4", compress_statistics=case.double
            )

        return operation, []

    def quantized(self, case: Case):
        """A weight of the case's dtype and its state."""
        weight = self.torch.from_numpy(operands.weight(case)).to(self.dtype(case))
        return self.functional.quantize_4bit(
            weight, quant_type="nf4", compress_statistics=case.double
        )

    def rotating(self, codes, state, case: Case):
        count = copies(case.packed_bytes(), self.rotation)
        weights = []
        for _ in range(count):
            own = copy.copy(state)
            own.absmax = state.absmax.clone()
            weights.append((codes.clone(), own))
        return weights

    def prepare_dequantize(self, case: Case):
        weights = self.rotating(*self.quantized(case), case)

        def operation(i: int):
            codes, state = weights[i % len(weights)]
            return self.functional.dequantize_4bit(codes, state)

        return operation, operation(0)[0, :4].float().tolist()

    def prepare_gemm(self, case: Case):
        """Inference as Linear4bit does it: for bfloat16, where the processor has AVX-512 BF16, with
        weights that were put into the order of that kernel."""
        x = self.torch.from_numpy(operands.inputs(case)).to(self.dtype(case))
        if case.weights() != self.key:
            self.weights = []
            codes, state = self.quantized(case)
            if case.dtype == "bfloat16" and not case.double:
                codes, state = self.packed(codes, state, x[:1])
            self.weights, self.key = self.rotating(codes, state, case), case.weights()
        weights = self.weights

        def operation(i: int):
            codes, state = weights[i % len(weights)]
            return self.bnb.matmul_4bit(x, codes, quant_state=state)

        return operation, operation(0)[0, :4].float().tolist()

    def packed(self, codes, state, x):
        """The order of the AVX-512 BF16 kernel, if there is one and it computes the product: that
        of bitsandbytes-cpu-fork 0.50.2.dev9 does not."""
        functional = self.functional
        pack = getattr(functional, "_convert_weight_packed_for_cpu", None)
        has = getattr(functional, "has_avx512bf16", None)
        if not (pack and has and has()):
            return codes, state
        own = copy.copy(state)
        own.absmax = state.absmax.clone()
        packed = pack(codes.clone(), own)
        right = self.bnb.matmul_4bit(x, codes, quant_state=state).float()
        got = self.bnb.matmul_4bit(x, packed[0], quant_state=packed[1]).float()
        if (right - got).norm() > 0.05 * right.norm():
            return codes, state
        return packed
