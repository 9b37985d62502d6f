"""Evidence that a new version does worse than the one beside it, which may be looked at after every request.

**Error attribution.** Of each bad event only one thing is recorded: whether it was the canary's. While the canary is no
worse than the control, a bad event is the canary's with probability at most q0 = θ0·w / (θ0·w + 1 - w), where w is the
canary's share of the traffic when it happened and θ0 the odds that are put up with. Against it stand alternatives
θ > θ0; the ratio of likelihoods, averaged over them, is a test martingale, so that under the null hypothesis it ever
reaches 1/alpha with probability at most alpha (Ville's inequality), however often it is looked at, however w rises, and
whatever makes both arms fail at once. The state is two counts per share of the traffic.

**Whom the counts must be of.** The proof needs that where each counted caller was sent is still open when it is
counted. Callers are sticky, and who has the canary at 1 % has it at 5 % as well. So a caller is counted once per stage
until it has been counted for the canary, and after that never again: a caller of the control may have moved, with
less than probability w; one of the canary cannot have. Counting the canary's callers anew in every stage would let a
single caller who always fails roll a good version back.

**A rate.** For disagreement on copied requests there are no arms: the same ratio with q0 = the rate that is put up with
is a test martingale while the rate is at most that.

Sources: Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022; Lindon, Sanden and
Shirikian, "Rapid Regression Detection in Software Deployments through Sequential Testing", KDD 2022; the mixture over
fixed alternatives is Robbins' (1970). Bounds on rates are in `headrace.rollouts.bounds`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ODDS = (1.5, 2.0, 10.0, 20.0, 50.0, 300.0)
"""Alternatives: how many times worse the canary might be, relative to what is put up with."""
ODDS_WEIGHTS = (0.04, 0.34, 0.20, 0.14, 0.11, 0.17)
"""What each alternative is given of the whole; docs/decisions/0022 says how they were chosen."""
FIRST_WEIGHT = 0.5
"""Of the beginnings of a regression, what the first has: most bad versions are bad from the start."""
SHARE_UNIT = 10_000
"""Shares are in basis points, as traffic is."""
_SPLIT_BELIEF = 1_000.0
"""How many callers' worth of belief the alternative puts near the declared share."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Bad events while the canary had `share` basis points of the traffic: the canary's own, and the control's."""

    share: int
    canary: int
    control: int


def log_evidence(
    tallies: Iterable[Bad],
    *,
    odds_allowed: float = 1.0,
    odds: Sequence[float] = ODDS,
    weights: Sequence[float] = ODDS_WEIGHTS,
) -> float:
    """The natural logarithm of the evidence E; roll back where E ≥ 1/alpha.

    Args:
        tallies: counts by share; stages at share 0 or the whole say nothing, as there is nothing to compare.
        odds_allowed: θ0, at least 1: how many times worse the canary may be.
        odds: the alternatives, as multiples of θ0.
        weights: of the alternatives; they add up to 1.

    Raises:
        ValueError: odds below 1, or counts below 0.
    """
    rows = list(tallies)
    return log_evidence_since(rows, odds_allowed=odds_allowed, odds=odds, weights=weights)[0] if rows else 0.0


def log_evidence_since(
    tallies: Sequence[Bad],
    *,
    odds_allowed: float = 1.0,
    odds: Sequence[float] = ODDS,
    weights: Sequence[float] = ODDS_WEIGHTS,
) -> list[float]:
    """For each row the evidence of it and all later ones: what was good before must not hide what is bad now.

    Each is a test martingale by itself, which is 1 until its row begins. Arguments as for `log_evidence`.

    Raises:
        ValueError: odds below 1, or counts below 0.
    """
    if odds_allowed < 1.0:
        raise ValueError("odds_allowed must be at least 1: a version need not be better than the one beside it")
    sums = [0.0] * len(odds)
    found = []
    for row in reversed(tallies):
        if min(row.canary, row.control) < 0:
            raise ValueError("counts cannot be below 0")
        if 0 < row.share < SHARE_UNIT:
            steps = _steps(row.share / SHARE_UNIT, odds_allowed, tuple(odds))
            sums = [sum_ + row.canary * up + row.control * down for sum_, (up, down) in zip(sums, steps, strict=True)]
        found.append(log_mixture(sums, weights))
    return found[::-1]


def log_rate_evidence(bad: int, good: int, *, rate_max: float) -> float:
    """The natural logarithm of the evidence that a rate is above `rate_max`.

    A test martingale while each event is bad with probability at most `rate_max`, whatever came before it.

    Raises:
        ValueError: the rate is not between 0 and 1, or counts are below 0.
    """
    if not 0.0 < rate_max <= 1.0 or min(bad, good) < 0:
        raise ValueError("a rate is above 0 and at most 1, and counts are not below 0")
    if rate_max == 1.0:
        return 0.0
    steps = _steps(rate_max, 1.0, ODDS)
    return log_mixture([bad * up + good * down for up, down in steps], ODDS_WEIGHTS)


def beginnings(planned: int) -> tuple[float, ...]:
    """Weights of the stages in which a regression may begin, fixed before the first; they add up to at most 1.

    Args:
        planned: stages in which both arms have traffic; one that is not planned gets no beginning of its own.
    """
    if planned <= 1:
        return (1.0,) * max(0, planned)
    return (FIRST_WEIGHT, *[(1.0 - FIRST_WEIGHT) / (planned - 1)] * (planned - 1))


def log_split(observed: Mapping[int, tuple[int, int]]) -> float:
    """Evidence that callers are not divided as they should be: sample-ratio mismatch, as a natural logarithm.

    A Beta mixture around the declared share stands against it (Lindon and Malek 2022, section 4), so that it, too, may
    be looked at at any time.

    Args:
        observed: by the share of the canary, in basis points, the distinct callers of both. Several shares only where
            their callers were drawn independently, which those of a rollout's stages are not.
    """
    total = 0.0
    for share, (canary, control) in observed.items():
        if not 0 < share < SHARE_UNIT or not canary + control:
            continue
        p = share / SHARE_UNIT
        a, b = _SPLIT_BELIEF * p, _SPLIT_BELIEF * (1.0 - p)
        total += log_beta(a + canary, b + control) - log_beta(a, b)
        total -= canary * math.log(p) + control * math.log1p(-p)
    return total


def log_mixture(logs: Sequence[float], weights: Sequence[float]) -> float:
    """The logarithm of the weighted sum of exponentials, whatever their size."""
    highest = max(logs)
    return highest + math.log(sum(weight * math.exp(log - highest) for log, weight in zip(logs, weights, strict=True)))


def log_mean_exp(logs: Sequence[float]) -> float:
    """The logarithm of the mean of exponentials: the average of e-processes is one."""
    return log_mixture(logs, [1.0 / len(logs)] * len(logs))


def log_beta(a: float, b: float) -> float:
    """The logarithm of Euler's beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@functools.lru_cache(maxsize=1_024)
def _steps(share: float, odds_allowed: float, odds: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """By alternative, what one bad event of the canary, and one of the control, adds to the logarithm."""
    null = _attributed(share, odds_allowed)
    found = []
    for theta in odds:
        alternative = _attributed(share, odds_allowed * theta)
        found.append((math.log(alternative / null), math.log1p(-alternative) - math.log1p(-null)))
    return tuple(found)


def _attributed(share: float, odds: float) -> float:
    """How probable it is that a bad event is the canary's when it is `odds` times as bad."""
    return odds * share / (odds * share + 1.0 - share)
