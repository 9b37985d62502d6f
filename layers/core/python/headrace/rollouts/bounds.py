"""Bounds on a rate that may be looked at after every request, and how many requests they take.

The Beta(½, ½) mixture martingale inverted (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", proposition 7): with probability 1 - alpha the rate never leaves

    {p : ln B(½ + bad, ½ + good) - ln B(½, ½) - bad·ln p - good·ln(1 - p) < ln 1/alpha}

so that a promotion may wait for it, however often it is looked at. It holds for events that are independent draws.
"""

from __future__ import annotations

import math

from headrace.rollouts.evidence import log_beta

_BISECTIONS = 48
"""To 4e-15, far below what counts can tell."""
_DOUBLINGS = 60
_LOG_BETA_HALF = math.log(math.pi)
"""ln B(½, ½)."""


def upper_bound(bad: int, good: int, *, alpha: float) -> float:
    """An upper bound on a rate that holds at all times together with probability 1 - alpha; 1 before anything good.

    Raises:
        ValueError: counts below 0, or an alpha that is not between 0 and 1.
    """
    _check(bad, good, alpha)
    if good == 0:
        return 1.0
    low, high = bad / (bad + good), 1.0
    # All that depends on the rate is put on one side: excluded is where it is no more than the other one.
    least = _log_marginal(bad, good) + math.log(alpha)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if middle <= low or middle >= high:
            break
        likelihood = (bad * math.log(middle) if bad else 0.0) + good * math.log1p(-middle)
        low, high = (low, middle) if likelihood <= least else (middle, high)
    return high


def lower_bound(bad: int, good: int, *, alpha: float) -> float:
    """A lower bound on a rate that holds at all times together with probability 1 - alpha.

    Raises:
        ValueError: counts below 0, or an alpha that is not between 0 and 1.
    """
    return 1.0 - upper_bound(good, bad, alpha=alpha)


def more_needed(bad: int, good: int, *, limit: float, alpha: float) -> int:
    """How many good events more it takes, with no bad one among them, until the upper bound is below `limit`.

    Raises:
        ValueError: counts below 0, or an alpha or a limit that is not between 0 and 1.
    """
    _check(bad, good, alpha)
    if not 0.0 < limit < 1.0:
        raise ValueError("a bound can only come below a limit between 0 and 1")

    def clears(more: int) -> bool:
        return _below(limit, bad, good + more, alpha)

    if clears(0):
        return 0
    high = 1
    for _ in range(_DOUBLINGS):
        if clears(high):
            break
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if clears(middle) else (middle, high)
    return high


def requests_needed(limit: float, *, alpha: float, rate: float = 0.0, most: int = 100_000_000) -> int | None:
    """Requests until the upper bound is below `limit` when the true rate is `rate`; None if that is not to be expected.

    What is told to an operator before a rollout: it is the count at which the expected number of bad ones leads to a
    bound below the limit, so that about half of the rollouts need fewer.

    Raises:
        ValueError: an alpha or a limit that is not between 0 and 1, or a rate below 0.
    """
    _check(0, 0, alpha)
    if not 0.0 < limit < 1.0 or rate < 0.0:
        raise ValueError("a limit is between 0 and 1, and a rate is not below 0")
    if rate >= limit or not _below(limit, most * rate, most * (1.0 - rate), alpha):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        clears = _below(limit, middle * rate, middle * (1.0 - rate), alpha)
        low, high = (low, middle) if clears else (middle, high)
    return high


def log_against(rate: float, bad: float, good: float) -> float:
    """The natural logarithm of the mixture martingale against this rate: it is 1 in expectation if the rate is true."""
    likelihood = (bad * math.log(rate) if bad else 0.0) + (good * math.log1p(-rate) if good else 0.0)
    return _log_marginal(bad, good) - likelihood


def _log_marginal(bad: float, good: float) -> float:
    return log_beta(0.5 + bad, 0.5 + good) - _LOG_BETA_HALF


def _below(limit: float, bad: float, good: float, alpha: float) -> bool:
    """Whether the upper bound is below the limit."""
    return bad < limit * (bad + good) and _excluded(limit, bad, good, alpha)


def _excluded(rate: float, bad: float, good: float, alpha: float) -> bool:
    return log_against(rate, bad, good) >= -math.log(alpha)


def _check(bad: int, good: int, alpha: float) -> None:
    if min(bad, good) < 0 or not 0.0 < alpha < 1.0:
        raise ValueError("counts are not below 0, and alpha is between 0 and 1")
