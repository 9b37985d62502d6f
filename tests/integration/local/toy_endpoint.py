"""Writes a whole endpoint: declaration, rules and a real (tiny) ONNX artifact, as a build would leave them."""

import hashlib
import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

_DECLARATION = """\
api: headrace/v1
name: {name}
task: tabular-scoring
description: Doubles three numbers.
inputs: [{{name: x, datatype: FP32, shape: [-1, 3]}}]
outputs: [{{name: y, datatype: FP32, shape: [-1, 3]}}]
versions:
  v1: {{artifact: "{v1}", weight: 1}}
  v2: {{artifact: "{v2}", weight: 0}}
hardware: {{accelerator: cpu, instance_types: [ml.c7i.large]}}
capacity: {{mode: always_on, min_instances: 1, max_instances: 1, concurrent_requests_per_instance: 8}}
deadline: {{default_ms: 5000, max_ms: 10000}}
slo: {{latency_p99_ms: 500, availability: 0.999}}
fallback:
  - {{kind: rules, timeout_ms: 4000}}
"""

_PLANS = """\
api: headrace/v1
plans:
  standard: {tier: 5, concurrency: 64, rate: {per_second: 200, burst: 400}}
"""

_RULES = '''\
"""Three times nothing."""


def answer(tensors: dict, parameters: dict) -> dict:
    """Answers zeros of the right shape."""
    return {"y": [[0.0, 0.0, 0.0] for _ in range(len(tensors["x"]) // 3)]}
'''


def write_toy_endpoint(folder: Path, name: str = "toy") -> tuple[Path, Path]:
    """Writes the endpoint and returns the folders of declarations and of artifacts."""
    endpoints, artifacts = folder / "endpoints", folder / "artifacts"
    digests = {version: write_artifact(artifacts / name / version, name, version) for version in ("v1", "v2")}
    (endpoints / name).mkdir(parents=True)
    (endpoints / name / "endpoint.yaml").write_text(_DECLARATION.format(name=name, **digests))
    (endpoints / name / "rules.py").write_text(_RULES)
    (endpoints / "plans.yaml").write_text(_PLANS)
    return endpoints, artifacts


def write_artifact(folder: Path, name: str, version: str, *, factor: float | None = None) -> str:
    """Writes a version that multiplies, by 2 (v1) or 4 unless said otherwise, and returns its digest."""
    folder.mkdir(parents=True)
    times = factor if factor is not None else 2.0 if version == "v1" else 4.0
    constant = helper.make_tensor("factor", TensorProto.FLOAT, [1], [times])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [constant],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(content)
    manifest = {
        "format": 1,
        "endpoint": name,
        "version": version,
        "task": "tabular-scoring",
        "files": {"model.onnx": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}},
        "metrics": {},
        "sources": [],
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    (folder / "manifest.json").write_text(text)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
