"""Who looks after rollouts: reads what stands, has the turn decided, writes it whole, and starts executions.

Nothing is kept between calls. Whatever dies, and wherever, the next call reads the record and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from headrace.catalog import Catalog
from headrace.errors import StoreUnavailable, UnknownTarget
from headrace.rollouts.actions import renewed
from headrace.rollouts.states import Rollout
from headrace.rollouts.store import Change, Outrun, Rollouts, Tallies
from headrace.rollouts.turns import RENEW_AFTER_TURNS, WAIT_MAX_S, rolled_back, turn
from headrace.routing.standing import standing
from headrace.routing.store import RoutingStore

TRIES_MAX = 5
"""Against people and other executions; each outrun means that somebody else got on."""
SWEEP_AFTER_S = 5.0 * WAIT_MAX_S
"""A rollout that nobody has looked at for so long has lost its execution."""
ALARM = "alarm"


class Executions(Protocol):
    """The state machine that looks after rollouts."""

    def start(self, name: str, *, endpoint: str, rollout_id: str) -> None:
        """Start the execution `name`, unless it was started before. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """What the state machine does next.

    Args:
        state: of the rollout.
        again: whether to look again, after `wait_s` whole seconds.
        event: what is told of the rollout's end; None while it goes on, and when another execution will tell.
    """

    state: str
    again: bool = False
    wait_s: int = 0
    event: dict[str, Any] | None = None


class Controller:
    """See `headrace.rollouts.turns` for what it decides.

    Args:
        catalog: the declared endpoints.
        rollouts, routings, tallies: the stores.
        executions: the state machine.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        rollouts: Rollouts,
        routings: RoutingStore,
        tallies: Tallies,
        executions: Executions,
        wall: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._rollouts = rollouts
        self._routings = routings
        self._tallies = tallies
        self._executions = executions
        self._wall = wall

    def step(self, endpoint: str, rollout_id: str, *, execution: str = "") -> Stepped:
        """One turn.

        Args:
            endpoint: whose rollout.
            rollout_id: which one.
            execution: the state machine's that asks: one that was replaced ends here; empty asks nothing.

        Raises:
            UnknownTarget: there is no such rollout.
            StoreUnavailable: a store did not answer; the same step again is safe.
        """
        for _ in range(TRIES_MAX):
            rollout = self._find(endpoint, rollout_id)
            if not rollout.active:
                return Stepped(rollout.state, event=end_of(rollout))
            if execution and execution != rollout.execution:
                self._start(rollout)  # whoever wrote the record may have died before this
                return Stepped(rollout.state)
            routing, readable = standing(self._routings, self._catalog.endpoint(endpoint))
            turned = turn(rollout, routing, self._tallies.read(rollout_id), now=self._wall(), readable=readable)
            if turned.change is None:
                return Stepped(rollout.state)
            try:
                self._rollouts.commit(replace(turned.change, mend=not readable))
            except Outrun:
                continue
            after = turned.change.rollout
            if not after.active:
                return Stepped(after.state, event=end_of(after))
            if after.turns - after.renewed_turns >= RENEW_AFTER_TURNS and self._renew(after):
                return Stepped(after.state)
            return Stepped(after.state, again=turned.again, wait_s=turned.wait_s)
        raise StoreUnavailable("Others change this rollout all the time.")

    def sweep(self) -> list[str]:
        """Give a new execution to every rollout that nobody looks after; their ids.

        Raises:
            StoreUnavailable: a store did not answer, or the state machine, for one at least; all others were looked
                at, and the same again is safe.
        """
        found = []
        failure: StoreUnavailable | None = None
        for endpoint in self._catalog.endpoints:
            try:
                rollout = self._rollouts.current(endpoint)
                if rollout is None or not rollout.active:
                    continue
                if self._wall() - max(rollout.turned_at, rollout.started_at) >= SWEEP_AFTER_S and self._renew(rollout):
                    found.append(rollout.rollout_id)
            except StoreUnavailable as error:
                failure = error
        if failure is not None:
            raise failure
        return found

    def alarm(self, endpoint: str, version: str, *, name: str) -> Rollout | None:
        """Roll back the endpoint's rollout if this version is its canary; the record then.

        The second net: an alarm is a threshold, and has no bound on false alarms.

        Args:
            endpoint: whose alarm it is.
            version: whose alarm it is.
            name: of the alarm.

        Raises:
            StoreUnavailable: a store did not answer; the same again is safe.
        """
        for _ in range(TRIES_MAX):
            rollout = self._rollouts.current(endpoint)
            if rollout is None or not rollout.active or rollout.canary != version:
                return None
            routing, readable = standing(self._routings, self._catalog.endpoint(endpoint))
            change = rolled_back(rollout, routing, now=self._wall(), who=ALARM, why=f"{name} is in alarm")
            try:
                self._rollouts.commit(replace(change, mend=not readable))
            except Outrun:
                continue
            return change.rollout
        raise StoreUnavailable("Others change this rollout all the time.")

    def _find(self, endpoint: str, rollout_id: str) -> Rollout:
        rollout = self._rollouts.current(endpoint)
        if rollout is None or rollout.rollout_id != rollout_id:
            rollout = self._rollouts.find(endpoint, rollout_id)
        if rollout is None:
            raise UnknownTarget("There is no such rollout.", code="rollout_not_found")
        return rollout

    def _renew(self, rollout: Rollout) -> bool:
        """Whether another execution has taken over; False when somebody else changed the record first."""
        after = renewed(rollout)
        try:
            self._rollouts.commit(Change(after))
        except Outrun:
            return False
        self._start(after)
        return True

    def _start(self, rollout: Rollout) -> None:
        self._executions.start(rollout.execution, endpoint=rollout.endpoint, rollout_id=rollout.rollout_id)


def end_of(rollout: Rollout) -> dict[str, Any]:
    """What others are told of a rollout's end: metadata."""
    return {
        "endpoint": rollout.endpoint,
        "rollout_id": rollout.rollout_id,
        "version": rollout.canary,
        "digest": rollout.digest,
        "state": rollout.state,
        "share": rollout.stage.share,
        "stages": len(rollout.stages),
        "started_at": rollout.started_at,
        "ended_at": rollout.updated_at,
    }
