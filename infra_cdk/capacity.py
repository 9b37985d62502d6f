"""What a declaration means in instances: the decisions, without CDK.

Each hosted version is a production variant with its own instances, because the gateway chooses the variant per caller
and a variant without instances could not answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from headrace.declaration.schema import EndpointDeclaration

_LOCAL_STORAGE = re.compile(r"^ml\.(g[4-7]\w*|gr6\w*|p3dn|p4\w*|p5\w*|p6\S*|trn\w+|[a-z]+\d[a-z]*d[a-z]*)\.")
"""Instance families with local NVMe storage (EC2 user guide, "Instance store volumes")."""
_ARM = re.compile(r"^ml\.[a-z]+\d+g[a-z]*\.")
"""Graviton families carry a g after their generation."""

CANARY_PERCENT = 10
CANARY_INSTANCES_MIN = 2
"""A canary may be at most half of the fleet (SageMaker API, CapacitySize), so one instance cannot have one."""
HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True)
class Variant:
    """One hosted version: `weight` is its share of untargeted traffic."""

    name: str
    artifact_hex: str
    weight: int
    min_instances: int
    max_instances: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """An endpoint's variants and what they run on."""

    variants: tuple[Variant, ...]
    instance_types: tuple[str, ...]
    target_concurrency: int
    traffic_shift: Literal["CANARY", "ALL_AT_ONCE"]
    volume_key_allowed: bool

    @property
    def always_on_instances(self) -> int:
        """Instances that run, and cost, whether or not anyone calls."""
        return sum(variant.min_instances for variant in self.variants)

    @property
    def platform(self) -> Literal["linux/amd64", "linux/arm64"]:
        """What the serving image must be built for."""
        return "linux/arm64" if _ARM.match(self.instance_types[0]) else "linux/amd64"


@dataclass(frozen=True, slots=True)
class AsyncFleet:
    """What serves an endpoint's jobs: one version, from no instance to `max_instances`. `queue_s` is in seconds."""

    variant: str
    instance_types: tuple[str, ...]
    max_instances: int
    concurrency: int
    queue_s: int
    volume_key_allowed: bool


def has_local_storage(instance_type: str) -> bool:
    """Whether SageMaker refuses a volume key for `instance_type`.

    Such instances encrypt their storage in hardware, and CreateEndpointConfig fails when a `KmsKeyId` is given
    (SageMaker API reference, CreateEndpointConfig).
    """
    return _LOCAL_STORAGE.match(instance_type) is not None


def plan_fleet(declaration: EndpointDeclaration, *, max_instances: int | None) -> Fleet:
    """The fleet of `declaration`, its size capped at `max_instances` per variant where the stage sets one.

    Raises:
        ValueError: the capacity mode is not one that can be deployed yet, or the instance types need different images.
    """
    capacity = declaration.capacity
    if capacity.mode != "always_on":
        raise ValueError(  # the schema refuses it too; a new mode there must not silently be served as always_on
            f"{declaration.name}: capacity.mode {capacity.mode} cannot be deployed yet: say always_on"
        )
    types = tuple(declaration.hardware.instance_types)
    _check_one_image(declaration.name, "hardware", types)
    most = capacity.max_instances if max_instances is None else min(capacity.max_instances, max_instances)
    least = min(capacity.min_instances, most)
    variants = tuple(
        Variant(name, version.artifact.removeprefix("sha256:"), version.weight, least, most)
        for name, version in declaration.versions.items()
        if version.hosting == "endpoint"
    )
    return Fleet(
        variants=variants,
        instance_types=types,
        target_concurrency=capacity.concurrent_requests_per_instance,
        traffic_shift="CANARY" if least >= CANARY_INSTANCES_MIN else "ALL_AT_ONCE",
        volume_key_allowed=not any(has_local_storage(name) for name in types),
    )


def plan_async(declaration: EndpointDeclaration, *, max_instances: int | None) -> AsyncFleet | None:
    """What serves the jobs of `declaration`, capped like its fleet; None when the endpoint itself does.

    Raises:
        ValueError: its instance types need another image than the endpoint's own.
    """
    declared = declaration.async_inference
    if declared is None:
        return None
    own = tuple(declaration.hardware.instance_types)
    types = tuple(declared.instance_types or own)
    _check_one_image(declaration.name, "async_inference", (*types, own[0]))
    return AsyncFleet(
        variant=declaration.async_version,
        instance_types=types,
        max_instances=declared.max_instances if max_instances is None else min(declared.max_instances, max_instances),
        concurrency=declared.concurrent_requests_per_instance,
        queue_s=declared.queue_s,
        volume_key_allowed=not any(has_local_storage(name) for name in types),
    )


def _check_one_image(name: str, part: str, types: tuple[str, ...]) -> None:
    if len({bool(_ARM.match(kind)) for kind in types}) > 1:
        raise ValueError(f"{name}: {part}.instance_types mix arm64 and x86_64: one image serves them all")


def async_cost_line(name: str, fleet: AsyncFleet) -> str:
    """What the instances for jobs cost while there are none."""
    return f"{name}: none always on; at most {fleet.max_instances} x {fleet.instance_types[0]} while jobs wait"


def cost_line(name: str, fleet: Fleet) -> str:
    """What is paid for even while nobody calls, in instance-hours: prices differ by region and agreement."""
    count = fleet.always_on_instances
    kind = fleet.instance_types[0]
    instead = f" (or {', '.join(fleet.instance_types[1:])})" if len(fleet.instance_types) > 1 else ""
    most = sum(variant.max_instances for variant in fleet.variants)
    return (
        f"{name}: {count} x {kind}{instead} always on = {count * HOURS_PER_MONTH} instance-hours a month;"
        f" at most {most} under load"
    )
