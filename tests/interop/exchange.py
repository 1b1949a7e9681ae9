"""Weights and tensors that change hands with bitsandbytes, torch and numpy, through the C ABI.   exchange.py LIBRARY"""

import os
import sys
import warnings

os.environ["OMP_NUM_THREADS"] = "1"
warnings.filterwarnings("ignore")

import bitsandbytes as bnb  # noqa: E402
import bitsandbytes.functional as F  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from fourbit_c import ACCUMULATE, TRANSPOSE, Library  # noqa: E402
from tap import check, finish  # noqa: E402

torch.set_num_threads(1)
PART_DTYPES = {"absmax": torch.float32, "quant_map": torch.float32, "nested_absmax": torch.float32,
               "nested_quant_map": torch.float32}  # fmt: skip


def matrix(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def part_tensors(weight, double_quant):
    """Parts as a safetensors file gives them."""
    tensors = {}
    for name, data in weight.parts().items():
        nested = name == "absmax" and double_quant
        dtype = torch.uint8 if nested else PART_DTYPES.get(name, torch.uint8)
        tensors[name] = torch.frombuffer(bytearray(data), dtype=dtype)
    return tensors


def quant_state(library, quant_type, double_quant):
    w = matrix(96, 256)
    weight = library.quantize(w, quant_type, 64, double_quant)
    parts = part_tensors(weight, double_quant)
    packed = parts.pop("").reshape(-1, 1)
    state = F.QuantState.from_dict(parts, device=torch.device("cpu"))
    assert (state.quant_type, state.blocksize, tuple(state.shape)) == (quant_type, 64, (96, 256))
    theirs = F.dequantize_4bit(packed, state)
    assert torch.equal(theirs, weight.dequantize((96, 256), torch.float32)), "decoded values differ"


def back_again(library, double_quant):
    """What bitsandbytes made becomes a weight, and multiplies like its decoded matrix."""
    w, x = matrix(64, 128, 1), matrix(3, 128, 2)
    packed, state = F.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=double_quant)
    weight = library.from_parts({"": packed, **state.as_dict(packed=True)})
    expected = x.double() @ F.dequantize_4bit(packed, state).double().t()
    assert torch.allclose(weight.gemm(x, 64).double(), expected, rtol=0, atol=1e-4)


def parts_out(library, importer):
    weight = library.quantize(matrix(32, 128, 3), "nf4", 64, True)
    kept = {name: importer(weight.to_dlpack(i)) for i, name in enumerate(weight.parts())}
    expected = weight.parts()
    del weight  # what was given out lives on
    for name, array in kept.items():
        assert np.asarray(array).tobytes() == expected[name], f"part {name!r} differs"


def tensors_in(library, make, versioned):
    """A DLTensor of somebody else's is a fourbit_tensor: quantized where it lies, strides and all."""
    w = matrix(48, 192, 4)
    a = library.quantize_dlpack(make(w), versioned)
    assert a.parts() == library.quantize(w, "nf4", 64, True).parts(), "the compact tensor gives other bytes"
    b = library.quantize_dlpack(make(w).T, versioned)
    assert b.parts() == library.quantize(w.t().contiguous(), "nf4", 64, True).parts(), "its transpose does"


class Frozen(torch.autograd.Function):
    """A frozen 4-bit linear layer through the C ABI."""

    @staticmethod
    def forward(ctx, x, weight, shape):
        ctx.weight, ctx.inner = weight, shape[1]
        return weight.gemm(x.detach().contiguous(), shape[0])

    @staticmethod
    def backward(ctx, gradient):
        out = torch.zeros(*gradient.shape[:-1], ctx.inner)
        return ctx.weight.gemm(gradient.contiguous(), ctx.inner, TRANSPOSE | ACCUMULATE, out), None, None


def qlora(forward, rank=8, steps=5):
    """Trains an adapter beside a frozen layer: losses, the adapter, the gradient of the input."""
    a, b = (0.1 * matrix(rank, 128, 5)).requires_grad_(), torch.zeros(96, rank, requires_grad=True)
    x, target = matrix(10, 128, 6).requires_grad_(), matrix(10, 96, 7)
    losses = []
    for _ in range(steps):
        loss = (forward(x) + 2 * (x @ a.t()) @ b.t() - target).square().mean()
        x.grad = a.grad = b.grad = None
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            a -= 0.5 * a.grad
            b -= 0.5 * b.grad
    return torch.tensor(losses), a.detach(), b.detach(), x.grad


def qlora_matches(library):
    w = 0.05 * matrix(96, 128, 8)
    layer = bnb.nn.Linear4bit(128, 96, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.weight = bnb.nn.Params4bit(w, requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer = layer.to("cpu").train()
    if layer.weight.quant_state is None:
        layer.weight = layer.weight._quantize("cpu")
    weight = library.quantize(w, "nf4", 64, True)
    ours = qlora(lambda x: Frozen.apply(x, weight, (96, 128)))
    theirs = qlora(layer)
    assert ours[0][-1] < ours[0][0], "nothing was learnt"
    for what, x, y in zip(("losses", "A", "B", "gradient of the input"), ours, theirs, strict=True):
        assert torch.allclose(x, y, rtol=1e-4, atol=1e-5), f"{what}: apart by {(x - y).abs().max():.3g}"


def main():
    library = Library(sys.argv[1])
    for quant_type in ("nf4", "fp4"):
        for double_quant in (False, True):
            kind = f"{quant_type}{' with double quantization' if double_quant else ''}"
            check(f"QuantState.from_dict takes {kind}", quant_state, library, quant_type, double_quant)
    for double_quant in (False, True):
        check(f"what bitsandbytes made, double_quant={double_quant}", back_again, library, double_quant)
    check("DLPack to torch", parts_out, library, torch.from_dlpack)
    check("DLPack to numpy", parts_out, library, np.from_dlpack)
    for versioned in (False, True):
        words = ", versioned" if versioned else ""
        check(f"DLPack from torch{words}", tensors_in, library, lambda w: w, versioned)
        check(f"DLPack from numpy{words}", tensors_in, library, lambda w: w.numpy(), versioned)
    check("QLoRA steps match torch's over bitsandbytes' layer", qlora_matches, library)
    finish()


main()
