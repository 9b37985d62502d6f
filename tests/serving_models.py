"""Small artifacts for the serving program's tests: real ONNX files, real model.py files, real manifests."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

OPSET = 20
IR_VERSION = 10
POISON = 666.0

MARKED_ROWS_CODE = """
import time
import numpy as np

class Model:
    inputs = (("x", "FP32", (-1, 4)),)
    outputs = (("y", "FP32", (-1, 4)),)
    metadata = {"labels": ["a", "b"]}

    def example(self):
        return {"x": np.ones((1, 4), dtype=np.float32)}, {}

    def preprocess(self, tensors, parameters):
        if (tensors["x"] == -1).any():
            error = ValueError("x: must not hold the reserved value")
            error.code = "reserved_value"
            raise error
        if (tensors["x"] == -2).any():
            raise RuntimeError("a bug in preprocessing")
        return {"x": tensors["x"]}, len(tensors["x"])

    def collate(self, feeds):
        joined = np.concatenate([feed["x"] for feed in feeds])
        if len(feeds) > 1 and (joined == 666).any():
            raise RuntimeError("one of you is poison")
        time.sleep(SLEEP_S)
        return {"x": joined}

    def postprocess(self, outputs, state, parameters):
        if len(outputs["y"]) != state:
            raise AssertionError("rows of another caller")
        if (outputs["y"] == 666).any():
            error = ValueError("x: the marked row is refused")
            error.code = "marked_row"
            raise error
        return outputs

def load(directory):
    return Model()
"""

SLOW_CODE = """
import pathlib
import time
import numpy as np

class Model:
    inputs = (("x", "FP32", (-1, 4)),)
    outputs = (("y", "FP32", (-1, 4)),)
    metadata = {}

    def example(self):
        return {"x": np.ones((1, 4), dtype=np.float32)}, {}

    def preprocess(self, tensors, parameters):
        return {"x": tensors["x"]}, None

    def postprocess(self, outputs, state, parameters):
        time.sleep(SLEEP_S)
        while HOLD and pathlib.Path(HOLD).exists():
            time.sleep(0.002)
        return outputs

def load(directory):
    return Model()
"""


def model_of(
    nodes: list[Any], *, inputs: list[Any], outputs: list[Any], initializers: list[Any] | None = None
) -> bytes:
    """Serialise a graph as an ONNX model."""
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def value(name: str, kind: int, shape: list[int | str]) -> Any:
    """Name one graph input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def identity(*, kind: int = TensorProto.FLOAT, width: int = 4) -> bytes:
    """Y = x, rows free."""
    return model_of(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs=[value("x", kind, ["rows", width])],
        outputs=[value("y", kind, ["rows", width])],
    )


def mlp(*, width: int = 16) -> bytes:
    """One layer with fixed random weights."""
    weights = np.random.default_rng(0).standard_normal((width, 3)).astype(np.float32)
    return model_of(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        inputs=[value("x", TensorProto.FLOAT, ["rows", width])],
        outputs=[value("y", TensorProto.FLOAT, ["rows", 3])],
        initializers=[numpy_helper.from_array(weights, "w")],
    )


def row_mixing() -> bytes:
    """A softmax over the batch: a row's answer depends on its neighbours."""
    return model_of(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        inputs=[value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[value("y", TensorProto.FLOAT, ["rows", 4])],
    )


def centred() -> bytes:
    """Y = x - mean(x over the batch): equal neighbours leave a row's answer alone, unlike ones do not."""
    axes = numpy_helper.from_array(np.array([0], dtype=np.int64), "axes")
    return model_of(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["y"]),
        ],
        inputs=[value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[value("y", TensorProto.FLOAT, ["rows", 4])],
        initializers=[axes],
    )


def classifier_with_maps() -> bytes:
    """What scikit-learn exports: a tensor of labels beside a sequence of maps."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
    ]
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph(
        nodes,
        "test",
        [value("x", TensorProto.FLOAT, ["rows", 2])],
        [value("label", TensorProto.INT64, ["rows"]), helper.make_value_info("maps", maps)],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())


def lookup(*, size: int = 5) -> bytes:
    """Y = table[x]: an index beyond the table fails in ONNX Runtime."""
    table = np.arange(size, dtype=np.float32).reshape(size, 1)
    return model_of(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        inputs=[value("x", TensorProto.INT64, ["rows"])],
        outputs=[value("y", TensorProto.FLOAT, ["rows", 1])],
        initializers=[numpy_helper.from_array(table, "table")],
    )


def write_artifact(
    directory: Path, *, onnx_bytes: bytes, code: str | None = None, endpoint: str = "toy", version: str = "v1"
) -> Path:
    """Write an artifact with its manifest.

    Returns:
        Its directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = {"model.onnx": onnx_bytes} | ({"model.py": code.encode()} if code is not None else {})
    for name, raw in files.items():
        (directory / name).write_bytes(raw)
    manifest = {
        "format": 1,
        "endpoint": endpoint,
        "version": version,
        "task": "tabular-scoring",
        "files": {name: {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)} for name, raw in files.items()},
        "metrics": {},
        "sources": [],
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    (directory / "manifest.json").write_text(text)
    return directory


def check(onnx_bytes: bytes) -> bytes:
    """Check a model with the onnx package."""
    onnx.checker.check_model(onnx.load_from_string(onnx_bytes))
    return onnx_bytes
