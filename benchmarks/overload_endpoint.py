"""An endpoint that is slow enough to be what gives way: a fixed amount of work a request, on one core, never batched.

A stack of residual feed-forward blocks over a small input. All blocks share their weights (as in ALBERT, arXiv
1909.11942): the work grows with their number and the file does not. How many there are is found by measuring, so that a
request takes about the same time on any machine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.graph import Graph
from benchmarks.models import write_artifact
from benchmarks.peers.session import open_session

SEED = 20261122
FEATURES = 16
TOKENS = 64
WIDTH = 256
INNER = 4 * WIDTH
CLASSES = 4
BODIES = 32
TRIAL_BLOCKS = 8
TRIALS = 5
NAME = "tower"

_DECLARATION = """\
api: headrace/v1
name: {name}
task: tabular-scoring
description: Sixteen numbers, and a fixed amount of work.
inputs: [{{name: x, datatype: FP32, shape: [-1, {features}]}}]
outputs: [{{name: y, datatype: FP32, shape: [-1, {classes}]}}]
versions:
  v1: {{artifact: "{digest}", weight: 1}}
hardware: {{accelerator: cpu, instance_types: [ml.c7i.large]}}
capacity: {{mode: always_on, min_instances: 1, max_instances: 1, concurrent_requests_per_instance: 8}}
batching: {{max_size: 1, queue_max: 64}}
deadline: {{default_ms: {deadline_ms}, max_ms: 10000}}
slo: {{latency_p99_ms: {slo_ms}, availability: 0.999}}
"""
_PLANS = """\
api: headrace/v1
plans:
  free: {tier: 0, concurrency: 10000, rate: {per_second: 10000, burst: 20000}}
  standard: {tier: 5, concurrency: 10000, rate: {per_second: 10000, burst: 20000}}
  premium: {tier: 9, concurrency: 10000, rate: {per_second: 10000, burst: 20000}}
"""
"""The tiers of the real plans, without their limits: it is shedding that is measured."""


@dataclass(frozen=True, slots=True)
class Tower:
    """The endpoint as it lies on disk.

    Attributes:
        endpoints: The folder of declarations.
        artifacts: The folder of artifacts.
        onnx: The model, for the peer.
        bodies: Requests of the Open Inference Protocol in JSON.
        blocks: How many there are.
        service_s: What one request takes on one idle core.
    """

    endpoints: Path
    artifacts: Path
    onnx: Path
    bodies: tuple[str, ...]
    blocks: int
    service_s: float


def make_tower(folder: Path, *, service_s: float, slo_ms: int, deadline_ms: int) -> Tower:
    """Write the endpoint, with as many blocks as take `service_s` on this machine."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    trial = folder / "trial.onnx"
    trial.write_bytes(tower(TRIAL_BLOCKS))
    blocks = max(1, round(TRIAL_BLOCKS * service_s / best_s(trial)))
    endpoints, artifacts = folder / "endpoints", folder / "artifacts"
    artifact = write_artifact(artifacts / NAME / "v1", endpoint=NAME, files={"model.onnx": tower(blocks)})
    digest = hashlib.sha256((artifact / "manifest.json").read_bytes()).hexdigest()
    declaration = _DECLARATION.format(
        name=NAME, features=FEATURES, classes=CLASSES, digest=f"sha256:{digest}", slo_ms=slo_ms, deadline_ms=deadline_ms
    )
    (endpoints / NAME).mkdir(parents=True)
    (endpoints / NAME / "endpoint.yaml").write_text(declaration, encoding="utf-8")
    (endpoints / "plans.yaml").write_text(_PLANS, encoding="utf-8")
    onnx = artifact / "model.onnx"
    return Tower(endpoints, artifacts, onnx, bodies(), blocks, best_s(onnx))


def tower(blocks: int) -> bytes:
    """The model: [rows, 16] in, [rows, 4] out."""
    graph = Graph(seed=SEED)
    spread = graph.linear("x", FEATURES, TOKENS * WIDTH)
    hidden = graph.add("Reshape", spread, graph.integers(0, TOKENS, WIDTH))
    up, down = graph.weights(WIDTH, INNER, scale=WIDTH**-0.5), graph.weights(INNER, WIDTH, scale=INNER**-0.5)
    ones = graph.constant(np.ones(WIDTH, dtype=np.float32))
    zeros = graph.constant(np.zeros(WIDTH, dtype=np.float32))
    for _ in range(blocks):
        inner = graph.relu(graph.add("MatMul", hidden, up))
        total = graph.add("Add", hidden, graph.add("MatMul", inner, down))
        hidden = graph.add("LayerNormalization", total, ones, zeros, axis=-1, epsilon=1e-12)
    mean = graph.add("ReduceMean", hidden, graph.integers(1), keepdims=0)
    graph.rename(graph.linear(mean, WIDTH, CLASSES), "y")
    return graph.model(inputs=[("x", "FP32", ["rows", FEATURES])], outputs=[("y", "FP32", ["rows", CLASSES])])


def bodies() -> tuple[str, ...]:
    """Different one-row requests of some two hundred bytes."""
    random = np.random.default_rng(SEED)
    rows = np.round(random.standard_normal((BODIES, FEATURES)), 4).tolist()
    inputs = ({"name": "x", "datatype": "FP32", "shape": [1, FEATURES], "data": row} for row in rows)
    return tuple(json.dumps({"inputs": [tensor]}, separators=(",", ":")) for tensor in inputs)


def best_s(onnx: Path) -> float:
    """The least of a few runs on one thread: what disturbs a measurement only ever adds."""
    session = open_session(onnx)
    feed = {"x": np.zeros((1, FEATURES), dtype=np.float32)}

    def once() -> float:
        start_s = time.perf_counter()
        session.run(None, feed)
        return time.perf_counter() - start_s

    return min(once() for _ in range(TRIALS))
