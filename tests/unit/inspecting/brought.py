"""ONNX files as people bring them: sound, odd, broken and dangerous ones."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.serving_models import IR_VERSION, OPSET, value

WIDTH = 4


def model(nodes: list[Any], *, initializers: list[Any] | None = None, **changed: Any) -> Any:
    """A model from x [rows, 4] to y [rows, 4], or as said."""
    graph = helper.make_graph(
        nodes,
        "brought",
        changed.pop("inputs", [value("x", TensorProto.FLOAT, ["rows", WIDTH])]),
        changed.pop("outputs", [value("y", TensorProto.FLOAT, ["rows", WIDTH])]),
        initializers or [],
    )
    opsets = changed.pop("opsets", [helper.make_opsetid("", OPSET)])
    return helper.make_model(graph, opset_imports=opsets, **{"ir_version": IR_VERSION, **changed})


def scaled(weights: np.ndarray | None = None) -> Any:
    """Y = x * w, with w stored."""
    array = np.arange(1, WIDTH + 1, dtype=np.float32) if weights is None else weights
    return model([helper.make_node("Mul", ["x", "w"], ["y"])], initializers=[numpy_helper.from_array(array, "w")])


def node(op: str, domain: str = "", **attributes: Any) -> Any:
    """A model of one operator."""
    opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return model([helper.make_node(op, ["x"], ["y"], domain=domain, **attributes)], opsets=opsets)


def external(folder: Path, location: str, *, content: bytes | None = None, **entries: str) -> Path:
    """A file whose weights lie in another one."""
    brought = scaled()
    tensor = brought.graph.initializer[0]
    raw, tensor.data_location = tensor.raw_data, TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    for key, text in {"location": location, "length": str(len(raw)), **entries}.items():
        tensor.external_data.add(key=key, value=text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(raw if content is None else content)
    return save(brought, folder / "model.onnx")


def save(brought: Any, path: Path) -> Path:
    """Writes a model as it is, without a check."""
    path.write_bytes(brought.SerializeToString())
    return path


def bomb() -> Any:
    """A small file that asks for a terabyte when it runs."""
    size = numpy_helper.from_array(np.array([1 << 20, 1 << 18], dtype=np.int64), "size")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return model(nodes, initializers=[size])


def check(brought: Any) -> Any:
    """The model, checked by onnx itself."""
    onnx.checker.check_model(brought)
    return brought
