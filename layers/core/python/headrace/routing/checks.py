"""What is wrong with a routing document, each with what to do: by itself, and for the endpoint that it is meant for.

A problem begins with the field it is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from headrace.catalog import Endpoint
from headrace.identity import is_tenant
from headrace.routing.document import EVERYONE, WEIGHT_SUM, Experiment, Group, Routing
from headrace.routing.slots import counted

GROUPS_MAX = 32
TENANTS_MAX = 1_000
"""Named by all groups, pins and experiments together."""
EXPERIMENTS_MAX = 16
ARMS_MAX = 8
HEADERS_MAX = 4
VERSIONS_MAX = 100
WHY_MAX_CHARS = 500
CONTROL_ARM = "control"
CODE = "invalid_routing"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CREDENTIALS = frozenset({"authorization", "cookie", "x-api-key", "x-amz-security-token"})


def problems(routing: Routing) -> list[str]:
    """What is wrong whatever the endpoint has: sums, bounds, names, and weight of versions that were withdrawn."""
    return list(_problems(routing))


def check(routing: Routing, endpoint: Endpoint) -> list[str]:
    """All problems: the document's own, and versions that the endpoint does not host."""
    return [*_problems(routing), *_strangers(routing, endpoint)]


def sum_mend(weights: Mapping[str, int]) -> str:
    """What to do so that the weights add up to the whole; empty when they do."""
    total = sum(weights.values())
    if total == WEIGHT_SUM:
        return ""
    if total == 100:  # noqa: PLR2004 - percents taken for basis points
        meant = ", ".join(f"{name}: {weight}%" for name, weight in weights.items())
        return f"they add up to 100 basis points, which is 1 %; where percents are meant, write {{{meant}}}"
    off = WEIGHT_SUM - total
    mend = f"add {percent(off)} ({off})" if off > 0 else f"take away {percent(-off)} ({-off})"
    return f"they add up to {percent(total)}: {mend} to come to 100 % ({WEIGHT_SUM})"


def percent(points: int) -> str:
    """Basis points as people write them: 12.5 %."""
    return f"{points / 100:g} %"


def _problems(routing: Routing) -> Iterator[str]:
    if not _NAME.fullmatch(routing.endpoint):
        yield "endpoint: name one as its folder is called"
    if len(routing.why) > WHY_MAX_CHARS:
        yield f"why: say it in at most {WHY_MAX_CHARS} characters"
    yield from _sums("weights", routing.weights)
    for name in routing.withdrawn:
        if routing.weights.get(name, 0) > 0:
            yield f"weights.{name}: {_withdrawn(routing, name)}"
    yield from _sticky(routing)
    if len(routing.groups) > GROUPS_MAX:
        yield f"groups: keep to {GROUPS_MAX}"
    yield from _twice("groups", [group.name for group in routing.groups])
    yield from _twice("groups", [tenant for group in routing.groups for tenant in group.tenants], "is in two groups")
    for group in routing.groups:
        yield from _group(routing, group)
    yield from _pins(routing)
    yield from _shadow(routing)
    yield from _canary(routing)
    if len(routing.experiments) > EXPERIMENTS_MAX:
        yield f"experiments: keep to {EXPERIMENTS_MAX}"
    yield from _twice("experiments", [each.name for each in routing.experiments])
    for experiment in routing.experiments:
        yield from _experiment(routing, experiment)
    tenants = len(routing.pins) + sum(len(group.tenants) for group in routing.groups)
    tenants += sum(len(experiment.tenants) for experiment in routing.experiments)
    if tenants > TENANTS_MAX:
        yield f"pins: name at most {TENANTS_MAX} tenants in all, by plan or group where there are more"
    yield from _slots(routing)


def _sums(where: str, weights: Mapping[str, int]) -> Iterator[str]:
    if not weights or len(weights) > VERSIONS_MAX:
        yield f"{where}: give a weight to 1 to {VERSIONS_MAX} versions"
        return
    for name in weights:
        if not _NAME.fullmatch(name):
            yield f"{where}: name a version with a-z, 0-9 and '-', at most 31 characters"
    if min(weights.values()) < 0:
        yield f"{where}: a weight cannot be below 0"
    elif mend := sum_mend(weights):
        yield f"{where}: {mend}"


def _withdrawn(routing: Routing, name: str) -> str:
    return (
        f"it was rolled back by {routing.withdrawn[name]}; only `headrace rollout start --again` gives it traffic again"
    )


def _sticky(routing: Routing) -> Iterator[str]:
    headers = routing.sticky.headers
    if len(headers) > HEADERS_MAX:
        yield f"sticky.headers: name at most {HEADERS_MAX}"
    if headers and routing.sticky.by == "request":
        yield "sticky.headers: each request is drawn anew; leave them out, or say by: caller"
    for header in headers:
        if not _HEADER.fullmatch(header):
            yield "sticky.headers: write names of headers in lower case, at most 63 characters"
        elif header in _CREDENTIALS:
            yield f"sticky.headers: {header} is a credential, and the caller's own anyway; leave it out"


def _twice(where: str, names: list[str], what: str = "stands there twice; keep one") -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{where}: {name} {what}"


def _group(routing: Routing, group: Group) -> Iterator[str]:
    where = f"groups.{group.name}"
    if not _NAME.fullmatch(group.name):
        yield "groups: name a group with a-z, 0-9 and '-', at most 31 characters"
        return
    yield from _sums(f"{where}.weights", group.weights)
    yield from _tenants(f"{where}.tenants", group.tenants)
    if not group.tenants and not group.by_header:
        yield f"{where}: nobody can be in it; name tenants, or say by_header: true"
    for name, weight in group.weights.items():
        if weight > 0 and name in routing.withdrawn:
            yield f"{where}.weights.{name}: {_withdrawn(routing, name)}"


def _tenants(where: str, tenants: tuple[str, ...]) -> Iterator[str]:
    if not all(is_tenant(tenant) for tenant in tenants):
        yield f"{where}: write tenants as their keys have them: a-z, 0-9 and '-', at most 63 characters"


def _pins(routing: Routing) -> Iterator[str]:
    yield from _tenants("pins", tuple(routing.pins))
    for tenant, name in routing.pins.items():
        if name in routing.withdrawn:
            yield f"pins.{tenant}: {_withdrawn(routing, name)}"


def _shadow(routing: Routing) -> Iterator[str]:
    shadow = routing.shadow
    if shadow is None:
        return
    if not 0 < shadow.share <= WEIGHT_SUM:
        yield "shadow.share: copy more than nothing and at most 100 % (10000); to copy nothing, leave shadow out"
    if shadow.version in routing.withdrawn:
        yield f"shadow.version: {_withdrawn(routing, shadow.version)}"


def _canary(routing: Routing) -> Iterator[str]:
    canary = routing.canary
    if canary is None:
        return
    if canary.version in routing.withdrawn:
        yield f"canary.version: {_withdrawn(routing, canary.version)}"
    if not 0 <= canary.share <= WEIGHT_SUM or routing.weights.get(canary.version, 0) != canary.share:
        yield "canary.share: it must be the weight of the canary"


def _experiment(routing: Routing, experiment: Experiment) -> Iterator[str]:
    where = f"experiments.{experiment.name}"
    if not _NAME.fullmatch(experiment.name):
        yield "experiments: name an experiment with a-z, 0-9 and '-', at most 31 characters"
        return
    if CONTROL_ARM not in experiment.arms or not 1 < len(experiment.arms) <= ARMS_MAX:
        yield f"{where}.arms: declare {CONTROL_ARM} and at least one other, {ARMS_MAX} at most"
    if set(experiment.arms) != set(experiment.weights):
        yield f"{where}.weights: give one weight to each arm"
    yield from _sums(f"{where}.weights", experiment.weights)
    if not 0 < experiment.share <= WEIGHT_SUM:
        yield f"{where}.share: take more than nobody and at most 100 % (10000) of callers"
    yield from _tenants(f"{where}.tenants", experiment.tenants)
    for arm, name in experiment.arms.items():
        if name in routing.withdrawn:
            yield f"{where}.arms.{arm}: {_withdrawn(routing, name)}"


def _slots(routing: Routing) -> Iterator[str]:
    weights = {EVERYONE: routing.weights, **{group.name: group.weights for group in routing.groups}}
    for name, slots in routing.slots.items():
        having = {version: weight for version, weight in weights.get(name, {}).items() if weight}
        if counted(slots) != having:
            yield "slots: they do not say what the weights say; leave them out, and they are worked out again"
            return


def _strangers(routing: Routing, endpoint: Endpoint) -> Iterator[str]:
    hosted = [version.name for version in endpoint.hosted]

    def stranger(where: str, name: str) -> Iterator[str]:
        if name not in hosted:
            yield f"{where}: {endpoint.name} hosts no version {name}; it hosts {', '.join(hosted)}"

    if routing.endpoint != endpoint.name:
        yield f"endpoint: this is for {routing.endpoint}, not for {endpoint.name}"
    # A version that is gone may keep the weight 0: the history still says what it had.
    for name, weight in routing.weights.items():
        yield from stranger(f"weights.{name}", name) if weight > 0 else ()
    for group in routing.groups:
        for name, weight in group.weights.items():
            yield from stranger(f"groups.{group.name}.weights.{name}", name) if weight > 0 else ()
    for tenant, name in routing.pins.items():
        yield from stranger(f"pins.{tenant}", name)
    if routing.shadow is not None:
        yield from stranger("shadow.version", routing.shadow.version)
    if routing.canary is not None:
        yield from stranger("canary.version", routing.canary.version)
    for experiment in routing.experiments:
        for arm, name in experiment.arms.items():
            yield from stranger(f"experiments.{experiment.name}.arms.{arm}", name)
