"""From checked declarations to the catalog, and what only all of them together can get wrong."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.catalog import AsyncRules, BatchRules, CacheRules, Capabilities, Catalog, Endpoint, Limits, Rung, Version
from headrace.declaration.policy import CostDeclaration, CpuRung, VariantRung
from headrace.declaration.schema import EndpointDeclaration, TensorDeclaration, VersionDeclaration
from headrace.plans import Cost, Plan
from headrace.tasks.contracts import TASKS
from headrace.tensors import TensorSpec


def compile_catalog(declarations: list[EndpointDeclaration], plans: Mapping[str, Plan]) -> Catalog:
    """The catalog of these declarations and plans, in the order of their names."""
    ordered = sorted(declarations, key=lambda declaration: declaration.name)
    return Catalog({declaration.name: _endpoint(declaration) for declaration in ordered}, dict(sorted(plans.items())))


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
            Version(
                name,
                version.artifact,
                version.hosting,
                version.weight,
                capabilities=_capabilities(version, declaration),
                cost=_cost(version.cost),
            )
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
            Rung(rung.kind, rung.timeout_ms, rung.version if isinstance(rung, CpuRung | VariantRung) else "")
            for rung in declaration.fallback
        ),
        cost=_cost(declaration.cost),
        cache=None if declaration.cache is None else CacheRules(**declaration.cache.model_dump()),
        hedge=declaration.hedge,
        batch=_batch(declaration),
        async_inference=_async(declaration),
        components=declaration.components is not None,
    )


def _capabilities(version: VersionDeclaration, declaration: EndpointDeclaration) -> Capabilities:
    """What the version says, and what follows from where it runs and from the endpoint's own limits."""
    serves, limits = version.serves, declaration.limits
    in_function = version.hosting == "function"
    return Capabilities(
        hardware="cpu" if in_function else declaration.hardware.accelerator,
        cost_class=(0 if in_function else 1) if serves.cost_class is None else serves.cost_class,
        languages=tuple(serves.languages),
        max_items=serves.max_items or limits.max_items,
        max_text_chars=serves.max_text_chars or limits.max_text_chars,
        max_payload_bytes=serves.max_payload_bytes or limits.max_payload_bytes,
        tenants=tuple(serves.tenants),
        plans=tuple(serves.plans),
        groups=tuple(serves.groups),
        tier_min=serves.tier_min,
    )


def _batch(declaration: EndpointDeclaration) -> BatchRules:
    declared = declaration.batch
    return BatchRules(
        transform_records_min=declared.transform_records_min,
        transform_instance_type=declared.transform_instance_type or declaration.hardware.instance_types[0],
        transform_instances=declared.transform_instances,
        items_per_request_max=declared.items_per_request_max or declaration.limits.max_items,
    )


def _async(declaration: EndpointDeclaration) -> AsyncRules | None:
    declared = declaration.async_inference
    if declared is None:
        return None
    return AsyncRules(declaration.async_version, timeout_s=declared.timeout_s, queue_s=declared.queue_s)


def _cost(declared: CostDeclaration | None) -> Cost | None:
    if declared is None:
        return None
    return Cost(declared.unit, declared.per_request, declared.per_item, per_s=declared.per_second)
