"""Who watches a canary, and at which request each says that it is bad: Headrace, and what others do.

Headrace's evidence is added up here event by event for many runs at once; every run in which it is enough is put to the
production function `judge`, at that event and at the one before it, which must say `RollBack` there and not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.rollout_streams import SHARE_UNIT, Flags, Numbers, Streams
from headrace.rollouts.counted import Counted
from headrace.rollouts.decide import RollBack, Stage, judge
from headrace.rollouts.evidence import ODDS, ODDS_WEIGHTS, Bad, beginnings, log_evidence
from headrace.rollouts.plan import Limit, RolloutPlan

Reals = NDArray[np.float64]
NEVER = math.inf
SUCCESS_MIN = 0.99
"""Of both Argo Rollouts' and Flagger's own examples: the least success rate in a minute."""
Z_ALPHA_1 = 2.326347874
"""One-sided, 1 %: the nominal level of the peeked test, as of everything else here."""


@dataclass(frozen=True, slots=True)
class Events:
    """Bad events of several runs, ordered by run and then by time."""

    runs: int
    run: Numbers
    position: Numbers
    canary: Flags
    stage: Numbers


def events_of(streams: Streams) -> Events:
    """Each request by a caller of its own."""
    run, position = np.nonzero(streams.bad)
    return Events(len(streams.bad), run, position, streams.canary[run, position], streams.stage[position])


def step_sizes(shares: tuple[int, ...], odds_allowed: float) -> tuple[Reals, Reals]:
    """By stage and alternative, what one bad event of the canary, and one of the control, adds: asked of production."""

    def one(share: int, odds: float, bad: tuple[int, int]) -> float:
        return log_evidence([Bad(share, *bad)], odds_allowed=odds_allowed, odds=[odds], weights=[1.0])

    ups, downs = ([[one(share, odds, bad) for odds in ODDS] for share in shares] for bad in ((1, 0), (0, 1)))
    return np.array(ups), np.array(downs)


def evidence(events: Events, shares: tuple[int, ...], *, planned: int, odds_allowed: float = 1.0) -> Reals:
    """After each event the logarithm of the metric's evidence, over its beginnings, as `judge` weighs them."""
    up, down = step_sizes(shares, odds_allowed)
    steps = np.where(events.canary[:, None], up[events.stage], down[events.stage])
    first = np.searchsorted(events.run, np.arange(events.runs))
    best = np.full(len(events.run), -math.inf)
    for stage, weight in enumerate(beginnings(planned)[: len(shares)]):
        since = np.cumsum(np.where((events.stage >= stage)[:, None], steps, 0.0), axis=0)
        before = np.concatenate([np.zeros((1, len(ODDS))), since])[first]
        logs = since - before[events.run] + np.log(ODDS_WEIGHTS)
        highest = logs.max(axis=1)
        mixed = highest + np.log(np.exp(logs - highest[:, None]).sum(axis=1))
        best = np.maximum(best, math.log(weight) + mixed)
    return best


def first_in_run(events: Events, enough: Flags) -> tuple[Numbers, Numbers]:
    """Runs in which it was ever enough, and the first such event of each."""
    where = np.nonzero(enough)[0]
    found, index = np.unique(events.run[where], return_index=True)
    return found, where[index]


class Headrace:
    """Rolls back as `judge` does; counts how often the two were compared and differed."""

    def __init__(self, plan: RolloutPlan, limit: Limit, *, checks: int = 1_000) -> None:
        self._plan, self._limit, self._checks = plan, limit, checks
        self.compared = self.differed = 0

    def __call__(self, streams: Streams) -> Reals:
        """By run the request after which it rolls back, counted from 1; `NEVER` where it does not."""
        return self.watch(events_of(streams), tuple(share for share, _ in streams.scenario.shares))

    def watch(self, events: Events, shares: tuple[int, ...]) -> Reals:
        """The same of events."""
        planned = sum(0 < share < SHARE_UNIT for share in self._plan.steps)
        logs = evidence(events, shares, planned=planned, odds_allowed=self._limit.odds_allowed)
        logs -= math.log(len(self._plan.limits))
        found, event = first_in_run(events, logs >= -math.log(self._plan.alpha))
        when = np.full(events.runs, NEVER)
        when[found] = events.position[event] + 1
        for run, last in zip(found, event, strict=True):
            if self.compared < 2 * self._checks:
                first = int(np.searchsorted(events.run, run))
                self._compare(events, shares, slice(first, int(last) + 1), bad=True)
                self._compare(events, shares, slice(first, int(last)), bad=False)
        return when

    def _compare(self, events: Events, shares: tuple[int, ...], rows: slice, *, bad: bool) -> None:
        canary, stage = events.canary[rows], events.stage[rows]
        now = int(events.stage[rows.stop - 1]) if rows.stop > rows.start else 0
        stages = []
        for number, share in enumerate(shares[: now + 1]):
            mine = int((canary & (stage == number)).sum())
            other = int((~canary & (stage == number)).sum())
            stages.append(Stage(number + 1, share, 0.0, self._counted(mine), self._counted(other)))
        decision = judge(self._plan, stages, now=0.0).decision
        self.compared += 1
        self.differed += isinstance(decision, RollBack) is not bad

    def _counted(self, bad: int) -> Counted:
        metric = self._limit.metric
        return Counted(requests=bad, bad={metric: bad}, bad_callers={metric: bad})


def argo(failure_limit: int) -> Callable[[Streams], Reals]:
    """Argo Rollouts' analysis: each minute's success rate against 99 %; aborted by more failures than the limit.

    A minute without requests of the canary is no measurement.
    """
    return lambda streams: _after(np.cumsum(_unsuccessful(streams), axis=1) > failure_limit, streams)


def flagger(threshold: int) -> Callable[[Streams], Reals]:
    """Flagger's: rolled back by so many failed checks; its documentation's examples have 5 and 10."""
    return lambda streams: _after(np.cumsum(_unsuccessful(streams), axis=1) >= threshold, streams)


def alarm(of: int, breaching: int) -> Callable[[Streams], Reals]:
    """A CloudWatch alarm on the variant's rate of errors above 1 % in a minute: so many of the last so many minutes.

    It is what SageMaker's deployment guardrails watch; missing data is not breaching.
    """

    def watch(streams: Streams) -> Reals:
        over = _unsuccessful(streams).astype(np.int64)
        summed = np.cumsum(over, axis=1)
        summed[:, of:] = summed[:, of:] - np.cumsum(over, axis=1)[:, :-of]
        return _after(summed >= breaching, streams)

    return watch


def z_test(streams: Streams) -> Reals:
    """The two-proportion z-test, one-sided at 1 %, looked at each minute on everything so far."""
    n, x, m, y = (np.cumsum(counts, axis=1).astype(np.float64) for counts in streams.by_minute())
    pooled = (x + y) / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (x / n - y / m) / np.sqrt(pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m))
    return _after(np.nan_to_num(z, nan=0.0, posinf=0.0, neginf=0.0) > Z_ALPHA_1, streams)


RIVALS: Mapping[str, Callable[[Streams], Reals]] = {
    "Argo, limit 0": argo(0),
    "Argo, limit 3": argo(3),
    "Flagger, 5": flagger(5),
    "Flagger, 10": flagger(10),
    "z-test, peeked": z_test,
    "alarm 1 of 1": alarm(1, 1),
    "alarm 3 of 5": alarm(5, 3),
}


def _unsuccessful(streams: Streams) -> Flags:
    requests, bad, _, _ = streams.by_minute()
    return np.asarray((requests > 0) & (requests - bad < SUCCESS_MIN * requests))


def _after(fired: Flags, streams: Streams) -> Reals:
    """The end of the first minute in which it fired, in requests."""
    ends = (fired.argmax(axis=1) + 1.0) * streams.scenario.rpm
    return np.where(fired.any(axis=1), ends, NEVER)
