"""What a weight becomes after NF4 quantization with double quantization, in numpy.

The rules are those of bitsandbytes on a CPU (tables, block scale, ties, the 8-bit codes of the
scales), so the result is what an engine gets from a checkpoint saved with load_in_4bit.
"""

import numpy as np

BLOCK_SIZE = 64
SCALE_BLOCK_SIZE = 256
SMALLEST_SCALE = np.float32(1e-38)

NF4 = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    dtype=np.float32,
)


def round_to_nf4(weight: np.ndarray) -> np.ndarray:
    """Quantize and dequantize an fp32 array; blocks run over the flattened elements."""
    if weight.size % BLOCK_SIZE:
        raise ValueError(f"{weight.size} elements do not fill whole blocks of {BLOCK_SIZE}")
    blocks = weight.astype(np.float32).reshape(-1, BLOCK_SIZE)
    scales = np.abs(blocks).max(axis=1)
    normalized = blocks * (np.float32(1) / np.maximum(scales, SMALLEST_SCALE))[:, None]
    midpoints = (NF4[:-1] + NF4[1:]) / np.float32(2)
    # side="left" counts the midpoints below x: a tie takes the lower code.
    codes = np.searchsorted(midpoints, np.clip(normalized, -1, 1), side="left")
    return (NF4[codes] * round_scales(scales)[:, None]).reshape(weight.shape)


def round_scales(scales: np.ndarray) -> np.ndarray:
    """Double quantization: subtract the mean, then 8-bit codes in blocks of 256."""
    offset = scales.mean(dtype=np.float32)
    table = dynamic_map()
    nearest = nearest_code_table(table)
    rounded = np.empty_like(scales)
    for start in range(0, scales.size, SCALE_BLOCK_SIZE):
        part = scales[start : start + SCALE_BLOCK_SIZE] - offset
        largest = np.abs(part).max()
        inverse = np.float32(1) / largest if largest > 0 else np.float32(0)
        bins = (np.clip(part * inverse, -1, 1) + 1) * np.float32(0.5) * np.float32(65535)
        codes = nearest[(bins + np.float32(0.5)).astype(np.int64)]
        rounded[start : start + SCALE_BLOCK_SIZE] = table[codes] * largest + offset
    return rounded


def dynamic_map() -> np.ndarray:
    """The signed 256-entry map: seven decades, each split into twice as many parts as the last."""
    positive = []
    for decade in range(7):
        # In float64 and rounded once, which is what a fused multiply-add gives.
        count = 2**decade + 1
        low = np.float64(np.float32(0.1))
        step = np.float64((np.float32(1) - np.float32(0.1)) / np.float32(count - 1))
        index = np.arange(count)
        ends = np.where(index < count // 2, low + step * index, 1 - step * (count - 1 - index))
        ends = ends.astype(np.float32)
        means = (ends[:-1] + ends[1:]) / np.float32(2)
        positive.append(np.float32(10.0 ** (decade - 6)) * means)
    magnitudes = np.concatenate(positive)
    return np.sort(np.concatenate([-magnitudes, magnitudes, np.float32([0, 1])]))


def nearest_code_table(table: np.ndarray) -> np.ndarray:
    """For 65536 equal bins over [-1, 1], the code whose value is nearest to the bin's position."""
    bins = np.arange(65536, dtype=np.float32)
    positions = np.float32(-1) + bins * np.float32(2) / np.float32(65535)
    midpoints = np.float32(0.5) * (table[:-1] + table[1:])
    return np.searchsorted(midpoints, positions, side="left")
