"""The page that documents the declared endpoints, written from the declarations themselves."""

from __future__ import annotations

from headrace.declaration.schema import EndpointDeclaration
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION

_ROUTES = {TEXT_CLASSIFICATION: "POST /v1/classifications", OBJECT_DETECTION: "POST /v1/detections"}
HEAD = """\
# Endpoints

Written by `make docs` from `endpoints/*/endpoint.yaml`; a test fails when the two differ.
"""


def write_page(declarations: list[EndpointDeclaration]) -> str:
    """Markdown: one section per endpoint, in the order of their names."""
    return "\n".join([HEAD, *(_section(declaration) for declaration in declarations)])


def _section(declaration: EndpointDeclaration) -> str:
    hosted = {name: version for name, version in declaration.versions.items() if version.hosting == "endpoint"}
    total = sum(version.weight for version in hosted.values())
    shares = ", ".join(f"`{name}` {version.weight / total:.0%}" for name, version in hosted.items())
    rungs = [f"`{rung.kind}` ({rung.timeout_ms} ms)" for rung in declaration.fallback]
    ladder = " → ".join(["primary", *rungs, "503 with `Retry-After`"])
    limits = ", ".join(
        f"`{name}` {value}" for name, value in declaration.limits.model_dump().items() if value is not None
    )
    capacity, hardware = declaration.capacity, declaration.hardware
    rows = (
        ("task", declaration.task + (" (default)" if declaration.default else "")),
        ("ask at", f"`{_ROUTES.get(declaration.task, f'POST /v2/models/{declaration.name}/infer')}`"),
        ("labels", ", ".join(declaration.labels or ()) or "-"),
        ("traffic", shares),
        ("ladder", ladder),
        ("deadline", f"{declaration.deadline.default_ms} ms, at most {declaration.deadline.max_ms} ms on request"),
        ("SLO", f"p99 {declaration.slo.latency_p99_ms} ms, availability {declaration.slo.availability:.3%}"),
        ("limits", limits),
        ("runs on", f"{hardware.accelerator}: {', '.join(hardware.instance_types)}"),
        (
            "capacity",
            (
                f"{capacity.mode}, {capacity.min_instances} to {capacity.max_instances} instances per version, "
                f"{capacity.concurrent_requests_per_instance} requests each"
            ),
        ),
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"## {declaration.name}\n\n{declaration.description}\n\n| | |\n| --- | --- |\n{table}\n"
