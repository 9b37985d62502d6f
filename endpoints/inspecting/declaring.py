"""From an inspection to a declaration: the one to start with, or the mends of one that is there."""

import json
import math
from collections.abc import Sequence
from typing import Any

from endpoints.inspecting.inspection import TASK, Inspection

GOLDEN_NAME = "golden.json"
TOLERANCE = 1e-2
"""Of the largest value: other processors and batch sizes round otherwise."""
_LATENCY_FACTOR = 20
"""From a lone request on this machine to an objective under load; to be set right by what is measured there."""
_SLO_MIN_MS, _DEADLINE_MIN_MS, _DEADLINE_MAX_MS, _PATIENCE = 100, 1000, 10_000, 4
_DESCRIPTION_CHARS_MAX = 500

Tensor = tuple[str, str, tuple[int, ...]]


def starting_declaration(inspection: Inspection, *, name: str, version: str, digest: str) -> str:
    """An ``endpoint.yaml`` that serves the model through ``/v2``; what cannot be known is a guess and says so."""
    slo = max(_SLO_MIN_MS, math.ceil(inspection.trial.latency_ms * _LATENCY_FACTOR / 100) * 100)
    deadline = max(_DEADLINE_MIN_MS, _PATIENCE * slo)
    said = f" by {inspection.facts.producer}" if inspection.facts.producer else ""
    description = f"{inspection.path.name}, an ONNX model made{said}; say here what it is for."[:_DESCRIPTION_CHARS_MAX]
    lines = [
        "# Written by `headrace models inspect --write`. Guesses to set right: description, meanings, hardware and",
        "# capacity; deadline and slo come from one request on the machine that inspected it.",
        "api: headrace/v1",
        f"name: {name}",
        f"task: {TASK}",
        f"description: {_text(description)}",
        "api_version: 1",
        *_tensors("inputs", inspection),
        *_tensors("outputs", inspection),
        "versions:",
        f'  {version}: {{artifact: "{digest}", weight: 1}}',
        "hardware: {accelerator: cpu, instance_types: [ml.c6i.large, ml.m5.large]}",
        "capacity: {mode: always_on, min_instances: 1, max_instances: 2, concurrent_requests_per_instance: 8}",
        f"deadline: {{default_ms: {deadline}, max_ms: {max(deadline, _DEADLINE_MAX_MS)}}}",
        f"slo: {{latency_p99_ms: {slo}, availability: 0.999}}",
        "# What this very file answered to a made-up request: put requests of your own, with answers that you know.",
        "golden:",
        "  - name: recorded",
        f"    request: {GOLDEN_NAME}",
        "    expect:",
        *(f"      - {line}" for line in _expectations(inspection)),
    ]
    return "\n".join(lines) + "\n"


def mends(inspection: Inspection, *, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    """What a declaration's tensors must be changed to, line by line; empty where they are the model's."""
    found: list[str] = []
    for side, declared in (("inputs", inputs), ("outputs", outputs)):
        real = {name: (name, datatype, shape) for name, datatype, shape in inspection.signature(side)}
        for index, (name, datatype, shape) in enumerate(declared):
            where = f"{side}[{index}] ({name})"
            if name not in real:
                found.append(f"{where}: the model has no such tensor: remove it; it has {', '.join(real)}")
                continue
            _, kind, sizes = real[name]
            if datatype != kind:
                found.append(f"{where}: the model has {kind}, declared is {datatype}: write datatype: {kind}")
            if not _serves(side, declared=tuple(shape), real=sizes):
                found.append(
                    f"{where}: the model has {list(sizes)}, declared is {list(shape)}: write shape: {list(sizes)}"
                )
        named = {name for name, _, _ in declared}
        # An output may stay undeclared: nobody is promised it.
        missing = [tensor for name, tensor in real.items() if name not in named and side == "inputs"]
        found += [f"{side}: the model needs {tensor[0]} too: add {_flow(tensor)}" for tensor in missing]
    return found


def _serves(side: str, *, declared: tuple[int, ...], real: tuple[int, ...]) -> bool:
    """Whether what is declared can be kept: inputs may be narrower than the model's, outputs wider."""
    wider, narrower = (real, declared) if side == "inputs" else (declared, real)
    return len(wider) == len(narrower) and all(a in (-1, b) for a, b in zip(wider, narrower, strict=True))


def _tensors(side: str, inspection: Inspection) -> list[str]:
    return [f"{side}:", *(f"  - {_flow(tensor)}" for tensor in inspection.signature(side))]


def _flow(tensor: Tensor) -> str:
    name, datatype, shape = tensor
    return f"{{name: {_text(name)}, datatype: {datatype}, shape: {list(shape)}}}"


def _expectations(inspection: Inspection) -> list[str]:
    lines = []
    for name, datatype, shape in inspection.signature("outputs"):
        said = [f"output: {_text(name)}", f"shape: {list(shape)}"]
        values = inspection.trial.answer.get(name)
        if values is not None and datatype in {"FP16", "FP32", "FP64"}:
            largest = max((abs(value) for value in values), default=0.0)
            said += [f"near: {_list(values)}", f"tolerance: {float(f'{max(TOLERANCE * largest, 1e-6):.3g}')!r}"]
        elif values is not None:
            said += [f"equals: {_list(values)}"]
        lines.append(f"{{{', '.join(said)}}}")
    return lines


def _list(values: Sequence[Any]) -> str:
    return f"[{', '.join(_text(value) if isinstance(value, str) else _number(value) for value in values)}]"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # YAML 1.1 reads 1e-07 as text: a number needs its point.
    return f"{value:.10f}" if isinstance(value, float) and "e" in repr(value) and abs(value) < 1 else repr(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)
