"""Random weights through fourbit and through bitsandbytes on a CPU: every part byte for byte, every decoded
value, the product and the gradient of the input.   differential.py LIBRARY [CASES] [SEED]"""

import os
import random
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # the mean that becomes nested_offset depends on it

import bitsandbytes.functional as F  # noqa: E402
import torch  # noqa: E402
from fourbit_c import TRANSPOSE, Library  # noqa: E402

torch.set_num_threads(1)
BLOCK_SIZES = [32, 64, 128, 256, 512, 1024, 2048, 4096]
FLOATS = [torch.float32, torch.float16, torch.bfloat16]


def make_values(kind, n, double_quant, rng, generator):
    """Values of every difficult kind; bitsandbytes' own result is undefined for NaN under double quantization."""
    x = torch.randn(n, generator=generator) * 10 ** rng.uniform(-6, 3)
    some = torch.rand(n, generator=generator)
    if kind == "zeros":
        x[some < 0.05] = 0
    elif kind == "infinities" and not double_quant:
        x[some < 0.01] = float("inf")
    elif kind == "nans" and not double_quant:
        x[some < 0.01] = float("nan")
    elif kind == "denormals":
        x = x * 1e-40
    elif kind == "ties":
        x = torch.randint(-8, 9, (n,), generator=generator).float()
    elif kind == "zero block":
        x[: min(n, 4096)] = 0
        x = -x
    return x


def same(a, b):
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def decoded(packed, state, n, block_size):
    """By the flat stream: bitsandbytes' own CPU decoder is wrong where blocks straddle rows."""
    absmax = state.absmax
    if state.nested:
        absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    codes = packed.view(torch.uint8).flatten()
    codes = torch.stack([codes >> 4, codes & 15], 1).flatten()[:n].long()
    return state.code[codes] * absmax.repeat_interleave(block_size)[:n]


def compare(library, rng, generator):
    kinds = ["normal", "zeros", "infinities", "nans", "denormals", "ties", "zero block"]
    kind, dtype = rng.choice(kinds), rng.choice(FLOATS)
    block_size, quant_type, double_quant = rng.choice(BLOCK_SIZES), rng.choice(["nf4", "fp4"]), rng.random() < 0.5
    shape = rng.choice([(rng.randrange(1, 70),), (rng.randrange(1, 90), rng.randrange(1, 300))])
    n = torch.Size(shape).numel()
    x = make_values(kind, n, double_quant, rng, generator).reshape(shape).to(dtype)
    packed, state = F.quantize_4bit(x, blocksize=block_size, quant_type=quant_type, compress_statistics=double_quant)
    theirs = {"": packed.numpy().tobytes()}
    theirs.update({k: v.numpy().tobytes() for k, v in state.as_dict(packed=True).items()})
    weight = library.quantize(x, quant_type, block_size, double_quant)
    ours, wrong = weight.parts(), []
    for name in theirs:
        equal = theirs[name] == ours.get(name)
        if not equal and name == "absmax" and not double_quant:  # NaN payloads may differ
            equal = same(torch.frombuffer(bytearray(theirs[name]), dtype=torch.float32),
                         torch.frombuffer(bytearray(ours[name]), dtype=torch.float32))
        if not equal:
            wrong.append(f"part {name!r}")
    values = decoded(packed, state, n, block_size).reshape(shape)
    wrong += [f"decoded {t}" for t in FLOATS if not same(weight.dequantize(shape, t), values.to(t))]
    if kind == "normal" and len(shape) == 2:
        wrong += compare_products(weight, values, rng, generator)
    return [f"{w}: {quant_type}/{block_size} {dtype} {shape} {kind} double={double_quant}" for w in wrong]


def compare_products(weight, values, rng, generator):
    m, (n, k) = rng.randrange(1, 20), values.shape
    wrong = []
    for flags, matrix, inner, outer in ((0, values.double().t(), k, n), (TRANSPOSE, values.double(), n, k)):
        x = torch.randn(m, inner, generator=generator)
        got, exact = weight.gemm(x, outer, flags).double(), x.double() @ matrix
        bound = (x.double().abs() @ matrix.abs()).max() * 2e-6 + 1e-30
        if (got - exact).abs().max() > bound:
            wrong.append("gradient" if flags else "product")
    return wrong


def main():
    library = Library(sys.argv[1])
    cases = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    failed = 0
    for _ in range(cases):
        wrong = compare(library, rng, generator)
        failed += bool(wrong)
        print(*wrong, sep="\n", end="\n" if wrong else "")
    outcome = "not ok" if failed else "ok"
    print(f"{outcome} - {cases} random weights as bitsandbytes has them (seed {seed}; {failed} differ)")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
