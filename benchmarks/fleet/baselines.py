"""What people run instead: no policy, three tries at once, and breakers as libraries have them.

The breakers get the same stand-in as Headrace and leave as much time for it; those without a policy have none.
None of them looks into an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.fleet.powertools_breaker import Permit, PowertoolsBreaker, StoreDown, Table
from benchmarks.fleet.values import Ask, ContainerPolicy, Reply, Surroundings
from headrace.errors import CircuitOpen, StoreUnavailable, TargetSaturated
from headrace.invocation.steps import Call, Steps, Target

PRIMARY = Target("model", "primary", "v1")
STAND_IN = Target("model", "cpu")
STAND_IN_S = 1.0
"""Time kept for the stand-in."""


@dataclass(slots=True)
class Tries:
    """Ask up to `tries` times without a pause, each time for as long as the user waits."""

    surroundings: Surroundings
    tries: int

    def serve(self, ask: Ask) -> Steps[Reply]:
        """See `ContainerPolicy.serve`."""
        for _ in range(self.tries):
            left_s = ask.deadline_s - self.surroundings.clock()
            if left_s <= 0:
                break
            (outcome,) = yield Call(PRIMARY, left_s)
            if outcome.response is not None:
                return Reply("primary", response=outcome.response)
        return Reply("failed")


@dataclass(slots=True)
class NoPolicy:
    """One attempt with the user's patience as its timeout, or `tries` of them."""

    name: str = "no policy"
    tries: int = 1
    states_deadline: bool = False

    def container(self, surroundings: Surroundings) -> ContainerPolicy:
        """See `Fleetwide.container`."""
        return Tries(surroundings, self.tries)


class Breaker(Protocol):
    """What one container knows of the endpoint."""

    def enter(self) -> Permit | None:
        """Leave to call, or None."""

    def leave(self, permit: Permit, *, good: bool) -> None:
        """Say how a call ended."""


@dataclass(slots=True)
class ConsecutiveFailures:
    """As in most libraries: so many failures in a row open it for a while, then calls try it out again.

    One container serves one request, so that there is never more than one such call in it.
    """

    clock: Callable[[], float]
    failures_max: int = 5
    open_s: float = 2.0
    failures: int = 0
    open_until_s: float = 0.0

    def enter(self) -> Permit | None:
        """See `Breaker.enter`."""
        return Permit(PRIMARY.name) if self.clock() >= self.open_until_s else None

    def leave(self, permit: Permit, *, good: bool) -> None:
        """See `Breaker.leave`."""
        permit.left = True
        self.failures = 0 if good else self.failures + 1
        if self.failures >= self.failures_max:
            self.open_until_s = self.clock() + self.open_s


@dataclass(slots=True)
class Powertools:
    """The circuit breaker of Powertools for AWS Lambda, over its table."""

    surroundings: Surroundings
    table: Table
    breaker: PowertoolsBreaker

    def enter(self) -> Permit | None:
        """See `Breaker.enter`."""
        with self._crossing(), suppress(CircuitOpen, StoreDown):
            return self.breaker.enter(PRIMARY.name)
        return None

    def leave(self, permit: Permit, *, good: bool) -> None:
        """See `Breaker.leave`."""
        with self._crossing():
            self.breaker.leave(permit, "good" if good else "bad", 0.0)

    @contextmanager
    def _crossing(self) -> Iterator[None]:
        """The library waits for its table each time."""
        self.table.down = self.surroundings.store_away()
        before = self.table.reads + self.table.writes
        yield
        for _ in range(self.table.reads + self.table.writes - before):
            with suppress(StoreUnavailable):
                self.surroundings.cross()


@dataclass(slots=True)
class Guarded:
    """A breaker before the endpoint, and the stand-in behind it."""

    clock: Callable[[], float]
    breaker: Breaker
    attempt_max_s: float = math.inf

    def serve(self, ask: Ask) -> Steps[Reply]:
        """See `ContainerPolicy.serve`."""
        permit = self.breaker.enter()
        left_s = ask.deadline_s - STAND_IN_S - self.clock()
        if permit is not None and left_s > 0:
            (outcome,) = yield Call(PRIMARY, min(left_s, self.attempt_max_s))
            if not isinstance(outcome.failure, TargetSaturated):  # it is there, and has too much to do
                self.breaker.leave(permit, good=outcome.response is not None)
            if outcome.response is not None:
                return Reply("primary", response=outcome.response)
        left_s = ask.deadline_s - self.clock()
        if left_s > 0:
            (outcome,) = yield Call(STAND_IN, min(left_s, STAND_IN_S))
            if outcome.response is not None:
                return Reply("degraded")
        return Reply("failed")


@dataclass(slots=True)
class PerContainer:
    """A breaker of its own in each container."""

    name: str = "breaker per container"
    states_deadline: bool = False

    def container(self, surroundings: Surroundings) -> ContainerPolicy:
        """See `Fleetwide.container`."""
        return Guarded(surroundings.clock, ConsecutiveFailures(surroundings.clock))


@dataclass(slots=True)
class OfPowertools:
    """Powertools' breaker with its defaults in each container, over one table."""

    name: str = "Powertools' breaker"
    attempt_max_s: float = math.inf
    states_deadline: bool = False
    table: Table = field(default_factory=Table)

    def container(self, surroundings: Surroundings) -> ContainerPolicy:
        """See `Fleetwide.container`."""
        breaker = PowertoolsBreaker(table=self.table, wall=surroundings.wall, owner=surroundings.name)
        return Guarded(surroundings.clock, Powertools(surroundings, self.table, breaker), self.attempt_max_s)
