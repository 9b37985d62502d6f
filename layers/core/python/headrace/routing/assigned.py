"""What the routing document says about one request: which weights hold for it, what it sticks to, whose counts it is.

The first that applies decides: the version that the caller names itself; the one that its tenant is pinned to; an
experiment that takes it in; the weights of its group; the weights of everyone, which a rollout may be changing. Only
the last of these counts for the rollout. What a version may not serve is left out as ever: a pin, an experiment or a
group that has nothing for this caller is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headrace.catalog import Endpoint, Version
from headrace.identity import Principal
from headrace.plans import Plan
from headrace.routing.capabilities import Need, route
from headrace.routing.document import WEIGHT_SUM, Canary, Experiment, Group, Routing, Sticky
from headrace.routing.draw import score
from headrace.routing.slots import drawn_as, share_of
from headrace.routing.traffic import Traffic, traffic_of

CONTROL, CANARY = "control", "canary"
NO_VERSION = "no_version_fits"

WhyNot = Callable[[Version, Need], str]
"""Why a version may not serve; empty when it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """One request's part of the document.

    Args:
        endpoint: with the weights in force for this request; no version that was withdrawn stands in or serves jobs.
        unit: what the draw sticks to.
        need: what the request needs, with the group that the document puts its tenant in.
        preferred: the version that has its slot, or that it is pinned to; empty when only the draw can tell.
        pinned: the version that the document pins the tenant to.
        subject: whose counts this is: a rollout's id, an experiment's, or nobody's.
        arm: which arm of it; `drawn` tells it for a rollout.
        stage: of the rollout.
        canary: the version whose arm is the canary.
        experiment: its name.
        shadow: the version that gets a copy of this request.
        document: the version of the document; 0 is the declaration.
        passed_over: what of the document could not be kept for this caller, and why.
        counts: the part of the document whose counts this is: what counts as slower and unsure, and which outcome.
    """

    endpoint: Endpoint
    unit: str
    need: Need
    preferred: str = ""
    pinned: str | None = None
    subject: str = ""
    arm: str = ""
    stage: int = 0
    canary: str = ""
    experiment: str = ""
    shadow: str = ""
    document: int = 0
    passed_over: str = ""
    counts: Canary | Experiment | None = None

    def drawn(self, version: str) -> Assigned:
        """The same, now that it is known which version serves."""
        arm = (CANARY if version == self.canary else CONTROL) if self.canary else self.arm
        shadow = "" if version == self.shadow else self.shadow
        return replace(self, arm=arm, shadow=shadow) if (arm, shadow) != (self.arm, self.shadow) else self


def serves_all(_version: Version, _need: Need) -> str:
    """Every version may serve."""
    return ""


def assign(
    endpoint: Endpoint,
    routing: Routing | None,
    need: Need,
    *,
    caller: str,
    tenant: str,
    headers: Mapping[str, str],
    request_id: str,
    why_not: WhyNot = serves_all,
) -> Assigned:
    """What holds for this request.

    Args:
        endpoint: as declared.
        routing: the document in force; None where there is none.
        need: what the request needs.
        caller: what a draw sticks to where the document does not say otherwise; begins with the tenant.
        tenant: who asks.
        headers: the request's, names in lower case.
        request_id: names this request alone.
        why_not: tells which versions may serve this caller.
    """
    traffic = traffic_of(endpoint, routing)
    if routing is None:
        preferred = traffic.owners.owner(endpoint.name, caller)
        return Assigned(endpoint=endpoint, unit=caller, need=need, preferred=preferred)
    unit = _unit(routing.sticky, caller=caller, tenant=tenant, headers=headers, request_id=request_id)
    document = routing.version
    if need.pinned is not None:
        return Assigned(endpoint=traffic.endpoint, unit=unit, need=need, document=document)
    group = traffic.group_by_tenant.get(tenant) or traffic.group_by_header.get(need.group)
    if group is not None and group.name != need.group:
        need = replace(need, group=group.name)
    passed_over = ""
    pin = routing.pins.get(tenant)
    if pin is not None:
        why = traffic.why_gone(pin) or why_not(endpoint.version(pin), need)
        if not why:
            return Assigned(
                endpoint=traffic.only[pin],
                unit=unit,
                need=need,
                preferred=pin,
                pinned=pin,
                document=document,
                shadow=_own_shadow(traffic, need, unit, request_id, why_not),
            )
        passed_over = f"pin:{why}"
    # One experiment at most takes a caller in.
    for experiment in routing.experiments:
        if _takes_part(experiment, group, need, tenant=tenant, unit=unit) and all(
            not traffic.why_gone(name) and not why_not(endpoint.version(name), need)
            for name in experiment.arms.values()
        ):
            arm = _arm(endpoint.name, experiment, unit)
            return Assigned(
                endpoint=traffic.only[experiment.arms[arm]],
                unit=unit,
                need=need,
                preferred=experiment.arms[arm],
                subject=experiment.experiment_id,
                arm=arm,
                experiment=experiment.name,
                document=document,
                passed_over=passed_over,
                counts=experiment,
            )
    if group is not None:
        weighted, owners = traffic.groups[group.name]
        if any(version.weight > 0 and not why_not(version, need) for version in weighted.hosted):
            return Assigned(
                endpoint=weighted,
                unit=unit,
                need=need,
                preferred=owners.owner(drawn_as(endpoint.name, group.name), unit),
                document=document,
                passed_over=passed_over,
                shadow=_own_shadow(traffic, need, unit, request_id, why_not),
            )
        passed_over = passed_over or f"group:{NO_VERSION}"
    preferred = traffic.owners.owner(endpoint.name, unit)
    canary = routing.canary
    if canary is None or not _compared(traffic, canary, need, why_not):
        return Assigned(
            endpoint=traffic.endpoint,
            unit=unit,
            need=need,
            preferred=preferred,
            document=document,
            passed_over=passed_over,
            shadow=_own_shadow(traffic, need, unit, request_id, why_not),
        )
    return Assigned(
        # Where another version may not serve the caller, its slots go to the control and not to the canary, so that the
        # canary has exactly its share of the callers that count.
        endpoint=traffic.endpoint if preferred == canary.version else traffic.control,
        unit=unit,
        need=need,
        preferred=preferred,
        subject=canary.rollout_id,
        stage=canary.stage,
        canary=canary.version,
        shadow=_shadow(traffic, need, unit, request_id, why_not),
        document=document,
        passed_over=passed_over,
        counts=canary,
    )


def chosen(assigned: Assigned, *, principal: Principal, plan: Plan) -> Version:
    """The version that serves the request.

    Raises:
        HeadraceError: as `headrace.routing.capabilities.route` does.
    """
    return route(
        assigned.endpoint,
        assigned.need,
        caller=assigned.unit,
        principal=principal,
        plan=plan,
        preferred=assigned.preferred,
    )


def _unit(sticky: Sticky, *, caller: str, tenant: str, headers: Mapping[str, str], request_id: str) -> str:
    if sticky.by == "request":
        return f"{tenant}\0\0{request_id}"
    for name in sticky.headers:
        value = headers.get(name)
        if value:
            return f"{tenant}\0{name}\0{value}"
    return caller


def _takes_part(experiment: Experiment, group: Group | None, need: Need, *, tenant: str, unit: str) -> bool:
    if experiment.tenants and tenant not in experiment.tenants:
        return False
    if experiment.groups and need.group not in experiment.groups:
        return False
    if group is not None and not experiment.groups:
        return False  # a group has weights of its own, unless the experiment is meant for it
    return share_of("audience", experiment.name, unit) < experiment.share


def _arm(endpoint: str, experiment: Experiment, unit: str) -> str:
    weighted = [(arm, weight) for arm, weight in sorted(experiment.weights.items()) if weight > 0]
    return max(weighted, key=lambda pair: score(f"{endpoint}\0{experiment.name}\0{pair[0]}\0{unit}", pair[1]))[0]


def _compared(traffic: Traffic, canary: Canary, need: Need, why_not: WhyNot) -> bool:
    """Whether both arms of the rollout may serve the caller: only then are they drawn from the same callers."""
    if traffic.why_gone(canary.version):
        return False
    eligible = [version for version in traffic.endpoint.hosted if not why_not(version, need)]
    eligible = [version for version in eligible if need.group in version.capabilities.groups] or eligible
    others = any(version.name != canary.version and version.weight > 0 for version in eligible)
    return any(version.name == canary.version for version in eligible) and (others or canary.share == WEIGHT_SUM)


def _own_shadow(traffic: Traffic, need: Need, unit: str, request_id: str, why_not: WhyNot) -> str:
    """The shadow of requests that count for no rollout: none while there is one, as it compares with its control."""
    routing = traffic.routing
    compares = routing is not None and routing.canary is not None
    return "" if compares else _shadow(traffic, need, unit, request_id, why_not)


def _shadow(traffic: Traffic, need: Need, unit: str, request_id: str, why_not: WhyNot) -> str:
    routing = traffic.routing
    shadow = routing.shadow if routing is not None else None
    if shadow is None or traffic.why_gone(shadow.version):
        return ""
    if share_of("shadow", unit, request_id) >= shadow.share or why_not(traffic.declared.version(shadow.version), need):
        return ""
    return shadow.version
