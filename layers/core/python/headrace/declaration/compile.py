"""From checked declarations to the catalog, and what only all of them together can get wrong."""

from __future__ import annotations

from headrace.catalog import Catalog, Endpoint, Limits, Rung, Version
from headrace.declaration.schema import CpuRung, EndpointDeclaration, TensorDeclaration
from headrace.tasks.contracts import TASKS
from headrace.tensors import TensorSpec


def compile_catalog(declarations: list[EndpointDeclaration]) -> Catalog:
    """The catalog of these declarations, in the order of their names."""
    ordered = sorted(declarations, key=lambda declaration: declaration.name)
    return Catalog({declaration.name: _endpoint(declaration) for declaration in ordered})


def problems_between(declarations: dict[str, EndpointDeclaration]) -> list[str]:
    """What contradicts between files; `declarations` is by file."""
    problems: list[str] = []
    defaults: dict[str, str] = {}
    for source, declaration in sorted(declarations.items()):
        if declaration.default:
            first = defaults.setdefault(declaration.task, source)
            if first != source:
                problems.append(f"{source}:1: default: {first} is already the default for {declaration.task}")
    return problems


def _specs(declared: list[TensorDeclaration] | None) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in declared or ())


def _endpoint(declaration: EndpointDeclaration) -> Endpoint:
    contract = TASKS[declaration.task]
    limits = declaration.limits
    return Endpoint(
        name=declaration.name,
        task=declaration.task,
        description=declaration.description,
        default=declaration.default,
        labels=tuple(declaration.labels or ()),
        inputs=contract.inputs or _specs(declaration.inputs),
        outputs=contract.outputs or _specs(declaration.outputs),
        versions=tuple(
            Version(name, version.artifact, version.hosting, version.weight)
            for name, version in declaration.versions.items()
        ),
        deadline_default_ms=declaration.deadline.default_ms,
        deadline_max_ms=declaration.deadline.max_ms,
        slo_latency_p99_ms=declaration.slo.latency_p99_ms,
        limits=Limits(
            max_payload_bytes=limits.max_payload_bytes,
            max_items=limits.max_items,
            max_text_chars=limits.max_text_chars,
            max_image_bytes=limits.max_image_bytes,
            max_pixels=limits.max_pixels,
        ),
        ladder=tuple(
            Rung(rung.kind, rung.timeout_ms, rung.version if isinstance(rung, CpuRung) else "")
            for rung in declaration.fallback
        ),
    )
