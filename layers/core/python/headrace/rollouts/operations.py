"""What an operator's command does with the stores: read, decide, write whole, and again where somebody came between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest, StoreUnavailable
from headrace.rollouts import actions
from headrace.rollouts.controller import TRIES_MAX, Executions
from headrace.rollouts.plan import RolloutPlan
from headrace.rollouts.states import Rollout
from headrace.rollouts.store import Change, Outrun, Rollouts, Tallies
from headrace.rollouts.turns import Counts
from headrace.routing.changes import of_declaration
from headrace.routing.document import Routing
from headrace.routing.standing import standing
from headrace.routing.store import RoutingStore

EARLIER_MAX = 20
"""Rollouts that are looked at for whether an artifact was rolled back just now."""
Decide = Callable[[Rollout, Routing, Counts, float], Change]


class Operations:
    """Starts rollouts, and acts on those under way.

    Args:
        endpoint: as it is declared.
        rollouts, routings, tallies: the stores.
        executions: the state machine.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        rollouts: Rollouts,
        routings: RoutingStore,
        tallies: Tallies,
        executions: Executions,
        wall: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._rollouts = rollouts
        self._routings = routings
        self._tallies = tallies
        self._executions = executions
        self._wall = wall

    def prepare(
        self, canary: str, *, plan: RolloutPlan, rollout_id: str, who: str, why: str, again: bool = False
    ) -> Change:
        """The start that would be written now. Raises as `actions.start`, and StoreUnavailable."""
        return actions.start(
            self._endpoint,
            canary,
            self.routing(),
            earlier=self._rollouts.newest(self._endpoint.name, limit=EARLIER_MAX),
            plan=plan,
            rollout_id=rollout_id,
            now=self._wall(),
            who=who,
            why=why,
            again=again,
        )

    def start(
        self, canary: str, *, plan: RolloutPlan, rollout_id: str, who: str, why: str, again: bool = False
    ) -> tuple[Rollout, bool]:
        """Start a rollout; its record, and whether its execution has started.

        One whose execution could not be started is found by the sweep some minutes later.

        Raises:
            UnknownTarget: no such version.
            InvalidRequest: refused, see `actions.start`; or somebody else began one at this moment.
            StoreUnavailable: perhaps started: look at its status.
        """
        for _ in range(TRIES_MAX):
            change = self.prepare(canary, plan=plan, rollout_id=rollout_id, who=who, why=why, again=again)
            try:
                self._commit(change)
            except Outrun:
                continue  # by now another rollout may be active, and is told
            rollout = change.rollout
            try:
                self._executions.start(rollout.execution, endpoint=rollout.endpoint, rollout_id=rollout.rollout_id)
            except StoreUnavailable:
                return rollout, False
            return rollout, True
        raise StoreUnavailable("Others change this endpoint's routing all the time.")

    def pause(self, *, who: str, why: str) -> Rollout:
        """See `actions.pause`."""
        return self._act(lambda rollout, routing, _, now: actions.pause(rollout, routing, now=now, who=who, why=why))

    def resume(self, *, who: str, why: str) -> Rollout:
        """See `actions.resume`."""
        return self._act(lambda rollout, routing, _, now: actions.resume(rollout, routing, now=now, who=who, why=why))

    def promote(self, *, to: int | None, who: str, why: str) -> Rollout:
        """See `actions.promote`."""
        return self._act(
            lambda rollout, routing, counts, now: actions.promote(
                rollout, routing, counts, to=to, now=now, who=who, why=why
            )
        )

    def abort(self, *, who: str, why: str) -> Rollout:
        """See `actions.abort`."""
        return self._act(
            lambda rollout, routing, counts, now: actions.abort(rollout, routing, counts, now=now, who=who, why=why)
        )

    def routing(self) -> Routing:
        """The document in force, or the declaration's own."""
        return self._routings.read(self._endpoint.name, consistent=True) or of_declaration(self._endpoint)

    def _act(self, decide: Decide) -> Rollout:
        """Write what `decide` makes of the present state; again where a turn or another person came between.

        Raises:
            InvalidRequest: there is no rollout, or its state refuses this.
            StoreUnavailable: perhaps done: look at its status.
        """
        for _ in range(TRIES_MAX):
            rollout = self._rollouts.current(self._endpoint.name)
            if rollout is None:
                raise InvalidRequest("This endpoint has no rollout.", code="rollout_not_found")
            counts: Counts = {}
            with suppress(StoreUnavailable):  # what is known of the counts goes into the history, and decides nothing
                counts = self._tallies.read(rollout.rollout_id)
            # Whoever ends a rollout must be able to, whatever stands there; and whatever is written is readable again.
            routing, readable = standing(self._routings, self._endpoint)
            change = decide(rollout, routing, counts, self._wall())
            with suppress(Outrun):
                self._commit(replace(change, mend=not readable))
                return change.rollout
        raise StoreUnavailable("Others change this rollout all the time.")

    def _commit(self, change: Change) -> None:
        """Write; once more where no answer came, as the same change again is no error."""
        try:
            self._rollouts.commit(change)
        except StoreUnavailable:
            self._rollouts.commit(change)
