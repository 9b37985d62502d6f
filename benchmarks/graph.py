"""Writes ONNX graphs node by node, with random weights; shapes like these need no exporter and no framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10
WEIGHT_SCALE = 0.02  # of a normal distribution, as BERT was initialised

Port = tuple[str, str, Sequence[int | str]]
_KINDS = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}


class Graph:
    """A graph being written.

    Args:
        seed: Of the weights; equal seeds give equal bytes.
    """

    def __init__(self, *, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._names = 0

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        output = self._name(kind.lower())
        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=f"n_{output}", **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = self._name("c")
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        """Add a list of integers, as shapes and axes want them."""
        return self.constant(np.array(values, dtype=np.int64))

    def weights(self, *shape: int, scale: float = WEIGHT_SCALE) -> str:
        """Add normally distributed weights."""
        return self.constant((self._random.standard_normal(shape) * scale).astype(np.float32))

    def linear(self, source: str, width_in: int, width_out: int) -> str:
        """Add a dense layer; its scale keeps the variance, so that a random network neither dies nor explodes."""
        product = self.add("MatMul", source, self.weights(width_in, width_out, scale=width_in**-0.5))
        return self.add("Add", product, self.weights(width_out))

    def relu(self, source: str) -> str:
        """Add a rectifier."""
        return self.add("Relu", source)

    def normalised(self, source: str, width: int) -> str:
        """Add a layer normalisation over the last axis."""
        ones = self.constant(np.ones(width, dtype=np.float32))
        zeros = self.constant(np.zeros(width, dtype=np.float32))
        return self.add("LayerNormalization", source, ones, zeros, axis=-1, epsilon=1e-12)

    def rename(self, source: str, name: str) -> None:
        """Give a result the name of an output."""
        self._nodes.append(helper.make_node("Identity", [source], [name], name=f"n_{name}"))

    def model(self, *, inputs: Sequence[Port], outputs: Sequence[Port]) -> bytes:
        """The finished model, serialised."""
        graph = helper.make_graph(
            self._nodes, "benchmark", [_value(port) for port in inputs], [_value(port) for port in outputs],
            self._constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return bytes(model.SerializeToString(deterministic=True))

    def _name(self, stem: str) -> str:
        self._names += 1
        return f"{stem}_{self._names}"


def _value(port: Port) -> Any:
    name, kind, shape = port
    return helper.make_tensor_value_info(name, _KINDS[kind], list(shape))
