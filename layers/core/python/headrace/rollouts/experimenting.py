"""Who looks after experiments: reads what stands, has the turn decided, writes it whole, and starts executions.

Nothing is kept between calls, as in `headrace.rollouts.controller`, whose state machine this uses.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from headrace.catalog import Catalog, Endpoint
from headrace.errors import InvalidRequest, StoreUnavailable, UnknownTarget
from headrace.rollouts.controller import SWEEP_AFTER_S, TRIES_MAX, Stepped
from headrace.rollouts.experiment_turns import execution_name, start_experiment, stopped, turn_experiment
from headrace.rollouts.experiments import ExperimentChange, ExperimentRun, Experiments
from headrace.rollouts.store import Outrun, Tallies
from headrace.rollouts.turns import RENEW_AFTER_TURNS
from headrace.routing.changes import of_declaration
from headrace.routing.standing import standing
from headrace.routing.store import RoutingStore

LOOKED_AT_MAX = 100
"""Experiments of an endpoint that are searched for one by its id."""


class ExperimentExecutions(Protocol):
    """The state machine that looks after experiments."""

    def start_experiment(self, name: str, *, endpoint: str, experiment_id: str) -> None:
        """Start the execution `name`, unless it was started before. Raises StoreUnavailable."""


class ExperimentController:
    """See `headrace.rollouts.experiment_turns` for what it decides.

    Args:
        catalog: the declared endpoints.
        experiments, routings, tallies: the stores.
        executions: the state machine.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        experiments: Experiments,
        routings: RoutingStore,
        tallies: Tallies,
        executions: ExperimentExecutions,
        wall: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._experiments = experiments
        self._routings = routings
        self._tallies = tallies
        self._executions = executions
        self._wall = wall

    def step(self, endpoint: str, experiment_id: str, *, execution: str = "") -> Stepped:
        """One turn.

        Args:
            endpoint: whose.
            experiment_id: which experiment of it.
            execution: the state machine's that asks: one that was replaced ends here; empty asks nothing.

        Raises:
            UnknownTarget: there is no such experiment.
            StoreUnavailable: a store did not answer; the same step again is safe.
        """
        for _ in range(TRIES_MAX):
            run = self._find(endpoint, experiment_id)
            if not run.active:
                return Stepped(run.state, event=end_of_experiment(run))
            if execution and execution != run.execution:
                self._start(run)  # whoever wrote the record may have died before this
                return Stepped(run.state)
            routing, readable = standing(self._routings, self._catalog.endpoint(endpoint))
            turned = turn_experiment(run, routing, self._tallies.read(experiment_id), now=self._wall())
            if turned.change is None:
                return Stepped(run.state)
            try:
                self._experiments.commit(replace(turned.change, mend=not readable))
            except Outrun:
                continue
            after = turned.change.run
            if not after.active:
                return Stepped(after.state, event=end_of_experiment(after))
            if after.turns >= (after.renewals + 1) * RENEW_AFTER_TURNS and self._renew(after):
                return Stepped(after.state)
            return Stepped(after.state, again=turned.again, wait_s=turned.wait_s)
        raise StoreUnavailable("Others change this experiment all the time.")

    def sweep(self) -> list[str]:
        """Give a new execution to every experiment that nobody looks after; their ids.

        Raises:
            StoreUnavailable: a store did not answer, or the state machine, for one at least; all others were looked
                at, and the same again is safe.
        """
        found = []
        failure: StoreUnavailable | None = None
        for endpoint in self._catalog.endpoints:
            try:
                for run in self._experiments.all_current(endpoint):
                    idle_s = self._wall() - max(run.turned_at, run.started_at)
                    if run.active and idle_s >= SWEEP_AFTER_S and self._renew(run):
                        found.append(run.experiment_id)
            except StoreUnavailable as error:
                failure = error
        if failure is not None:
            raise failure
        return found

    def _find(self, endpoint: str, experiment_id: str) -> ExperimentRun:
        runs = [*self._experiments.all_current(endpoint), *self._experiments.newest(endpoint, limit=LOOKED_AT_MAX)]
        for run in runs:
            if run.experiment_id == experiment_id:
                return run
        raise UnknownTarget("There is no such experiment.", code="experiment_not_found")

    def _renew(self, run: ExperimentRun) -> bool:
        """Whether another execution has taken over; False when somebody else changed the record first."""
        renewals = run.renewals + 1
        name = execution_name(run.experiment_id, renewals)
        after = replace(run, renewals=renewals, execution=name, version=run.version + 1)
        try:
            self._experiments.commit(ExperimentChange(after))
        except Outrun:
            return False
        self._start(after)
        return True

    def _start(self, run: ExperimentRun) -> None:
        self._executions.start_experiment(run.execution, endpoint=run.endpoint, experiment_id=run.experiment_id)


class ExperimentOperations:
    """What an operator's command does: read, decide, write whole, and again where somebody came between.

    Args:
        endpoint: as it is declared.
        experiments, routings: the stores.
        executions: the state machine.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        experiments: Experiments,
        routings: RoutingStore,
        executions: ExperimentExecutions,
        wall: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._experiments = experiments
        self._routings = routings
        self._executions = executions
        self._wall = wall

    def start(self, run: ExperimentRun) -> tuple[ExperimentRun, bool]:
        """Start an experiment; its record, and whether its execution has started.

        One whose execution could not be started is found by the sweep some minutes later.

        Raises:
            InvalidRequest: refused, see `headrace.rollouts.experiment_turns.start_experiment`.
            StoreUnavailable: perhaps started: look at its status.
        """
        for _ in range(TRIES_MAX):
            runs = self._experiments.all_current(self._endpoint.name)
            routing = self._routings.read(self._endpoint.name, consistent=True) or of_declaration(self._endpoint)
            change = start_experiment(run, self._endpoint, routing, standing=runs)
            try:
                self._commit(change)
            except Outrun:
                continue  # by now one of this name may be active, and is told
            try:
                self._executions.start_experiment(run.execution, endpoint=run.endpoint, experiment_id=run.experiment_id)
            except StoreUnavailable:
                return change.run, False
            return change.run, True
        raise StoreUnavailable("Others change this endpoint's routing all the time.")

    def stop(self, name: str, *, who: str, why: str) -> ExperimentRun:
        """End an experiment; its callers are served as all others are.

        Raises:
            InvalidRequest: there is none of that name, or it is over.
            StoreUnavailable: perhaps ended: look at its status.
        """
        for _ in range(TRIES_MAX):
            run = self._experiments.current(self._endpoint.name, name)
            if run is None or not run.active:
                raise InvalidRequest(f"No experiment called {name} runs on this endpoint.", code="experiment_over")
            routing, readable = standing(self._routings, self._endpoint)
            change = stopped(run, routing, who=who, why=why, now=self._wall())
            with suppress(Outrun):
                self._commit(replace(change, mend=not readable))
                return change.run
        raise StoreUnavailable("Others change this experiment all the time.")

    def _commit(self, change: ExperimentChange) -> None:
        """Write; once more where no answer came, as the same change again is no error."""
        try:
            self._experiments.commit(change)
        except StoreUnavailable:
            self._experiments.commit(change)


def end_of_experiment(run: ExperimentRun) -> dict[str, Any]:
    """What others are told of an experiment's end: metadata."""
    return {
        "endpoint": run.endpoint,
        "experiment_id": run.experiment_id,
        "name": run.name,
        "state": run.state,
        "started_at": run.started_at,
        "ended_at": run.updated_at,
    }
