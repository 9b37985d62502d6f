"""The cases tried out: figures of each, without a word about how they are shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.rollout_callers import RULES, Crowd, draw_events
from benchmarks.rollout_cases import ALPHA, LATE_CANARY, LATE_CONTROL
from benchmarks.rollout_streams import SHARE_UNIT, Scenario, Streams, draw
from benchmarks.rollout_watch import NEVER, RIVALS, Headrace, Reals
from benchmarks.rollout_whole import DEFAULT, Canary, Ended, whole
from headrace.rollouts.plan import Limit, RolloutPlan

ONE, ALL = "one metric", "five metrics, five steps"
OURS = (ONE, ALL)
FAILED, SLOWER = Limit("failed", rate_max=0.02), Limit("slower", odds_allowed=1.25)
Watcher = Callable[[Streams], Reals]
_Z95 = 1.959963985


@dataclass(slots=True)
class Checked:
    """How often the simulation's evidence was put to `judge`, and how often it said otherwise."""

    compared: int = 0
    differed: int = 0

    def add(self, *watchers: Headrace) -> None:
        """Take in what these have compared."""
        self.compared += sum(one.compared for one in watchers)
        self.differed += sum(one.differed for one in watchers)


@dataclass(frozen=True, slots=True)
class Found:
    """One case: when each watcher said so, in requests after the onset; alarms before it are false ones.

    `between` is the 95 % interval of the median, `high` the 90th percentile.
    """

    name: str
    seed: int
    runs: int
    median: Mapping[str, float] = field(default_factory=dict)
    between: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    caught: Mapping[str, float] = field(default_factory=dict)
    false: Mapping[str, int] = field(default_factory=dict)

    def raw(self) -> dict[str, Any]:
        """As JSON, which has no infinity."""

        def plain(figures: Mapping[str, float]) -> dict[str, float | None]:
            return {name: value if math.isfinite(value) else None for name, value in figures.items()}

        return {
            "name": self.name, "seed": self.seed, "runs": self.runs, "median": plain(self.median),
            "median at least": plain({who: low for who, (low, _) in self.between.items()}),
            "median at most": plain({who: high for who, (_, high) in self.between.items()}),
            "p90": plain(self.high), "caught": plain(self.caught), "false": dict(self.false),
        }  # fmt: skip


def wilson(count: int, runs: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, z2 = count / runs, _Z95 * _Z95
    middle = (share + z2 / (2 * runs)) / (1 + z2 / runs)
    half = _Z95 / (1 + z2 / runs) * math.sqrt(share * (1 - share) / runs + z2 / (4 * runs * runs))
    return max(0.0, middle - half), min(1.0, middle + half)


def median_interval(ordered: Reals) -> tuple[float, float]:
    """The 95 % interval of the median, from order statistics."""
    if not len(ordered):
        return NEVER, NEVER
    half = 0.5 * _Z95 * math.sqrt(len(ordered))
    low, high = math.floor(0.5 * len(ordered) - half), math.ceil(0.5 * len(ordered) + half)
    return float(ordered[max(0, low)]), float(ordered[min(len(ordered) - 1, high)])


def plans(scenario: Scenario, limit: Limit) -> dict[str, RolloutPlan]:
    """The metric alone with just these steps, and within the default plan."""
    steps = tuple(share for share, _ in scenario.shares)
    several = tuple(limit if one.metric == limit.metric else one for one in DEFAULT.limits)
    return {ONE: RolloutPlan((limit,), steps=steps, alpha=ALPHA), ALL: replace(DEFAULT, limits=several)}


def watch(
    scenario: Scenario, *, runs: int, seed: int, checked: Checked, limit: Limit = FAILED, latency: bool = False
) -> Found:
    """Everybody on the same streams. With `latency` the others watch what is beyond the objective."""
    ours = {name: Headrace(plan, limit, checks=100) for name, plan in plans(scenario, limit).items()}
    when: dict[str, list[Reals]] = {name: [] for name in (*ours, *RIVALS)}
    chance = np.random.default_rng([seed, 1])
    for streams in draw(scenario, runs=runs, seed=seed):
        for name, one in ours.items():
            when[name].append(one(streams))
        theirs = _late(streams, chance) if latency else streams
        for name, rival in RIVALS.items():
            when[name].append(rival(theirs))
    checked.add(*ours.values())
    return _found(scenario.name, scenario.onset, when, runs=runs, seed=seed)


def _found(name: str, onset: int, when: Mapping[str, Sequence[Reals]], *, runs: int, seed: int) -> Found:
    medians, between, highs, caught, false = {}, {}, {}, {}, {}
    for who, parts in when.items():
        alarms = np.concatenate(parts)
        false[who] = int((alarms <= onset).sum()) if onset else 0
        after = alarms[alarms > onset] - onset
        reached = np.sort(after)
        medians[who] = float(reached[(len(reached) - 1) // 2]) if len(reached) else NEVER
        between[who] = median_interval(reached)
        highs[who] = float(reached[math.ceil(0.9 * len(reached)) - 1]) if len(reached) else NEVER
        caught[who] = float(np.isfinite(after).mean()) if len(after) else 0.0
    return Found(name, seed, runs, medians, between, highs, caught, false)


def false_alarms(scenario: Scenario, *, runs: int, seed: int, checked: Checked) -> Found:
    """How often each stops a version that is no worse."""
    found = watch(scenario, runs=runs, seed=seed, checked=checked)
    return replace(found, false={who: round(share * runs) for who, share in found.caught.items()})


def _late(streams: Streams, chance: np.random.Generator) -> Streams:
    """Of the requests beyond the control's 95th percentile those that are beyond the objective as well."""
    part = np.where(streams.canary, LATE_CANARY / streams.scenario.canary, LATE_CONTROL / streams.scenario.control)
    return replace(streams, bad=streams.bad & (chance.random(streams.bad.shape, dtype=np.float32) < part))


def crowd(case: Crowd, *, runs: int, seed: int, checked: Checked) -> dict[str, Reals]:
    """By the rule of counting, the request of each run's rollback."""
    shares = tuple(share for share, _ in case.shares)
    plan = RolloutPlan((FAILED,), steps=shares, alpha=ALPHA)
    watchers = {rule: Headrace(plan, FAILED, checks=100) for rule in RULES}
    when: dict[str, list[Reals]] = {rule: [] for rule in RULES}
    for events in draw_events(case, runs=runs, seed=seed):
        for rule in RULES:
            when[rule].append(watchers[rule].watch(events[rule], shares))
    checked.add(*watchers.values())
    return {rule: np.concatenate(parts) for rule, parts in when.items()}


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Many whole rollouts of one canary."""

    name: str
    seed: int
    runs: int
    ended: Counter[str]
    by: Counter[str]
    minutes: float
    share: int
    canary_bad: float
    canary_bad_high: float


def rollouts(case: Canary, *, runs: int, seed: int, rpm: int) -> Rollouts:
    """Run them, and sum up."""
    all_: list[Ended] = [whole(case, seed=seed, run=run, rpm=rpm) for run in range(runs)]
    bad = np.array([one.canary_bad for one in all_])
    return Rollouts(
        name=case.name,
        seed=seed,
        runs=runs,
        ended=Counter(one.how for one in all_),
        by=Counter(one.by[0] for one in all_ if one.by),
        minutes=float(np.median([one.minutes for one in all_])),
        share=int(np.median([one.share for one in all_])),
        canary_bad=float(np.median(bad)),
        canary_bad_high=float(np.quantile(bad, 0.9)),
    )


def percent(share: int) -> str:
    """A share of the traffic in words."""
    return f"{100 * share / SHARE_UNIT:g} %"
