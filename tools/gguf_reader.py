"""Read the parts of a GGUF (version 3) file that a checkpoint conversion needs.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Everything is little-endian:
header, key-value metadata, tensor descriptions, padding, tensor data. Only the tensor encodings
F32, F16, Q8_0 and Q4_1 are decoded; another one is refused by name.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC, VERSION = b"GGUF", 3
DEFAULT_ALIGNMENT = 32

# Metadata value types: number -> struct format.
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9

BLOCK = 32
Q8_0_BLOCK = np.dtype([("scale", "<f2"), ("codes", "i1", BLOCK)])
Q4_1_BLOCK = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("codes", "u1", BLOCK // 2)])


class GgufError(Exception):
    """The file is not GGUF version 3, is cut short, or uses an encoding that is not known here."""


@dataclass(frozen=True)
class TensorInfo:
    """`shape` is in numpy's order (slowest dimension first), the reverse of the file's."""

    name: str
    shape: tuple[int, ...]
    encoding: int
    offset: int


class GgufFile:
    """`metadata` and `tensors` are read at once; tensor data is mapped and decoded on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = np.memmap(path, dtype=np.uint8, mode="r")
        self._position = 0
        try:
            self._read_header()
        except struct.error as error:
            raise GgufError(f"{path}: the file ends inside its header") from error

    def _read_header(self) -> None:
        magic = bytes(self._take(4))
        version, tensor_count, metadata_count = self._unpack("IQQ")
        if magic != MAGIC or version != VERSION:
            raise GgufError(f"{self.path}: magic {magic!r} version {version}, expected GGUF 3")
        self.metadata = {}
        for _ in range(metadata_count):
            key = self._string()
            self.metadata[key] = self._value(*self._unpack("I"))
        described = [self._tensor_info() for _ in range(tensor_count)]
        self.tensors = {info.name: info for info in described}
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        self._data_start = -(-self._position // alignment) * alignment

    def _take(self, size: int) -> np.ndarray:
        taken = self._data[self._position : self._position + size]
        if len(taken) != size:
            raise GgufError(f"{self.path}: the file ends inside its header")
        self._position += size
        return taken

    def _unpack(self, format_: str) -> tuple:
        layout = struct.Struct("<" + format_)
        return layout.unpack(self._take(layout.size))

    def _string(self) -> str:
        (size,) = self._unpack("Q")
        return bytes(self._take(size)).decode()

    def _value(self, kind: int) -> object:
        if kind in SCALARS:
            return self._unpack(SCALARS[kind])[0]
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            element, count = self._unpack("IQ")
            return [self._value(element) for _ in range(count)]
        raise GgufError(f"{self.path}: metadata value of unknown type {kind}")

    def _tensor_info(self) -> TensorInfo:
        name = self._string()
        (rank,) = self._unpack("I")
        shape = self._unpack(f"{rank}Q")
        encoding, offset = self._unpack("IQ")
        return TensorInfo(name, tuple(reversed(shape)), encoding, offset)

    def tensor(self, name: str) -> np.ndarray:
        """The tensor decoded to fp32."""
        info = self.tensors[name]
        if info.encoding not in DECODERS:
            raise GgufError(
                f"{self.path}: tensor {name} has encoding {info.encoding}, "
                f"known are {sorted(DECODERS)} (F32, F16, Q4_1, Q8_0)"
            )
        layout, per_item, decode = DECODERS[info.encoding]
        elements = int(np.prod(info.shape))
        if info.shape[-1] % per_item:
            raise GgufError(f"{self.path}: tensor {name}: {info.shape} is not whole blocks")
        start = self._data_start + info.offset
        raw = self._data[start : start + elements // per_item * layout.itemsize]
        if len(raw) != elements // per_item * layout.itemsize:
            raise GgufError(f"{self.path}: the file ends inside tensor {name}")
        return decode(raw.view(layout)).reshape(info.shape)


def decode_plain(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def decode_q8_0(blocks: np.ndarray) -> np.ndarray:
    """code * scale."""
    return blocks["codes"].astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]


def decode_q4_1(blocks: np.ndarray) -> np.ndarray:
    """code * scale + minimum; the low nibbles are the first 16 elements, the high ones the rest."""
    codes = np.concatenate([blocks["codes"] & 15, blocks["codes"] >> 4], axis=1)
    scaled = codes.astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]
    return scaled + blocks["minimum"].astype(np.float32)[:, None]


# GGML encoding number -> (item layout, elements per item, decoder).
DECODERS = {
    0: (np.dtype("<f4"), 1, decode_plain),
    1: (np.dtype("<f2"), 1, decode_plain),
    3: (Q4_1_BLOCK, BLOCK, decode_q4_1),
    8: (Q8_0_BLOCK, BLOCK, decode_q8_0),
}
