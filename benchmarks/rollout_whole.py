"""Whole rollouts, with `judge` in the controller's place: measured, stepped up, rolled back or finished by its word.

And several metrics at once: a request that times out is failed, late and slower at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.rollout_streams import RPM, SHARE_UNIT, Flags
from benchmarks.rollout_watch import NEVER, Events, Headrace, Reals
from headrace.rollouts.counted import NOTHING, Counted
from headrace.rollouts.decide import Advance, Finish, Hold, RollBack, Stage, judge
from headrace.rollouts.metrics import Metric
from headrace.rollouts.plan import Limit, RolloutPlan

DEFAULT = RolloutPlan(
    limits=(
        Limit("failed", rate_max=0.02),
        Limit("late", rate_max=0.05),
        Limit("invalid", rate_max=0.02),
        Limit("slower", odds_allowed=1.25),
        Limit("unsure", odds_allowed=1.25),
    ),
)
"""Five metrics that share alpha, five steps."""
GOOD: Mapping[Metric, float] = {"failed": 0.005, "late": 0.005, "invalid": 0.0005, "slower": 0.05, "unsure": 0.05}
LOOK_MIN = 1
SAMPLE = 8
"""One caller in so many counts for the check of the division."""
MINUTES_MAX = 240


@dataclass(frozen=True, slots=True)
class Canary:
    """What the canary's rates are in place of the control's, from which share on; and an incident that hits both."""

    name: str
    rates: Mapping[Metric, float]
    from_share: int = 0
    incident: tuple[int, int, float] | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How one rollout ended.

    Args:
        how: finished, rolled_back, inconclusive, or open when time was up.
        by: the metrics that rolled it back.
        minutes: since its start.
        share: of the canary at the end, basis points.
        canary_bad: requests that the canary failed, all of which the control answered.
        since_bad: requests since the canary became bad.
    """

    how: Literal["finished", "rolled_back", "inconclusive", "open"]
    by: tuple[Metric, ...]
    minutes: int
    share: int
    canary_bad: int
    since_bad: int


def whole(canary: Canary, *, seed: int, run: int, rpm: int, plan: RolloutPlan = DEFAULT) -> Ended:
    """One rollout, each request by a caller of its own."""
    chance = np.random.default_rng([seed, run])
    stages = [Stage(0, 0, 0.0, NOTHING, NOTHING)]
    failed = since = 0
    for minute in range(1, MINUTES_MAX + 1):
        now = stages[-1]
        bad_now = now.share >= max(1, canary.from_share)
        rates = {**GOOD, **canary.rates} if bad_now else GOOD
        n = int(chance.binomial(rpm, now.share / SHARE_UNIT))
        factor = canary.incident[2] if canary.incident and canary.incident[0] <= minute < canary.incident[1] else 1.0
        mine, other = (_counted(chance, size, of, factor) for size, of in ((n, rates), (rpm - n, GOOD)))
        stages[-1] = Stage(now.number, now.share, now.since, now.canary.plus(mine), now.control.plus(other))
        failed += mine.count("failed")
        since += rpm if bad_now else 0
        decision = judge(plan, stages, now=minute * 60.0).decision
        match decision:
            case RollBack(metrics):
                return Ended("rolled_back", metrics, minute, now.share, failed, since)
            case Finish():
                return Ended("finished", (), minute, now.share, failed, since)
            case Advance(share):
                stages.append(Stage(now.number + 1, share, minute * 60.0, NOTHING, NOTHING))
            case Hold(inconclusive=True):
                return Ended("inconclusive", (), minute, now.share, failed, since)
    return Ended("open", (), MINUTES_MAX, stages[-1].share, failed, since)


def _counted(chance: np.random.Generator, size: int, rates: Mapping[Metric, float], factor: float) -> Counted:
    bad = {metric: int(chance.binomial(size, min(1.0, rate * factor))) for metric, rate in rates.items()}
    return Counted(requests=size, callers=int(chance.binomial(size, 1 / SAMPLE)), bad=bad, bad_callers=bad)


SEVERAL: Mapping[Metric, tuple[float, float]] = {
    "failed": (0.0, 0.005),
    "late": (0.0025, 0.0125),
    "slower": (0.005, 0.055),
    "invalid": (0.9, 0.901),
    "unsure": (0.04, 0.09),
}
"""One number between 0 and 1 is drawn for each request; these parts of it are bad, and they overlap."""


def several_at_once(share: int, *, runs: int, seed: int, minutes: int) -> tuple[Reals, int, int]:
    """Two versions alike in all of five metrics: by run the request of the first rollback, by whichever metric.

    Returns:
        Also how often `judge` was asked, and how often it said otherwise.
    """
    chance = np.random.default_rng(seed)
    watchers = {limit.metric: Headrace(DEFAULT, limit, checks=100) for limit in DEFAULT.limits}
    parts = []
    for start in range(0, runs, 250):
        size = (min(250, runs - start), minutes * RPM)
        arm = chance.random(size, dtype=np.float32) < share / SHARE_UNIT
        kind = chance.random(size, dtype=np.float32)
        first = np.full(size[0], NEVER)
        for metric, (low, high) in SEVERAL.items():
            events = _events(arm, (kind >= low) & (kind < high))
            first = np.minimum(first, watchers[metric].watch(events, (share,)))
        parts.append(first)
    compared, differed = (sum(getattr(one, name) for one in watchers.values()) for name in ("compared", "differed"))
    return np.concatenate(parts), compared, differed


def _events(arm: Flags, bad: Flags) -> Events:
    run, position = np.nonzero(bad)
    return Events(len(bad), run, position, arm[run, position], np.zeros(len(run), np.int64))
