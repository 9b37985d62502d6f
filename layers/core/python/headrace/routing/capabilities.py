"""Which versions may serve a request, which one does, and why the others do not.

A version declares what it can take and whom it serves; a request says what it needs. What does not fit is left out
before the sticky draw, so a version that may not serve a request moves only the callers that would have drawn it.
Reasons are stable words. They are found in this order, and the first holds: what the caller is not granted, what it
wishes for in vain, what is too large. So a refusal is that of the version that came nearest to serving.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.catalog import Catalog, Endpoint, Rung, Version
from headrace.errors import Forbidden, HeadraceError, InvalidRequest, PayloadTooLarge, UnknownTarget
from headrace.identity import Principal
from headrace.plans import Plan
from headrace.routing.draw import draw

if TYPE_CHECKING:
    from headrace.routing.assigned import Assigned

GRANTS = ("tenant_not_granted", "plan_not_granted", "tier_too_low")
"""A 403: another key is needed."""
WISHES = ("group_not_served", "hardware_not_offered", "cost_class_too_high", "language_not_served")
"""A 404: the request asks for what no version has."""
SIZES = ("payload_too_large", "too_many_items", "text_too_long")
"""A 400 or 413: a smaller request would be served."""
PINNED, UNROUTED, UNDRAWN = "not_the_pinned_version", "no_traffic", "not_drawn"
SCOPE, OTHER_MODEL = "scope_missing", "not_the_default"
_ORDER = (*GRANTS, *WISHES, *SIZES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a request needs of a version. The defaults need nothing.

    Args:
        task: the task asked for, if one is.
        items: how many things are asked for at once.
        text_chars: characters of the longest text, where there is text.
        payload_bytes: of the body as it was sent.
        languages: primary language subtags in lower case; a version must serve all of them.
        hardware: `gpu` or `cpu`, and nothing else.
        cost_class_max: the dearest class that the caller wants.
        group: the experiment group that the caller is in.
        pinned: the one version that may answer.
    """

    task: str | None = None
    items: int = 1
    text_chars: int | None = None
    payload_bytes: int = 0
    languages: tuple[str, ...] = ()
    hardware: str | None = None
    cost_class_max: int | None = None
    group: str = ""
    pinned: str | None = None


@dataclass(frozen=True, slots=True)
class Considered:
    """A target, whether it might serve, and why it does not; `reason` is empty for what does."""

    target: str
    eligible: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a request would get.

    `chosen` is empty and `refusal` is the error that the request would get when no version may serve it. `assigned` is
    what the routing document says about it.
    """

    endpoint: str
    chosen: str
    ladder: tuple[str, ...]
    considered: tuple[Considered, ...]
    assigned: Assigned
    refusal: HeadraceError | None = None


def why_not(version: Version, need: Need, *, principal: Principal, plan: Plan) -> str:
    """Why the version may not serve: a reason of `PINNED`, `GRANTS`, `WISHES` or `SIZES`, empty when it may."""
    can = version.capabilities
    checks = (
        (PINNED, need.pinned is not None and need.pinned != version.name),
        ("tenant_not_granted", bool(can.tenants) and principal.tenant not in can.tenants),
        ("plan_not_granted", bool(can.plans) and plan.name not in can.plans),
        ("tier_too_low", plan.tier < can.tier_min),
        ("group_not_served", bool(can.groups) and need.group not in can.groups),
        ("hardware_not_offered", need.hardware not in {None, can.hardware}),
        ("cost_class_too_high", need.cost_class_max is not None and can.cost_class > need.cost_class_max),
        ("language_not_served", bool(can.languages) and not set(need.languages) <= set(can.languages)),
        ("payload_too_large", can.max_payload_bytes is not None and need.payload_bytes > can.max_payload_bytes),
        ("too_many_items", can.max_items is not None and need.items > can.max_items),
        ("text_too_long", can.max_text_chars is not None and (need.text_chars or 0) > can.max_text_chars),
    )
    return next((reason for reason, holds in checks if holds), "")


def serves_less(endpoint: Endpoint, version: Version, other: Version) -> list[str]:
    """The capabilities by which a version may not serve all that another one may; wishes for hardware and price aside.

    Args:
        endpoint: whose limits hold for both.
        version: the one that would serve in the other's place.
        other: the one that serves.
    """
    can, could, limits = version.capabilities, other.capabilities, endpoint.limits
    found = []
    for name in ("tenants", "plans", "groups", "languages"):
        only, all_of = set(getattr(can, name)), set(getattr(could, name))
        if only and not (all_of and all_of <= only):
            found.append(name)
    for name in ("max_items", "max_text_chars", "max_payload_bytes"):
        most, needed = (_least(getattr(each, name), getattr(limits, name)) for each in (can, could))
        if most < needed:
            found.append(name)
    if can.tier_min > could.tier_min:
        found.append("tier_min")
    return found


def _least(*bounds: int | None) -> float:
    return min((bound for bound in bounds if bound is not None), default=math.inf)


def why_not_rung(endpoint: Endpoint, rung: Rung, need: Need, *, principal: Principal, plan: Plan) -> str:
    """Why a request may not fall to this rung; empty when it may.

    A rung with a version is held against the need like a primary. Rules declare nothing and serve everyone, and a stale
    answer was given to the same tenant by the version now asked. Who pins a version wants no stand-in but the latter.
    """
    if rung.kind == "stale":
        return ""
    if need.pinned is not None:
        return PINNED
    return why_not(endpoint.version(rung.version), need, principal=principal, plan=plan) if rung.version else ""


def route(
    endpoint: Endpoint, need: Need, *, caller: str, principal: Principal, plan: Plan, preferred: str = ""
) -> Version:
    """The hosted version that serves: the pinned one, or a sticky share of the traffic among those that may.

    Who is in an experiment group is served by the versions that name it, where one may.

    Args:
        endpoint: what is asked.
        need: what the request needs.
        caller: what the draw sticks to; requests of one caller go to one version.
        principal: who asks.
        plan: its plan.
        preferred: the version that has the caller's slot: it serves if it may, else the others are drawn from.

    Raises:
        Forbidden: the caller lacks the scope, or no version serves its tenant, plan or tier; `code` says which.
        UnknownTarget: the pinned version is not there to be asked, or no version has what the request wishes for.
        InvalidRequest: every version that might serve takes less at once than this.
    """
    principal.require_invoke(endpoint.name)
    if need.task not in {None, endpoint.task}:
        raise UnknownTarget("That model does not serve this task; GET /v1/models tells what each one does.")
    if need.pinned is None:
        asked = [version for version in endpoint.hosted if version.weight > 0]
    else:
        asked = [endpoint.version(need.pinned)]
        if asked[0].hosting != "endpoint":
            raise UnknownTarget("That version answers only when the endpoint cannot.", code="version_not_found")
    found = [(version, why_not(version, need, principal=principal, plan=plan)) for version in asked]
    eligible = [version for version, reason in found if not reason]
    if not eligible:
        raise _refusal(found)
    if need.pinned is not None:
        return eligible[0]
    eligible = [version for version in eligible if need.group in version.capabilities.groups] or eligible
    for version in eligible:
        if version.name == preferred:
            return version
    return draw(eligible, endpoint=endpoint.name, caller=caller)


def explain(
    catalog: Catalog,
    need: Need,
    *,
    model: str | None,
    principal: Principal,
    plan: Plan,
    in_force: Callable[[Endpoint], Assigned],
) -> Explanation:
    """What the same request would get, without asking anything. `model` is looked for as a request's own is.

    `in_force` tells what the routing document says about it.

    Raises:
        UnknownTarget: there is no such model, or the task leaves open which one is meant.
    """
    endpoint = catalog.endpoint(model or "") if need.task is None else catalog.for_task(need.task, model)
    assigned = in_force(endpoint)
    endpoint, need = assigned.endpoint, assigned.need
    refusal: HeadraceError | None = None
    chosen = ""
    try:
        chosen = route(
            endpoint, need, caller=assigned.unit, principal=principal, plan=plan, preferred=assigned.preferred
        ).name
    except HeadraceError as error:
        refusal = error
    granted = principal.may_invoke(endpoint.name)
    considered = []
    for version in endpoint.hosted:
        reason = why_not(version, need, principal=principal, plan=plan) if granted else SCOPE
        if not reason and need.pinned is None and version.weight <= 0:
            reason = UNROUTED
        shown = UNDRAWN if not reason and version.name != chosen else reason
        considered.append(Considered(f"{endpoint.name}/{version.name}", not reason, shown))
    ladder = []
    for rung in endpoint.ladder:
        reason = why_not_rung(endpoint, rung, need, principal=principal, plan=plan) if granted else SCOPE
        if chosen and not reason and not (rung.kind == "variant" and rung.version == chosen):
            ladder.append(rung_name(endpoint, rung))
        if rung.kind != "variant":  # a variant is a hosted version, and stands above already
            considered.append(Considered(rung_name(endpoint, rung), not reason, reason))
    if model is None:
        considered += [
            Considered(f"{other.name}/{version.name}", eligible=False, reason=OTHER_MODEL)
            for other in catalog.endpoints.values()
            if other.task == endpoint.task and other.name != endpoint.name
            for version in other.hosted
        ]
    target = f"{endpoint.name}/{chosen}" if chosen else ""
    return Explanation(endpoint.name, target, tuple(ladder), tuple(considered), assigned.drawn(chosen), refusal)


def rung_name(endpoint: Endpoint, rung: Rung) -> str:
    """A rung as answers name it: the version for a variant, else the kind."""
    return f"{endpoint.name}/{rung.version if rung.kind == 'variant' else rung.kind}"


def _refusal(found: list[tuple[Version, str]]) -> HeadraceError:
    """The error of the version that came nearest to serving. `found` is not empty, and its reasons are of `_ORDER`."""
    nearest = max((reason for _, reason in found), key=_ORDER.index)
    if nearest in GRANTS:
        return Forbidden("This key is not granted any version of this model that is asked for.", code=nearest)
    if nearest in WISHES:
        reasons = ", ".join(sorted({reason for _, reason in found}))
        return UnknownTarget(
            f"No version of this model fits ({reasons}): wish for less, or see POST /v1/route.",
            code="no_version_matches",
        )
    near = [version.capabilities for version, reason in found if reason == nearest]
    if nearest == "payload_too_large":
        return PayloadTooLarge(
            f"The body may hold at most {max(can.max_payload_bytes or 0 for can in near)} bytes for this model.",
        )
    if nearest == "too_many_items":
        return InvalidRequest(
            f"Send at most {max(can.max_items or 0 for can in near)} items in one request.", code=nearest, field="input"
        )
    return InvalidRequest(
        f"Text may have at most {max(can.max_text_chars or 0 for can in near)} characters.", code=nearest, field="input"
    )
