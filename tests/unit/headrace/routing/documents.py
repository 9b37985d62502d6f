"""Endpoints and routing documents for tests, and sequences of everything that is done to documents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from headrace.catalog import Capabilities, Endpoint, Limits, Rung, Version
from headrace.rollouts.plan import RolloutPlan
from headrace.rollouts.states import Rollout, StageRecord
from headrace.routing import changes
from headrace.routing.assigned import Assigned, WhyNot, assign, serves_all
from headrace.routing.capabilities import Need
from headrace.routing.document import Canary, Experiment, Routing, Shadow
from headrace.routing.draw import draw

NAMES = ("v1", "v2", "v3", "v4")
BY: dict[str, Any] = {"who": "ada", "why": "a test", "at": 1.0}


def version(name: str, weight: int = 0, **can: Any) -> Version:
    """A hosted version."""
    return Version(name, "sha256:x", "endpoint", weight, Capabilities(**can))


def endpoint(*versions: Version, ladder: tuple[Rung, ...] = ()) -> Endpoint:
    """An endpoint called `detect`; without versions it hosts `NAMES`, and v1 has all the declared weight."""
    given = versions or (version("v1", 1), *(version(name) for name in NAMES[1:]))
    return Endpoint("detect", "t", "d", False, (), (), (), given, 1, 1, 1, Limits(1000, 10), ladder)


def routing(**weights: int) -> Routing:
    """A document with these weights, in force."""
    return changes.settled(Routing(endpoint="detect", version=1, weights=weights or {"v1": 10_000}, **BY))


def rollout(standing: Routing, canary: str, *, number: int = 1) -> Rollout:
    """A rollout that begins now."""
    return Rollout(
        rollout_id=f"ro_{number}",
        endpoint=standing.endpoint,
        canary=canary,
        digest="sha256:x",
        baseline=dict(standing.weights),
        plan=RolloutPlan(limits=()),
        state="running",
        stages=(StageRecord(0, 0, 0.0),),
        started_at=0.0,
        updated_at=0.0,
        who="ada",
        why="a test",
    )


def at_share(standing: Routing, under_way: Rollout, share: int, *, stage: int = 1, shadow: int = 0) -> Routing:
    """The rollout at another share."""
    canary = Canary(under_way.rollout_id, under_way.canary, stage, share)
    copied = Shadow(under_way.canary, shadow) if shadow else None
    return changes.with_canary(standing, canary, baseline=under_way.baseline, shadow=copied, **BY)


def experiment(name: str = "wider", **more: Any) -> Experiment:
    """Half of the callers to v1 and half to v2."""
    halves = {"control": 5_000, "b": 5_000}
    return Experiment(
        **{"experiment_id": f"ex_{name}", "name": name, "arms": {"control": "v1", "b": "v2"}, "weights": halves, **more}
    )


def ask(
    asked: Endpoint,
    document: Routing | None,
    caller: str = "1",
    *,
    tenant: str = "acme",
    need: Need | None = None,
    headers: dict[str, str] | None = None,
    request_id: str = "r1",
    why_not: WhyNot = serves_all,
) -> Assigned:
    """What holds for a request, and which version serves it: `need.pinned` of the answer is never looked at."""
    assigned = assign(
        asked,
        document,
        need or Need(),
        caller=f"{tenant}\0{caller}",
        tenant=tenant,
        headers=headers or {},
        request_id=request_id,
        why_not=why_not,
    )
    return assigned.drawn(served(assigned, why_not))


def served(assigned: Assigned, why_not: WhyNot = serves_all) -> str:
    """The version that serves, as `headrace.routing.capabilities.route` finds it."""
    eligible = [each for each in assigned.endpoint.hosted if each.weight > 0 and not why_not(each, assigned.need)]
    if assigned.preferred in {each.name for each in eligible}:
        return assigned.preferred
    return draw(eligible, endpoint=assigned.endpoint.name, caller=assigned.unit).name


@dataclass
class History:
    """A document and its rollout, changed by steps that a test draws; what is refused changes nothing."""

    document: Routing = field(default_factory=routing)
    rollout: Rollout | None = None
    started: int = 0
    withdrawn: set[str] = field(default_factory=set)

    def start(self, canary: str) -> None:
        """Begin a rollout, though one may be under way."""
        self.started += 1
        begun = rollout(self.document, canary, number=self.started)
        self.document = at_share(self.document, begun, 0, stage=0)
        self.rollout = begun

    def step(self, share: int) -> None:
        """Go to another share."""
        if self.rollout is not None:
            self.document = at_share(self.document, self.rollout, share)

    def end(self, how: str) -> None:
        """`rolled_back`, `aborted` or `finished`."""
        if self.rollout is not None:
            self.document = getattr(changes, how)(self.document, self.rollout, **BY)
            if how == "rolled_back":
                self.withdrawn.add(self.rollout.canary)
            self.rollout = None

    def again(self, canary: str) -> None:
        """Try a version that was rolled back once more."""
        if self.rollout is None:
            begun = changes.without_withdrawn(self.document, canary)
            self.started += 1
            fresh = rollout(begun, canary, number=self.started)
            self.document = at_share(begun, fresh, 0, stage=0)
            self.rollout = fresh
            self.withdrawn.discard(canary)

    def weigh(self, weights: dict[str, int]) -> None:
        """A person sets weights."""
        self.document = changes.reweighted(self.document, weights, **BY)

    def apply(self, other: Routing) -> None:
        """A person applies a whole document."""
        said = {name: getattr(other, name) for name in ("weights", "sticky", "groups", "pins", "shadow")}
        self.document = changes.replaced(self.document, **said, **BY)

    def restore(self, old: Routing) -> None:
        """A person restores an earlier document."""
        self.document = changes.restored(self.document, replace(old, endpoint="detect"), **BY)

    def pin(self, tenant: str, name: str) -> None:
        """A person pins a tenant."""
        self.document = changes.pinned(self.document, tenant, name, **BY)

    def unpin(self, tenant: str) -> None:
        """A person takes a pin away."""
        self.document = changes.unpinned(self.document, tenant, **BY)

    def experiment(self, one: Experiment) -> None:
        """An experiment begins, or changes."""
        self.document = changes.with_experiment(self.document, one, **BY)
