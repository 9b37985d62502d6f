"""Runs every scenario with every contender and seed, on all cores; which runs where cannot change what comes out."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks.fleet.contenders import CONTENDERS
from benchmarks.fleet.engine import Engine
from benchmarks.fleet.scenarios import Scenario
from benchmarks.fleet.scorecard import Score, score
from benchmarks.fleet.timeline import Timeline, timeline
from benchmarks.fleet.world import simulate
from benchmarks.rounds import say


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario lived through by one contender with one seed."""

    scenario: Scenario
    contender: str
    seed: int
    score: Score
    timeline: Timeline


def run_one(scenario: Scenario, contender: str, seed: int) -> Run:
    """Live through a scenario and judge it."""
    books = simulate(scenario, CONTENDERS[contender](), engine=Engine(), seed=seed)
    return Run(scenario, contender, seed, score(scenario, books), timeline(scenario, books))


def run_all(
    scenarios: Iterable[Scenario], contenders: Sequence[str], seeds: Sequence[int], *, processes: int | None = None
) -> list[Run]:
    """All combinations, in the order of the arguments.

    Args:
        scenarios: what happens.
        contenders: names of `CONTENDERS`.
        seeds: of chance.
        processes: how many at once; None is one per core, 1 is this process alone.
    """
    tasks = [(scenario, name, seed) for scenario in scenarios for name in contenders for seed in seeds]
    if processes == 1:
        return [run_one(*task) for task in tasks]
    # Nothing that a run makes is a cycle for long: without the collector it is half as slow.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=gc.disable) as pool:
        runs: list[Run] = []
        for run in pool.map(_run_and_clean, tasks):
            if not runs or runs[-1].scenario != run.scenario:
                say(run.scenario.name)
            runs.append(run)
        return runs


def _run_and_clean(task: tuple[Scenario, str, int]) -> Run:
    found = run_one(*task)
    gc.collect()
    return found
