"""One synthesis of each stage for the whole suite, without bundling, over two made-up declarations."""

from __future__ import annotations

import os

# Before aws_cdk is imported: its template validation costs half a minute of CPU. `test_real_synth.py` keeps it on.
os.environ["CDK_VALIDATION"] = "false"
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "18,20")
os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra_cdk.synth import node_problem

NO_NODE = node_problem()
collect_ignore_glob = ["test_*.py"] if NO_NODE else []

SENTIMENT = """\
api: headrace/v1
name: sentiment
task: text-classification
description: Three-class sentiment of short English text.
labels: [negative, neutral, positive]
versions:
  v1: {artifact: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", weight: 1}
  lite: {artifact: "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", hosting: function}
hardware: {accelerator: gpu, instance_types: [ml.g5.xlarge]}
capacity: {mode: always_on, min_instances: 1, max_instances: 4, concurrent_requests_per_instance: 8}
batching: {max_size: 8, max_delay_ms: 0, queue_max: 128}
deadline: {default_ms: 2000, max_ms: 10000}
slo: {latency_p99_ms: 500, availability: 0.999}
limits: {max_items: 32, max_text_chars: 5000}
fallback:
  - {kind: cpu, version: lite, timeout_ms: 800}
  - {kind: rules}
"""

DETECTION = """\
api: headrace/v1
name: detection
task: object-detection
description: Objects of everyday classes in a photo.
labels: [person, dog]
versions:
  v1: {artifact: "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", weight: 90}
  v2: {artifact: "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd", weight: 10}
hardware: {accelerator: cpu, instance_types: [ml.m5.xlarge, ml.c5.xlarge]}
capacity: {mode: always_on, min_instances: 2, max_instances: 4, concurrent_requests_per_instance: 4}
deadline: {default_ms: 2000, max_ms: 10000}
slo: {latency_p99_ms: 300, availability: 0.99}
limits: {max_image_bytes: 4194304, max_pixels: 40000000}
"""

PLANS = """\
api: headrace/v1
plans:
  standard: {tier: 5, concurrency: 64, rate: {per_second: 200, burst: 400}}
"""


@dataclass(frozen=True, slots=True)
class Synthesised:
    """The templates of one stage, and the costs that the app states."""

    platform: dict[str, Any]
    endpoints: dict[str, Any]
    costs: list[str]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Resources of a CloudFormation type in both templates: logical id to resource."""
        return {
            name: resource
            for template in (self.platform, self.endpoints)
            for name, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    def properties(self, kind: str) -> list[dict[str, Any]]:
        """The same, properties only."""
        return [resource.get("Properties", {}) for resource in self.of_type(kind).values()]


def write_declarations(folder: Path) -> Path:
    """The two made-up endpoints and a plan as a folder of declarations."""
    for name, text in (("sentiment", SENTIMENT), ("detection", DETECTION)):
        (folder / name).mkdir(parents=True)
        (folder / name / "endpoint.yaml").write_text(text, encoding="utf-8")
    (folder / "sentiment" / "rules.py").write_text("", encoding="utf-8")
    (folder / "plans.yaml").write_text(PLANS, encoding="utf-8")
    return folder


def synthesise(stage: str, *, endpoints: Path, folder: Path, checked: bool = True, **context: str) -> Synthesised:
    """Both templates of `stage`; `folder` takes the assembly. Findings of the security review raise."""
    from infra_cdk.app import ROOT, build  # noqa: PLC0415 - importing it starts Node
    from infra_cdk.layers import Bundling  # noqa: PLC0415

    outdir = folder / stage
    built = build(
        root=ROOT,
        endpoints=endpoints,
        bundling=Bundling(folder / "bundles", None, "not compiled"),
        context={"stage": stage, "aws:cdk:bundling-stacks": [], **context},
        outdir=outdir,
        checked=checked,
    )
    built.app.synth()
    platform, models = (
        json.loads((outdir / stack.template_file).read_text(encoding="utf-8"))
        for stack in (built.platform, built.endpoints)
    )
    return Synthesised(platform, models, built.endpoints.costs)


@pytest.fixture(scope="session")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the two made-up declarations."""
    return write_declarations(tmp_path_factory.mktemp("declared"))


@pytest.fixture(scope="session")
def stages(declared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Synthesised]:
    """Every stage, synthesised and reviewed once."""
    folder = tmp_path_factory.mktemp("assemblies")
    return {name: synthesise(name, endpoints=declared, folder=folder) for name in ("dev", "prod")}


@pytest.fixture(params=["dev", "prod"])
def synthesised(request: pytest.FixtureRequest, stages: dict[str, Synthesised]) -> Synthesised:
    """Each stage in turn."""
    stage: str = request.param
    return stages[stage]
