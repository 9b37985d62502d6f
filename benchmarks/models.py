"""The two models the serving program is measured with: their graphs, their requests, their artifacts.

Both have random weights from a fixed seed: speed depends on shapes, not on what was learnt.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoder import SEQUENCE, VOCABULARY, encoder
from benchmarks.graph import Graph

SEED = 20261121
BODIES = 64
FEATURES = 128
DECIMALS = 4

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model under load.

    Attributes:
        name: Its endpoint's name.
        artifact: Its artifact's directory.
        feeds: Sixty-four different one-row inputs.
        bodies: The same as Open Inference Protocol requests in JSON.
    """

    name: str
    artifact: Path
    feeds: tuple[Feeds, ...]
    bodies: tuple[bytes, ...]

    @property
    def onnx(self) -> Path:
        """The ONNX file."""
        return self.artifact / "model.onnx"


def mlp() -> bytes:
    """128 → 512 → 512 → 10 in single precision, 0.67 MFLOP a row: so small that everything around it shows."""
    graph = Graph(seed=SEED)
    hidden = graph.relu(graph.linear("x", FEATURES, 512))
    hidden = graph.relu(graph.linear(hidden, 512, 512))
    graph.rename(graph.linear(hidden, 512, 10), "y")
    return graph.model(inputs=[("x", "FP32", ["rows", FEATURES])], outputs=[("y", "FP32", ["rows", 10])])


def write_artifact(folder: Path, *, endpoint: str, files: dict[str, bytes]) -> Path:
    """Write an artifact with the manifest that the serving program verifies.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {
        "format": 1,
        "endpoint": endpoint,
        "version": "v1",
        "task": "tabular-scoring",
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        },
        "metrics": {},
        "sources": [],
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def body_of(feeds: Feeds) -> bytes:
    """One request of the Open Inference Protocol."""
    datatypes = {"float32": "FP32", "int64": "INT64"}
    inputs: list[dict[str, Any]] = [
        {
            "name": name,
            "datatype": datatypes[array.dtype.name],
            "shape": list(array.shape),
            # Rounded again as Python floats, or each number is written with seventeen digits.
            "data": [round(value, DECIMALS) for value in array.reshape(-1).tolist()],
        }
        for name, array in feeds.items()
    ]
    return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


def make_mlp(scratch: Path) -> BenchModel:
    """The small model, and inputs of four decimals (a body of 1.1 KB)."""
    random = np.random.default_rng(SEED)
    feeds = tuple(
        {"x": np.round(random.standard_normal((1, FEATURES)), DECIMALS).astype(np.float32)} for _ in range(BODIES)
    )
    artifact = write_artifact(scratch / "mlp", endpoint="mlp", files={"model.onnx": mlp()})
    return BenchModel("mlp", artifact, feeds, tuple(map(body_of, feeds)))


def make_encoder(scratch: Path) -> BenchModel:
    """The encoder, and token sequences of different lengths padded to 32."""
    random = np.random.default_rng(SEED)
    feeds = []
    for _ in range(BODIES):
        length = int(random.integers(8, SEQUENCE + 1))
        ids = np.zeros((1, SEQUENCE), dtype=np.int64)
        ids[0, :length] = random.integers(1000, VOCABULARY, length)
        mask = np.zeros((1, SEQUENCE), dtype=np.int64)
        mask[0, :length] = 1
        feeds.append({"input_ids": ids, "attention_mask": mask})
    artifact = write_artifact(scratch / "encoder", endpoint="encoder", files={"model.onnx": encoder(seed=SEED)})
    return BenchModel("encoder", artifact, tuple(feeds), tuple(map(body_of, feeds)))
