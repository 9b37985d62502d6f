"""An ONNX graph, written node by node: what the converters in the endpoint folders share.

Node and tensor names come from a counter, so that the same calls give the same bytes: an artifact's digest depends on
them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # LayerNormalization is there from 17 on; every provider of ONNX Runtime 1.16 and later runs it
IR_VERSION = 8  # the format that goes with opset 17
INT64_MAX = np.iinfo(np.int64).max  # "to the end" for Slice


class Graph:
    """Collects nodes and weights; every method returns the name of the tensor it made."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: type[np.generic], shape: tuple[str | int, ...]) -> str:
        """Declares an input; a string in ``shape`` is a free dimension."""
        self._inputs.append(helper.make_tensor_value_info(name, _element_type(dtype), shape))
        return name

    def output(self, tensor: str, name: str, dtype: type[np.generic], shape: tuple[str | int, ...]) -> None:
        """Declares ``tensor`` as the output called ``name``."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], name=f"out_{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, _element_type(dtype), shape))

    def constant(self, value: np.ndarray | np.generic) -> str:
        """Stores a weight; an equal one is stored once."""
        array = np.ascontiguousarray(value).reshape(value.shape)  # ascontiguousarray makes a scalar one-dimensional
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._known:
            name = f"w{len(self._weights)}"
            self._weights.append(numpy_helper.from_array(array, name))
            self._known[key] = name
        return self._known[key]

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node with one output."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node with several outputs."""
        number = len(self._nodes)
        names = [f"t{number}" if outputs == 1 else f"t{number}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=f"n{number}", **attributes))
        return names

    def slice(self, tensor: str, *, axis: int, start: int, stop: int = INT64_MAX) -> str:
        """Cuts ``start:stop`` out of one axis."""
        bounds = [self.constant(np.array([value], np.int64)) for value in (start, stop, axis)]
        return self.op("Slice", tensor, *bounds)

    def reshape(self, tensor: str, *shape: int) -> str:
        """Reshapes; 0 keeps a dimension, -1 is worked out."""
        return self.op("Reshape", tensor, self.constant(np.array(shape, np.int64)))

    def save(self, path: Path) -> None:
        """Checks the model with onnx's own checker and writes it.

        Raises:
            onnx.checker.ValidationError: The graph is not valid ONNX.
        """
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="headrace"
        )
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _element_type(dtype: type[np.generic]) -> int:
    return {np.float32: TensorProto.FLOAT, np.int64: TensorProto.INT64}[dtype]  # type: ignore[index]
