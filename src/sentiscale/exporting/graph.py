"""Build an ONNX graph node by node: constants by value, results by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 18
"""The first with BitwiseXor; ONNX Runtime reads it since 1.14 (early 2023)."""
IR_VERSION = 8
"""The file format that came with this opset."""
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators, which the quantised LSTM is one of."""

SMALL_BYTES = 256

INT64, UINT64, INT32, FLOAT = TensorProto.INT64, TensorProto.UINT64, TensorProto.INT32, TensorProto.FLOAT

Value = str | npt.NDArray[Any] | np.generic
"""What a node reads: the name of a result, or numbers; "" leaves an optional input out."""


class Graph:
    """Nodes in the order they are added, so that each reads only what stands before it."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, operator: str, *inputs: Value, domain: str = "", **attributes: Any) -> str:
        """Add a node with one result; returns the result's name."""
        return self.add_many(operator, 1, *inputs, domain=domain, **attributes)[0]

    def add_many(
        self, operator: str, results: int, *inputs: Value, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several results; returns their names."""
        number = len(self._nodes)
        names = [f"{operator}_{number}_{place}" for place in range(results)]
        read = [value if isinstance(value, str) else self._constant(np.asarray(value)) for value in inputs]
        self._nodes.append(
            helper.make_node(operator, read, names, f"{operator}_{number}", domain=domain, **attributes)
        )
        return names

    def name_result(self, value: str, name: str) -> None:
        """Make a value a result of the whole graph under a name of its own."""
        self._nodes.append(helper.make_node("Identity", [value], [name], f"result_{name}"))

    def model(
        self, inputs: Mapping[str, tuple[int, list[str]]], results: Mapping[str, tuple[int, list[str]]]
    ) -> ModelProto:
        """The whole as a model; inputs and results are given as type and names of the dimensions."""
        given, made = (
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in values.items()]
            for values in (inputs, results)
        )
        graph = helper.make_graph(self._nodes, "sentiscale", given, made, initializer=self._tensors)
        domains = {"": OPSET, **{node.domain: 1 for node in self._nodes if node.domain}}
        opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _constant(self, numbers: npt.NDArray[Any]) -> str:
        # Small ones occur again and again; tables do not, and would be kept twice as keys.
        key = (numbers.dtype.str, numbers.shape, numbers.tobytes()) if numbers.nbytes <= SMALL_BYTES else None
        if key is not None and key in self._known:
            return self._known[key]
        name = f"constant_{len(self._tensors)}"
        self._tensors.append(numpy_helper.from_array(np.asarray(numbers, order="C"), name))
        if key is not None:
            self._known[key] = name
        return name


def whole(number: int) -> np.int64:
    """A scalar constant."""
    return np.int64(number)


def axes(*numbers: int) -> npt.NDArray[np.int64]:
    """A list of axes, places or sizes, as many operators take it."""
    return np.array(numbers, np.int64)
