"""Callers who send much or little, some of whom always fail, and who stay with their version: who is counted, and when.

A few callers send most of the requests (Pareto), and one in a hundred fails half of the time whatever the version: a
broken client. Each caller has the canary where a number of its own is below the canary's share, as in production.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.rollout_streams import RPM, SHARE_UNIT, Flags, Numbers
from benchmarks.rollout_watch import Events

Rule = Literal["as Headrace counts", "each caller once per stage", "each request"]
RULES: tuple[Rule, ...] = ("as Headrace counts", "each caller once per stage", "each request")


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is drawn.

    Args:
        shares: of the canary in basis points, with how many minutes each lasts.
        callers: how many there are.
        tail: the exponent of Pareto; the smaller, the more of all requests a few callers send.
        broken, broken_rate: how many of the callers fail anyway, and how often.
        rate: of everybody's bad events.
        canary_odds: how many times as often the canary's requests are bad, broken callers' excepted.
        onset_min: from which minute on.
    """

    name: str
    shares: tuple[tuple[int, int], ...]
    callers: int = 2_000
    tail: float = 1.1
    broken: float = 0.01
    broken_rate: float = 0.5
    rate: float = 0.001
    canary_odds: float = 1.0
    onset_min: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    caller: Numbers
    canary: Flags
    bad: Flags
    position: Numbers
    stage: Numbers


def draw_events(crowd: Crowd, *, runs: int, seed: int) -> Iterator[Mapping[Rule, Events]]:
    """Bad events of all runs as each rule counts them, a hundred runs at a time."""
    for start in range(0, runs, 100):
        drawn = [_draw(crowd, np.random.default_rng([seed, run])) for run in range(start, min(start + 100, runs))]
        yield {rule: _joined([_counted(run, rule) for run in drawn]) for rule in RULES}


def _draw(crowd: Crowd, chance: np.random.Generator) -> _Run:
    lengths = [minutes * RPM for _, minutes in crowd.shares]
    share = np.repeat([share / SHARE_UNIT for share, _ in crowd.shares], lengths)
    stage = np.repeat(np.arange(len(lengths)), lengths)
    volume = np.cumsum(chance.pareto(crowd.tail, crowd.callers) + 0.01)
    caller = np.searchsorted(volume, chance.random(len(share)) * volume[-1])
    canary = chance.random(crowd.callers)[caller] < share
    broken = (chance.random(crowd.callers) < crowd.broken)[caller]
    worse = canary & (np.arange(len(share)) >= crowd.onset_min * RPM)
    rate = np.where(broken, crowd.broken_rate, np.where(worse, crowd.canary_odds, 1.0) * crowd.rate)
    position = np.nonzero(chance.random(len(share)) < rate)[0]
    return _Run(caller[position], canary[position], np.ones(len(position), bool), position, stage[position])


def _counted(run: _Run, rule: Rule) -> _Run:
    """The events that count: the first of each caller and stage, or, for the canary's, of each caller."""
    if rule == "each request":
        return run
    stage = np.where(run.canary, -1, run.stage) if rule == "as Headrace counts" else run.stage
    _, first = np.unique(np.stack([run.caller, stage]), axis=1, return_index=True)
    kept = np.sort(first)
    return _Run(run.caller[kept], run.canary[kept], run.bad[kept], run.position[kept], run.stage[kept])


def _joined(runs: list[_Run]) -> Events:
    def all_of(parts: list[NDArray[np.int64]]) -> Numbers:
        return np.concatenate(parts)

    return Events(
        runs=len(runs),
        run=np.repeat(np.arange(len(runs)), [len(run.position) for run in runs]),
        position=all_of([run.position for run in runs]),
        canary=np.concatenate([run.canary for run in runs]),
        stage=all_of([run.stage for run in runs]),
    )
