"""What is timed."""

import dataclasses

BLOCK = 64


@dataclasses.dataclass(frozen=True)
class Case:
    """One figure: an operation on a weight of n by k, of which a product takes m input rows."""

    operation: str  # quantize, dequantize, gemm
    n: int
    k: int
    dtype: str  # bfloat16, float16, float32
    m: int = 0
    double: bool = False
    fresh: bool = False  # dequantize into memory that is new to the process

    def title(self) -> str:
        words = [self.operation, f"{self.n}x{self.k}", self.dtype]
        words += [f"M={self.m}"] * bool(self.m)
        words += ["double"] * self.double + ["new memory"] * self.fresh
        return " ".join(words)

    def weights(self) -> tuple:
        """Equal for cases that take the same weights: those need not be made again."""
        return self.operation, self.n, self.k, self.dtype, self.double

    def packed_bytes(self) -> int:
        """Bytes of codes and float32 absmax: what a product must read."""
        return self.n * self.k // 2 + self.n * self.k // BLOCK * 4

    def dense_bytes(self) -> int:
        return self.n * self.k * (4 if self.dtype == "float32" else 2)


def copies(each: int, rotation: int) -> int:
    """How many operands of `each` bytes to take in turn so that each is cold again."""
    return max(1, min(rotation // each, 4096))
