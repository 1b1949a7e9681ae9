"""The few functions of the C ABI that the comparisons need, through ctypes."""

import ctypes as C

import torch


class Device(C.Structure):
    _fields_ = [("kind", C.c_int32), ("index", C.c_int32)]


class DType(C.Structure):
    _fields_ = [("code", C.c_uint8), ("bits", C.c_uint8), ("lanes", C.c_uint16)]


class Tensor(C.Structure):
    _fields_ = [
        ("data", C.c_void_p),
        ("device", Device),
        ("ndim", C.c_int32),
        ("dtype", DType),
        ("shape", C.POINTER(C.c_int64)),
        ("strides", C.POINTER(C.c_int64)),
        ("byte_offset", C.c_uint64),
    ]


class QuantConfig(C.Structure):
    _fields_ = [
        ("struct_size", C.c_uint32),
        ("quant_type", C.c_uint32),
        ("block_size", C.c_uint32),
        ("double_quant", C.c_uint32),
        ("rule", C.c_uint32),
        ("compute_dtype", DType),
        ("storage", DType),
        ("fp32_cpu_offload", C.c_uint32),
        ("skip_modules", C.c_void_p),
        ("skip_module_count", C.c_size_t),
    ]


class GemmConfig(C.Structure):
    _fields_ = [("struct_size", C.c_uint32), ("flags", C.c_uint32)]


class Managed(C.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", C.c_uint32),
        ("minor", C.c_uint32),
        ("context", C.c_void_p),
        ("deleter", C.c_void_p),
        ("flags", C.c_uint64),
        ("tensor", Tensor),
    ]


VERSIONED = b"dltensor_versioned"
new_capsule = C.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = C.py_object, [C.c_void_p, C.c_char_p, C.c_void_p]
capsule_pointer = C.pythonapi.PyCapsule_GetPointer
capsule_pointer.restype, capsule_pointer.argtypes = C.c_void_p, [C.py_object, C.c_char_p]


class Exported:
    """What from_dlpack() of torch and numpy takes; it is taken once."""

    def __init__(self, pointer):
        self.pointer = pointer

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **_):
        return new_capsule(self.pointer, VERSIONED, None)


TRANSPOSE, ACCUMULATE, EXACT = 1, 2, 4
DTYPES = {
    torch.float32: DType(2, 32, 1),
    torch.float16: DType(2, 16, 1),
    torch.bfloat16: DType(4, 16, 1),
    torch.uint8: DType(1, 8, 1),
}


class Library:
    """libfourbit.so with one CPU context."""

    def __init__(self, path):
        self.c = C.CDLL(path)
        self.c.fourbit_last_error.restype = C.c_char_p
        self.context = C.c_void_p()
        self.check(self.c.fourbit_context_create(None, C.byref(self.context)))

    def check(self, status):
        if status:
            raise RuntimeError(f"status {status}: {self.c.fourbit_last_error().decode()}")

    @staticmethod
    def view(tensor):
        shape = (C.c_int64 * max(tensor.dim(), 1))(*tensor.shape)
        return Tensor(tensor.data_ptr(), Device(0, 0), tensor.dim(), DTYPES[tensor.dtype], shape, None, 0)

    def quantize(self, source, quant_type, block_size, double_quant):
        return self.quantize_view(self.view(source), quant_type, block_size, double_quant)

    def quantize_dlpack(self, source, versioned):
        """NF4 of an object that has __dlpack__, from its own DLTensor."""
        capsule = source.__dlpack__(**({"max_version": (1, 0)} if versioned else {}))
        pointer = capsule_pointer(capsule, VERSIONED if versioned else b"dltensor")
        offset = Managed.tensor.offset if versioned else 0
        return self.quantize_view(Tensor.from_address(pointer + offset), "nf4", 64, True)

    def from_parts(self, parts):
        names = (C.c_char_p * len(parts))(*(name.encode() for name in parts))
        tensors = [tensor.contiguous() for tensor in parts.values()]
        views, weight = (Tensor * len(parts))(*map(self.view, tensors)), C.c_void_p()
        count = C.c_size_t(len(parts))
        self.check(self.c.fourbit_weight_from_parts(self.context, names, views, count, C.byref(weight)))
        return Weight(self, weight)

    def quantize_view(self, view, quant_type, block_size, double_quant):
        config = QuantConfig(C.sizeof(QuantConfig), int(quant_type == "fp4"), block_size, int(double_quant))
        quantizer, weight = C.c_void_p(), C.c_void_p()
        self.check(self.c.fourbit_quantizer_create(self.context, C.byref(config), C.byref(quantizer)))
        status = self.c.fourbit_quantize(quantizer, C.byref(view), C.byref(weight))
        self.c.fourbit_quantizer_destroy(quantizer)
        self.check(status)
        return Weight(self, weight)


class Weight:
    def __init__(self, library, handle):
        self.library, self.handle = library, handle

    def __del__(self):
        self.library.c.fourbit_weight_destroy(self.handle)

    def parts(self):
        """Name to bytes."""
        library, count, parts = self.library, C.c_size_t(), {}
        library.check(library.c.fourbit_weight_part_count(self.handle, C.byref(count)))
        for i in range(count.value):
            name, view = C.c_char_p(), Tensor()
            library.check(library.c.fourbit_weight_part(self.handle, C.c_size_t(i), C.byref(name), C.byref(view)))
            size = view.dtype.bits // 8
            for d in range(view.ndim):
                size *= view.shape[d]
            parts[name.value.decode()] = C.string_at(view.data, size) if size else b""
        return parts

    def to_dlpack(self, index):
        pointer = C.c_void_p()
        self.library.check(self.library.c.fourbit_weight_to_dlpack(self.handle, C.c_uint32(index), C.byref(pointer)))
        return Exported(pointer.value)

    def dequantize(self, shape, dtype):
        out = torch.empty(shape, dtype=dtype)
        view = self.library.view(out)
        self.library.check(self.library.c.fourbit_dequantize(self.library.context, self.handle, C.byref(view)))
        return out

    def gemm(self, x, width, flags=0, out=None):
        out = torch.empty((*x.shape[:-1], width), dtype=x.dtype) if out is None else out
        config = GemmConfig(C.sizeof(GemmConfig), flags)
        vx, vy = self.library.view(x), self.library.view(out)
        c = self.library.c
        self.library.check(
            c.fourbit_gemm(self.library.context, C.byref(vx), self.handle, None, C.byref(config), C.byref(vy))
        )
        return out
