"""What travels through the simulated world: requests, replies, accounts, and the interface of a policy under test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from headrace.background import Background
from headrace.inference import InferenceResponse
from headrace.invocation.steps import Steps
from headrace.plans import Cost, Plan

Kind = Literal["primary", "degraded", "wrong", "limited", "shed", "failed"]
"""How a request ended: answered by the model asked for, or by another one and marked so; with nonsense that was passed
on; refused for the tenant's own limit; turned away by us for load; failed or not in time."""
KINDS: tuple[Kind, ...] = ("primary", "degraded", "wrong", "limited", "shed", "failed")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a container answers. `final` tells a client's SDK not to try again (`x-should-retry: false`)."""

    kind: Kind
    retry_after_s: float = 0.0
    final: bool = False
    response: InferenceResponse | None = None


@dataclass(slots=True, eq=False)
class Ask:
    """One HTTP request: a user's first or one of its SDK's retries."""

    tenant: str
    plan: Plan
    deadline_s: float
    """Virtual time by which the answer is wanted."""
    retry: bool


@dataclass(slots=True, eq=False)
class UserCall:
    """One thing a user wanted, with whatever retries it took; filled in as the world learns of it."""

    tenant: str
    plan: Plan
    arrived_s: float
    kind: Kind | None = None
    ended_s: float = 0.0
    tries: int = 0


class ContainerPolicy(Protocol):
    """What runs in one Lambda container: state of its own, kept from one request to the next."""

    def serve(self, ask: Ask) -> Steps[Reply]:
        """Serve one request. Never raises."""


@dataclass(slots=True)
class Surroundings:
    """What a container gives its policy."""

    name: str
    clock: Callable[[], float]
    """Monotonic virtual seconds, the time of store calls under way included."""
    wall: Callable[[], float]
    """The same as seconds since 1970."""
    uniform: Callable[[], float]
    background: Background
    cross: Callable[[], None]
    """Called before each access to the state store: takes its time, or raises `StoreUnavailable`."""
    store_away: Callable[[], bool]


class Fleetwide(Protocol):
    """A policy under test: makes the policy of each container, over state that they share."""

    name: str
    states_deadline: bool
    """Whether calls carry the time that is left, so that endpoints drop work nobody waits for."""

    def container(self, surroundings: Surroundings) -> ContainerPolicy:
        """The policy of a container that has just started."""


@dataclass(slots=True)
class Spent:
    """One call to a target as the world saw it, whatever the policy believes."""

    tenant: str
    plan: Plan
    sent_s: float
    units: int


@dataclass(slots=True)
class Books:
    """The world's own accounts. Lists are in order of time of what began."""

    calls: list[UserCall] = field(default_factory=list)
    admitted: list[tuple[str, Plan, float, float]] = field(default_factory=list)
    """Requests that were not refused for a limit: tenant, plan, when admitted, when over."""
    spent: list[Spent] = field(default_factory=list)
    upstream: list[tuple[float, bool]] = field(default_factory=list)
    """Calls to the primary: when sent, whether it brought an answer that could be used."""
    store_foreground: int = 0
    store_background: int = 0
    busy: list[tuple[float, int]] = field(default_factory=list)
    """Whenever it changes: virtual time, containers at work."""
    containers: int = 0
    crashes: int = 0


COST = Cost("gpu_ms", per_request=1, per_s=1000)
"""What a call costs: GPU-milliseconds for as long as it lasted."""
