"""What a declaration means in instances: the decisions, without CDK.

Each hosted version is a production variant with its own instances, because the gateway chooses the variant per caller
and a variant without instances could not answer. A version of weight 0 has as many as the others: it is there to be
given traffic. Where the declaration says `components`, versions share instances instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from headrace.catalog import COMPONENT_NAME_MAX_CHARS, component_name
from headrace.declaration.components import instances_needed
from headrace.declaration.schema import EndpointDeclaration

_LOCAL_STORAGE = re.compile(r"^ml\.(g[4-7]\w*|gr6\w*|p3dn|p4\w*|p5\w*|p6\S*|trn\w+|[a-z]+\d[a-z]*d[a-z]*)\.")
"""Instance families with local NVMe storage (EC2 user guide, "Instance store volumes")."""
_ARM = re.compile(r"^ml\.[a-z]+\d+g[a-z]*\.")
"""Graviton families carry a g after their generation."""

CANARY_PERCENT = 10
CANARY_INSTANCES_MIN = 2
"""A canary may be at most half of the fleet (SageMaker API, CapacitySize), so one instance cannot have one."""
HOURS_PER_MONTH = 730
SHARED_VARIANT = "AllTraffic"
"""The one variant of an endpoint whose versions share instances."""


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
        return _platform(self.instance_types)


@dataclass(frozen=True, slots=True)
class Component:
    """One hosted version that shares the endpoint's instances; `name` is unique in the account."""

    name: str
    version: str
    artifact_hex: str


@dataclass(frozen=True, slots=True)
class SharedFleet:
    """The instances of an endpoint whose versions are inference components, and what a copy takes of them."""

    components: tuple[Component, ...]
    instance_types: tuple[str, ...]
    min_instances: int
    max_instances: int
    min_copies: int
    max_copies: int
    target_concurrency: int
    memory_mb: int
    cpus: float | None
    accelerators: int
    volume_key_allowed: bool

    @property
    def platform(self) -> Literal["linux/amd64", "linux/arm64"]:
        """What the serving image must be built for."""
        return _platform(self.instance_types)


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
    capacity, types = declaration.capacity, _instance_types(declaration)
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


def plan_shared(declaration: EndpointDeclaration, *, prefix: str, max_instances: int | None) -> SharedFleet | None:
    """The instances that the versions of `declaration` share; None when each has its own.

    Args:
        declaration: the endpoint.
        prefix: begins the names of everything in the stage.
        max_instances: the stage's cap on them; what the least copies of all versions take is above any cap.

    Raises:
        ValueError: as `plan_fleet`, or a component's name is longer than SageMaker takes.
    """
    shared = declaration.components
    if shared is None:
        return None
    capacity, types = declaration.capacity, _instance_types(declaration)
    components = tuple(
        Component(component_name(prefix, declaration.name, name), name, version.artifact.removeprefix("sha256:"))
        for name, version in declaration.versions.items()
        if version.hosting == "endpoint"
    )
    for component in components:
        if len(component.name) > COMPONENT_NAME_MAX_CHARS:
            raise ValueError(
                f"{component.name}: an inference component has at most {COMPONENT_NAME_MAX_CHARS} characters:"
                " shorten the endpoint's name or the version's"
            )
    needed = instances_needed(shared, versions=len(components))
    most = capacity.max_instances if max_instances is None else min(capacity.max_instances, max_instances)
    most = max(needed, most)
    room = most * shared.copies_per_instance
    return SharedFleet(
        components=components,
        instance_types=types,
        min_instances=max(needed, min(capacity.min_instances, most)),
        max_instances=most,
        min_copies=shared.min_copies,
        max_copies=min(room, shared.max_copies or room),
        target_concurrency=max(1, capacity.concurrent_requests_per_instance // shared.copies_per_instance),
        memory_mb=shared.memory_mb,
        cpus=shared.cpus,
        accelerators=shared.accelerators,
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


def _instance_types(declaration: EndpointDeclaration) -> tuple[str, ...]:
    mode = declaration.capacity.mode
    if mode != "always_on":
        raise ValueError(  # the schema refuses it too; a new mode there must not silently be served as always_on
            f"{declaration.name}: capacity.mode {mode} cannot be deployed yet: say always_on"
        )
    types = tuple(declaration.hardware.instance_types)
    _check_one_image(declaration.name, "hardware", types)
    return types


def _platform(types: tuple[str, ...]) -> Literal["linux/amd64", "linux/arm64"]:
    return "linux/arm64" if _ARM.match(types[0]) else "linux/amd64"


def _check_one_image(name: str, part: str, types: tuple[str, ...]) -> None:
    if len({bool(_ARM.match(kind)) for kind in types}) > 1:
        raise ValueError(f"{name}: {part}.instance_types mix arm64 and x86_64: one image serves them all")


def async_cost_line(name: str, fleet: AsyncFleet) -> str:
    """What the instances for jobs cost while there are none."""
    return f"{name}: none always on; at most {fleet.max_instances} x {fleet.instance_types[0]} while jobs wait"


def cost_line(name: str, fleet: Fleet) -> str:
    """What is paid for even while nobody calls, in instance-hours: prices differ by region and agreement."""
    most = sum(variant.max_instances for variant in fleet.variants)
    return _cost(name, fleet.instance_types, always=fleet.always_on_instances, most=most)


def shared_cost_line(name: str, fleet: SharedFleet) -> str:
    """The same of instances that versions share."""
    said = _cost(name, fleet.instance_types, always=fleet.min_instances, most=fleet.max_instances)
    return f"{said}; {len(fleet.components)} versions share them, {fleet.min_copies} to {fleet.max_copies} copies each"


def _cost(name: str, types: tuple[str, ...], *, always: int, most: int) -> str:
    instead = f" (or {', '.join(types[1:])})" if len(types) > 1 else ""
    return (
        f"{name}: {always} x {types[0]}{instead} always on = {always * HOURS_PER_MONTH} instance-hours a month;"
        f" at most {most} under load"
    )
