"""This library, through its C interface."""

import ctypes
from ctypes import c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

import numpy as np

from peers import operands
from peers.case import BLOCK, Case, copies


class Device(ctypes.Structure):
    _fields_ = (("kind", c_int32), ("index", c_int32))


class Dtype(ctypes.Structure):
    _fields_ = (("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16))


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("device", Device),
        ("ndim", c_int32),
        ("dtype", Dtype),
        ("shape", ctypes.POINTER(c_int64)),
        ("strides", ctypes.POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class ContextConfig(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32),
        ("num_threads", c_uint32),
        ("device", Device),
        ("cpu_isa_max", c_uint32),
        ("reserved", c_uint32),
        ("parallel_for", c_void_p),
        ("parallel_for_user", c_void_p),
        ("cuda_stream", c_void_p),
    )


class QuantConfig(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32),
        ("quant_type", c_uint32),
        ("block_size", c_uint32),
        ("double_quant", c_uint32),
        ("rule", c_uint32),
        ("compute_dtype", Dtype),
        ("storage", Dtype),
        ("fp32_cpu_offload", c_uint32),
        ("skip_modules", c_void_p),
        ("skip_module_count", c_size_t),
    )


BFLOAT, FLOAT = 4, 2
DTYPES = {
    "bfloat16": (Dtype(BFLOAT, 16, 1), np.uint16),
    "float16": (Dtype(FLOAT, 16, 1), np.float16),
    "float32": (Dtype(FLOAT, 32, 1), np.float32),
}


def convert(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values in memory as `dtype` has them."""
    if dtype == "bfloat16":
        return operands.bfloat16_bits(values)
    return values.astype(DTYPES[dtype][1])


def to_float(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def tensor(array: np.ndarray, dtype: str) -> Tensor:
    """A view of `array`, which it keeps alive."""
    shape = (c_int64 * array.ndim)(*array.shape)
    view = Tensor(array.ctypes.data, Device(), array.ndim, DTYPES[dtype][0], shape, None, 0)
    view.keep = array
    return view


class Peer:
    def __init__(self, threads: int, rotation: int, library: str) -> None:
        self.rotation = rotation
        self.library = ctypes.CDLL(library)
        self.library.fourbit_last_error.restype = ctypes.c_char_p
        self.library.fourbit_build_info.restype = ctypes.c_char_p
        self.library.fourbit_weight_destroy.argtypes = [c_void_p]
        self.library.fourbit_weight_destroy.restype = None
        for name in ("context_create", "quantizer_create", "quantize", "dequantize", "gemm"):
            getattr(self.library, f"fourbit_{name}").restype = c_int32
        config = ContextConfig(struct_size=ctypes.sizeof(ContextConfig), num_threads=threads)
        self.context = c_void_p()
        self.call("context_create", ctypes.byref(config), ctypes.byref(self.context))
        self.weights: list[c_void_p] = []
        self.key: tuple | None = None

    def about(self) -> str:
        return self.library.fourbit_build_info().decode()

    def call(self, name: str, *arguments) -> None:
        if getattr(self.library, f"fourbit_{name}")(*arguments) != 0:
            raise RuntimeError(f"{name}: {self.library.fourbit_last_error().decode()}")

    def quantizer(self, case: Case) -> c_void_p:
        config = QuantConfig(
            struct_size=ctypes.sizeof(QuantConfig),
            block_size=BLOCK,
            double_quant=int(case.double),
        )
        out = c_void_p()
        self.call("quantizer_create", self.context, ctypes.byref(config), ctypes.byref(out))
        return out

    def quantize(self, quantizer: c_void_p, source: Tensor) -> c_void_p:
        out = c_void_p()
        self.call("quantize", quantizer, ctypes.byref(source), ctypes.byref(out))
        return out

    def prepare(self, case: Case):
        key = (case.n, case.k, case.double)
        if key != self.key or case.operation == "quantize":
            while self.weights:
                self.library.fourbit_weight_destroy(self.weights.pop())
            self.key = key
        return getattr(self, f"prepare_{case.operation}")(case)

    def prepare_quantize(self, case: Case):
        array = convert(operands.weight(case), case.dtype)
        arrays = [array.copy() for _ in range(copies(case.dense_bytes(), self.rotation))]
        sources = [tensor(a, case.dtype) for a in arrays]
        quantizer = self.quantizer(case)

        def operation(i: int) -> None:
            weight = self.quantize(quantizer, sources[i % len(sources)])
            self.library.fourbit_weight_destroy(weight)

        return operation, []

    def rotating_weights(self, case: Case) -> None:
        if self.weights:
            return
        quantizer = self.quantizer(case)
        array = convert(operands.weight(case), "bfloat16")
        source = tensor(array, "bfloat16")
        for _ in range(copies(case.packed_bytes(), self.rotation)):
            self.weights.append(self.quantize(quantizer, source))

    def prepare_dequantize(self, case: Case):
        """Into one buffer, as a program that decodes layer after layer has it, or a new one."""
        self.rotating_weights(case)
        output = np.ones((case.n, case.k), DTYPES[case.dtype][1])

        def operation(i: int) -> None:
            target = tensor(np.empty_like(output) if case.fresh else output, case.dtype)
            weight = self.weights[i % len(self.weights)]
            self.call("dequantize", self.context, weight, ctypes.byref(target))

        if not case.fresh:
            operation(0)
            return operation, to_float(output[0, :4], case.dtype).tolist()
        return operation, []

    def prepare_gemm(self, case: Case):
        self.rotating_weights(case)
        x = convert(operands.inputs(case), case.dtype)
        y = np.zeros((case.m, case.n), DTYPES[case.dtype][1])
        source, target = tensor(x, case.dtype), tensor(y, case.dtype)

        def operation(i: int) -> None:
            weight = self.weights[i % len(self.weights)]
            arguments = (self.context, ctypes.byref(source), weight, None, None)
            self.call("gemm", *arguments, ctypes.byref(target))

        operation(0)
        return operation, to_float(y[0, :4], case.dtype).tolist()
