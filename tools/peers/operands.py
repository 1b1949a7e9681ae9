"""Operands that are the same for every library."""

import functools

import numpy as np

from peers.case import Case


def weight(case: Case) -> np.ndarray:
    """float32 values that bfloat16 holds exactly."""
    return values(case.n, case.k)


@functools.lru_cache(maxsize=1)
def values(n: int, k: int) -> np.ndarray:
    return through_bfloat16(np.random.default_rng(0).standard_normal((n, k), np.float32) * 0.02)


def inputs(case: Case) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((case.m, case.k), np.float32)
    return through_bfloat16(values)


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """Rounds finite float32 values to nearest, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def through_bfloat16(values: np.ndarray) -> np.ndarray:
    return (bfloat16_bits(values).astype(np.uint32) << 16).view(np.float32)
