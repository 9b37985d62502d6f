"""A routing document applied to a declared endpoint: worked out once for both, and looked up for every request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

from headrace.catalog import Endpoint
from headrace.routing.document import EVERYONE, WEIGHT_SUM, Group, Routing, Slots
from headrace.routing.slots import drawn_as, first_slots, mix, scaled, slot_of

GONE, WITHDRAWN = "version_gone", "version_withdrawn"
TRAFFICS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose each slot is: `versions` have the slots up to their `ends`."""

    ends: tuple[int, ...]
    versions: tuple[str, ...]

    def owner(self, name: str, unit: str) -> str:
        """Who has the slot of a unit, empty when nobody has any; `name` is as `drawn_as` says."""
        if len(self.versions) <= 1:
            return self.versions[0] if self.versions else ""
        return self.versions[bisect_right(self.ends, slot_of(name, unit))]


@dataclass(frozen=True, slots=True)
class Traffic:
    """One document on one endpoint.

    Args:
        declared: the endpoint as declared.
        routing: the document, or None.
        endpoint, owners: what holds for callers that are in no group.
        control: the same without the canary, where there is one.
        groups: what holds for callers in them.
        group_by_tenant, group_by_header: who is in which.
        only: the endpoint with all traffic on one version, for every version that is there and not withdrawn.
    """

    declared: Endpoint
    routing: Routing | None
    endpoint: Endpoint
    owners: Owners
    control: Endpoint
    groups: Mapping[str, tuple[Endpoint, Owners]]
    group_by_tenant: Mapping[str, Group]
    group_by_header: Mapping[str, Group]
    only: Mapping[str, Endpoint]

    def why_gone(self, version: str) -> str:
        """Why the document's version cannot serve anybody; empty when it can."""
        if self.routing is not None and version in self.routing.withdrawn:
            return WITHDRAWN
        return "" if version in self.only else GONE


def traffic_of(endpoint: Endpoint, routing: Routing | None) -> Traffic:
    """The document's traffic; the same one for the same two objects."""
    return _worked_out(_Pair(endpoint, routing))


class _Pair:
    """An endpoint and a document, told from others by being the same objects: comparing them would cost more."""

    __slots__ = ("endpoint", "routing")

    def __init__(self, endpoint: Endpoint, routing: Routing | None) -> None:
        self.endpoint = endpoint
        self.routing = routing

    def __hash__(self) -> int:
        return hash((id(self.endpoint), id(self.routing)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pair) and self.endpoint is other.endpoint and self.routing is other.routing


@lru_cache(maxsize=TRAFFICS_KEPT)
def _worked_out(pair: _Pair) -> Traffic:
    endpoint, routing = pair.endpoint, pair.routing
    declared = {version.name: version.weight for version in endpoint.hosted}
    if routing is None:
        owners = _with_ends(first_slots(endpoint.name, scaled(declared)) if any(declared.values()) else ())
        return Traffic(endpoint, None, endpoint, owners, endpoint, {}, {}, {}, {})
    left = {name: 0 if name in routing.withdrawn else weight for name, weight in declared.items()}
    # Where a deployment has left nothing of what the document names, the declaration holds.
    fallback = left if any(left.values()) else declared
    waits = endpoint.async_inference
    base = replace(
        endpoint,
        async_inference=None if waits is not None and waits.version in routing.withdrawn else waits,
        ladder=tuple(
            rung for rung in endpoint.ladder if rung.kind != "variant" or rung.version not in routing.withdrawn
        ),
    )
    groups = {
        group.name: (_weighted(base, routing, group.weights, {}), _owners(routing, group.name, group.weights))
        for group in routing.groups
    }
    weights, others = _divided(endpoint, routing, fallback)
    return Traffic(
        declared=endpoint,
        routing=routing,
        endpoint=_weighted(base, routing, weights, fallback),
        owners=_owners(routing, EVERYONE, routing.weights),
        control=_weighted(base, routing, others, fallback),
        groups=groups,
        group_by_tenant={tenant: group for group in routing.groups for tenant in group.tenants},
        group_by_header={group.name: group for group in routing.groups if group.by_header},
        only={
            version.name: _weighted(base, routing, {version.name: WEIGHT_SUM}, {})
            for version in endpoint.hosted
            if version.name not in routing.withdrawn
        },
    )


def _divided(
    endpoint: Endpoint, routing: Routing, fallback: Mapping[str, int]
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """The weights of all, and those of all but the canary.

    A deployment may take away every version that the canary is compared with. What is declared beside it stands in for
    them then: the canary must not come by traffic that no decision gave it.
    """
    canary = routing.canary
    if canary is None:
        return routing.weights, routing.weights
    others = {name: weight for name, weight in routing.weights.items() if name != canary.version}
    hosted = {version.name for version in endpoint.hosted}
    if canary.share == WEIGHT_SUM or any(weight > 0 and name in hosted for name, weight in others.items()):
        return routing.weights, others
    beside = {name: weight for name, weight in fallback.items() if name != canary.version}
    if not any(beside.values()):
        return routing.weights, others
    return mix(beside, canary.version, canary.share), beside


def _weighted(
    endpoint: Endpoint, routing: Routing, weights: Mapping[str, int], fallback: Mapping[str, int]
) -> Endpoint:
    hosted = {version.name for version in endpoint.hosted}
    in_force = {
        name: weight
        for name, weight in weights.items()
        if name in hosted and name not in routing.withdrawn and weight > 0
    } or fallback
    versions = tuple(
        replace(version, weight=in_force.get(version.name, 0)) if version.hosting == "endpoint" else version
        for version in endpoint.versions
    )
    return replace(endpoint, versions=versions)


def _owners(routing: Routing, name: str, weights: Mapping[str, int]) -> Owners:
    return _with_ends(routing.slots.get(name) or first_slots(drawn_as(routing.endpoint, name), weights))


def _with_ends(slots: Slots) -> Owners:
    return Owners(tuple(accumulate(count for _, count in slots)), tuple(version for version, _ in slots))
