"""ONNX Runtime's contributed operator MatMulBnb4, float32."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from peers import operands
from peers.case import BLOCK, Case, copies

NF4 = 1
# fmt: off
CODEBOOK = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
], np.float32)
# fmt: on


def quantize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes, the first of two elements in the high nibble, and absmax."""
    blocks = values.reshape(-1, BLOCK)
    absmax = np.abs(blocks).max(axis=1)
    middles = (CODEBOOK[1:] + CODEBOOK[:-1]) / 2
    codes = np.searchsorted(middles, (blocks / absmax[:, None]).ravel()).astype(np.uint8)
    return codes[0::2] << 4 | codes[1::2], absmax


class Peer:
    def __init__(self, threads: int, rotation: int) -> None:
        self.threads, self.rotation = threads, rotation
        self.weights, self.key = [], None

    def about(self) -> str:
        return f"ONNX Runtime {onnxruntime.__version__} MatMulBnb4"

    def session(self, case: Case) -> onnxruntime.InferenceSession:
        """A graph of one node whose weight is an input, so that weights can take turns."""
        node = helper.make_node(
            "MatMulBnb4",
            ["x", "codes", "absmax"],
            ["y"],
            domain="com.microsoft",
            K=case.k,
            N=case.n,
            block_size=BLOCK,
            quant_type=NF4,
        )
        elements = case.n * case.k
        graph = helper.make_graph(
            [node],
            "product",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [case.m, case.k]),
                helper.make_tensor_value_info("codes", TensorProto.UINT8, [elements // 2]),
                helper.make_tensor_value_info("absmax", TensorProto.FLOAT, [elements // BLOCK]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [case.m, case.n])],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def prepare(self, case: Case):
        if case.operation != "gemm" or case.dtype != "float32" or case.double:
            return None
        session = self.session(case)
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        if case.weights() != self.key:
            self.weights = []
            codes, absmax = quantize(operands.weight(case))
            count = copies(case.packed_bytes(), self.rotation)
            self.weights = [(value(codes.copy()), value(absmax.copy())) for _ in range(count)]
            self.key = case.weights()
        weights = self.weights
        x = value(operands.inputs(case))
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        y = onnxruntime.OrtValue.ortvalue_from_shape_and_type((case.m, case.n), np.float32)
        binding.bind_ortvalue_output("y", y)

        def operation(i: int) -> None:
            codes, absmax = weights[i % len(weights)]
            binding.bind_ortvalue_input("codes", codes)
            binding.bind_ortvalue_input("absmax", absmax)
            session.run_with_iobinding(binding)

        operation(0)
        return operation, y.numpy()[0, :4].tolist()
