"""The routing document: who of an endpoint's callers is served by which version, changed without a deployment.

Weights are basis points and add up to the whole. What a document does not say is as the declaration has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

WEIGHT_SUM = 10_000
API = "headrace/routing/v1"
EVERYONE = ""
"""In `Routing.slots`, where a group's name may stand: all callers that are in no group."""

Slots = tuple[tuple[str, int], ...]
"""Whose each of the 10,000 slots is into which callers are hashed: versions, and how many slots in a row each has."""


@dataclass(frozen=True, slots=True)
class Sticky:
    """What a caller's version sticks to.

    Args:
        by: `caller` (the sticky key header, else the credential; within the tenant), or `request`: each request is
            drawn anew.
        headers: names of request headers, such as a conversation's or a user's; the first one that is there takes the
            place of the caller.
    """

    by: Literal["caller", "request"] = "caller"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Callers who get weights of their own, and take no part in a rollout.

    Args:
        name: as in the header `x-headrace-group`.
        tenants: who is in it whatever it sends.
        by_header: whether a caller may join by the header.
        weights: basis points by version.
    """

    name: str
    weights: Mapping[str, int]
    tenants: tuple[str, ...] = ()
    by_header: bool = False


@dataclass(frozen=True, slots=True)
class Shadow:
    """Copies of requests for a version whose answers nobody sees; `share` in basis points of all others' requests."""

    version: str
    share: int


@dataclass(frozen=True, slots=True)
class Canary:
    """The rollout under way, as the functions must know it to count for it.

    Args:
        rollout_id: whose counts these are.
        version: the new one; all others together are its control.
        stage: which stay at which `share` (basis points; `weights` say the same).
        slower_ms, unsure_below: references of the metrics of these names; None counts none.
        outcome: the event that callers post back; empty when none counts.
        slots_before: whose the slots were when it began, so that a rollback gives each caller its own version back.
        shadow_before: what was copied then, and is again afterwards.
    """

    rollout_id: str
    version: str
    stage: int
    share: int
    slower_ms: float | None = None
    unsure_below: float | None = None
    outcome: str = ""
    slots_before: Slots = ()
    shadow_before: Shadow | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """An A/B test: callers of its audience are drawn among its arms, whatever the weights say.

    Args:
        experiment_id, name: whose counts these are; assignment is salted by the name.
        arms: version by arm; `control` is one of them.
        weights: basis points by arm; they add up to the whole.
        share: of all callers, in basis points, how many take part.
        tenants, groups: who alone may take part; empty is no restriction.
        outcome: the event that callers post back.
    """

    experiment_id: str
    name: str
    arms: Mapping[str, str]
    weights: Mapping[str, int]
    share: int = WEIGHT_SUM
    tenants: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """One endpoint's document.

    Args:
        endpoint: whose.
        version: of the document, rising by one; 0 is the declaration's own, never written.
        weights: basis points by version.
        sticky, groups, pins, shadow, canary, experiments: see there; `pins` is the version by tenant.
        withdrawn: versions that were rolled back (the rollout's id, by version): no weight of theirs may be above 0.
        who, why, at: of the last change; seconds since the epoch.
        slots: who has which slots, by group or `EVERYONE`, as the weights say; kept so that a change of weights moves
            no caller that it need not move. What is missing here is worked out from the weights.
    """

    endpoint: str
    weights: Mapping[str, int]
    version: int = 0
    sticky: Sticky = Sticky()
    groups: tuple[Group, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    shadow: Shadow | None = None
    canary: Canary | None = None
    experiments: tuple[Experiment, ...] = ()
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    who: str = ""
    why: str = ""
    at: float = 0.0
    slots: Mapping[str, Slots] = field(default_factory=dict)
