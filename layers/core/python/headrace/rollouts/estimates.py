"""How large the difference between two arms is: an interval that may be looked at at any time.

**Conversions.** Each arm's mixture martingale against its rate (`headrace.rollouts.bounds`) is 1 in expectation at the
true rate; so is their product at the true pair of rates. With probability 1 - alpha the true pair therefore never
leaves {(p, q): M(p)·N(q) < 1/alpha}, and the difference never leaves the range of q - p over that set. It holds at any
size of the sample, and is narrower than two intervals at alpha/2 put together where the arms are of a size.

**Means of values.** The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52(6), 2024, thm. 2.2,
with the variance of the difference of two means in place of a mean's. Like every interval made of a variance it needs
values without extremes: it is honest from some number of callers on, not from the first.

Both take callers, or whatever was assigned, as independent draws, each counted once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from headrace.rollouts.bounds import log_against
from headrace.rollouts.counted import Values

VALUES_MIN = 100
"""Callers of each arm below which no interval of means is given: a variance of fewer says too little."""
TUNED_AT = 1_000
"""Callers of both arms together at which the interval of means is narrowest."""
_BISECTIONS = 40
_EDGE = 1e-12

Conversions = tuple[int, int]
"""Successes and trials."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The treatment's figure less the control's: the estimate, and what it lies between."""

    low: float
    estimate: float
    high: float


def interval(control: Values | Conversions, treatment: Values | Conversions, alpha: float = 0.05) -> Interval:
    """An interval which, with probability 1 - alpha, holds the true difference at all times together.

    Args:
        control: successes and trials; or, for means, `Values` of all that were assigned to the arm, zeros included.
        treatment: the same of the other arm.
        alpha: between 0 and 1.

    Returns:
        Infinite ends where nothing can be said of means yet; -1 to 1 for conversions without trials.

    Raises:
        ValueError: alpha is not between 0 and 1, counts are impossible, or the arms are of different kinds.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha is between 0 and 1")
    if isinstance(control, Values) and isinstance(treatment, Values):
        return _means(control, treatment, alpha)
    if isinstance(control, Values) or isinstance(treatment, Values):
        raise ValueError("both arms are counted as conversions, or both as values")  # noqa: TRY004 - a mixture of two good kinds
    return _conversions(control, treatment, alpha)


def excludes(control: Conversions, treatment: Conversions, difference: float, *, alpha: float) -> bool:
    """Whether the interval of conversions leaves this difference out.

    Raises:
        ValueError: alpha is not between 0 and 1, counts are impossible, or the difference is beyond ±1.
    """
    _check(control, treatment, alpha)
    if not -1.0 <= difference <= 1.0:
        raise ValueError("rates differ by 1 at most")
    return _least_against(control, treatment, difference) >= -math.log(alpha)


def _means(control: Values, treatment: Values, alpha: float) -> Interval:
    if min(control.count, treatment.count) < 0:
        raise ValueError("counts cannot be below 0")
    means = [arm.total / arm.count if arm.count else 0.0 for arm in (control, treatment)]
    estimate = means[1] - means[0]
    if min(control.count, treatment.count) < VALUES_MIN:
        return Interval(-math.inf, estimate, math.inf)
    # The variance of the difference, as that of a mean of as many values as there are callers.
    count = control.count + treatment.count
    variance = count * (_variance(control) / control.count + _variance(treatment) / treatment.count)
    margin = math.sqrt(variance) * _margin(count, alpha)
    return Interval(estimate - margin, estimate, estimate + margin)


def _margin(count: int, alpha: float) -> float:
    """Of a mean of `count` values with variance 1."""
    tuned = (-2.0 * math.log(alpha) + math.log(1.0 - 2.0 * math.log(alpha))) / TUNED_AT
    grown = count * tuned + 1.0
    return math.sqrt(grown / (count * count * tuned) * math.log(grown / (alpha * alpha)))


def _variance(arm: Values) -> float:
    mean = arm.total / arm.count
    # Never below 0: sums of squares lose digits where values are far from 0.
    return max(0.0, arm.squares / arm.count - mean * mean) * arm.count / (arm.count - 1)


def _conversions(control: Conversions, treatment: Conversions, alpha: float) -> Interval:
    _check(control, treatment, alpha)
    rates = [successes / trials if trials else 0.0 for successes, trials in (control, treatment)]
    estimate = rates[1] - rates[0]

    def excluded(difference: float) -> bool:
        return excludes(control, treatment, difference, alpha=alpha)

    return Interval(_end(estimate, -1.0, excluded), estimate, _end(estimate, 1.0, excluded))


def _end(inside: float, outside: float, excluded: Callable[[float], bool]) -> float:
    """Where the set of differences ends between one that is in it and the utmost one; the side of caution."""
    if not excluded(outside - math.copysign(_EDGE, outside)):
        return outside
    for _ in range(_BISECTIONS):
        middle = 0.5 * (inside + outside)
        inside, outside = (inside, middle) if excluded(middle) else (middle, outside)
    return outside


def _least_against(control: Conversions, treatment: Conversions, difference: float) -> float:
    """The least of ln M(p) + ln N(p + difference) over p: convex in p, so that its slope leads there."""
    low, high = max(0.0, -difference) + _EDGE, min(1.0, 1.0 - difference) - _EDGE
    if low >= high:
        low = high = 0.5 * (low + high)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        slope = _slope(control, middle) + _slope(treatment, middle + difference)
        low, high = (low, middle) if slope > 0.0 else (middle, high)
    p = 0.5 * (low + high)
    return _log_against(control, p) + _log_against(treatment, p + difference)


def _slope(arm: Conversions, rate: float) -> float:
    successes, trials = arm
    rate = min(1.0 - _EDGE, max(_EDGE, rate))
    return (trials - successes) / (1.0 - rate) - successes / rate


def _log_against(arm: Conversions, rate: float) -> float:
    successes, trials = arm
    return log_against(min(1.0 - _EDGE, max(_EDGE, rate)), successes, trials - successes)


def _check(control: Conversions, treatment: Conversions, alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha is between 0 and 1")
    for successes, trials in (control, treatment):
        if not 0 <= successes <= trials:
            raise ValueError("successes are between 0 and the trials")
