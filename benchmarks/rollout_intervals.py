"""Bounds, intervals, disagreement and the check of the division, looked at again and again: how often they are wrong.

Whatever is looked at is production's own function, at some thirty moments of each run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from benchmarks.rollout_streams import SHARE_UNIT
from benchmarks.rollout_watch import step_sizes
from headrace.rollouts.bounds import lower_bound, upper_bound
from headrace.rollouts.counted import Values
from headrace.rollouts.estimates import VALUES_MIN, excludes, interval
from headrace.rollouts.evidence import ODDS_WEIGHTS, log_rate_evidence, log_split

LOOKS = np.unique(np.round(np.geomspace(10, 20_000, 30)).astype(int))
"""Callers of each arm at which somebody looks."""
Draw = Callable[[np.random.Generator], np.ndarray[tuple[int], np.dtype[np.float64]]]
MOST = int(LOOKS[-1])
COMPARISONS = 4_000
RUNS_AT_ONCE = 250


def conversions_missed(control: float, treatment: float, *, alpha: float, runs: int, seed: int) -> int:
    """Runs in which the interval ever excluded the true difference of two rates."""
    missed = 0
    for run in range(runs):
        chance = np.random.default_rng([seed, run])
        sums = [np.cumsum(chance.random(MOST) < rate) for rate in (control, treatment)]
        missed += any(
            excludes((int(sums[0][n - 1]), int(n)), (int(sums[1][n - 1]), int(n)), treatment - control, alpha=alpha)
            for n in LOOKS
        )
    return missed


def means_missed(draw: Draw, *, alpha: float, runs: int, seed: int) -> int:
    """Runs in which the interval ever excluded that there is no difference between two arms alike."""
    missed = 0
    for run in range(runs):
        chance = np.random.default_rng([seed, run])
        sums = []
        for _ in range(2):
            values = draw(chance)
            sums.append((np.cumsum(values), np.cumsum(values * values)))
        for n in LOOKS[LOOKS >= VALUES_MIN]:
            arms = [Values(int(n), float(total[n - 1]), float(squares[n - 1])) for total, squares in sums]
            found = interval(arms[0], arms[1], alpha)
            if not found.low <= 0.0 <= found.high:
                missed += 1
                break
    return missed


def normal(chance: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Values about 3, spread by 1."""
    return chance.normal(3.0, 1.0, MOST)


def purchases(chance: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One caller in five buys, for an amount whose logarithm is normal: most values are 0, and a few are large."""
    return (chance.random(MOST) < 0.2) * chance.lognormal(3.0, 1.0, MOST)


def bounds_missed(rate: float, *, alpha: float, runs: int, seed: int) -> tuple[int, int]:
    """Runs in which the upper bound was ever below the true rate, and those in which the lower was ever above it."""
    over = under = 0
    for run in range(runs):
        sums = np.cumsum(np.random.default_rng([seed, run]).random(MOST) < rate)
        counts = [(int(sums[n - 1]), int(n - sums[n - 1])) for n in LOOKS]
        over += any(upper_bound(bad, good, alpha=alpha) < rate for bad, good in counts)
        under += any(lower_bound(bad, good, alpha=alpha) > rate for bad, good in counts)
    return over, under


def disagreement_alarms(rate: float, *, rate_max: float, alpha: float, runs: int, seed: int) -> tuple[int, list[float]]:
    """Runs in which disagreement was ever held to be above what is put up with, and after how many comparisons.

    Raises:
        ValueError: production's own evidence says otherwise than what was added up here.
    """
    chance = np.random.default_rng(seed)
    (up,), (down,) = step_sizes((round(rate_max * SHARE_UNIT),), 1.0)
    found = []
    for start in range(0, runs, RUNS_AT_ONCE):
        bad = np.cumsum(chance.random((min(RUNS_AT_ONCE, runs - start), COMPARISONS), dtype=np.float32) < rate, axis=1)
        good = np.arange(1, COMPARISONS + 1) - bad
        mixed = sum(
            w * np.exp(np.minimum(bad * u + good * d, 600.0)) for w, u, d in zip(ODDS_WEIGHTS, up, down, strict=True)
        )
        enough = np.asarray(mixed >= 1.0 / alpha)
        for run in np.nonzero(enough.any(axis=1))[0]:
            at = int(enough[run].argmax())
            found.append(float(at + 1))
            for index, wanted in ((at, True), (at - 1, False)):
                log = log_rate_evidence(int(bad[run, index]), int(good[run, index]), rate_max=rate_max)
                if (log >= -math.log(alpha)) is not wanted:
                    raise ValueError("the simulation does not agree with log_rate_evidence")
    return len(found), found


def split_alarms(share: int, true_share: float, *, alpha: float, runs: int, seed: int) -> tuple[int, list[float]]:
    """Runs in which callers were ever held to be divided wrongly, and after how many callers."""
    found = []
    for run in range(runs):
        sums = np.cumsum(np.random.default_rng([seed, run]).random(MOST) < true_share)
        for n in LOOKS:
            canary = int(sums[n - 1])
            if log_split({share: (canary, int(n) - canary)}) >= -math.log(alpha):
                found.append(float(n))
                break
    return len(found), found
