"""The benchmark's arithmetic: what a few noisy figures are summed up as. Pure, and the part that has tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """The median with its range, as it is quoted: `3.1 (2.9-3.4)`."""
        low, middle, high = (f"{value:,.{digits}f}" for value in (self.low, self.median, self.high))
        return f"{middle} ({low}-{high})"


def spread(values: Sequence[float]) -> Spread:
    """Sum up measurements.

    Raises:
        ValueError: There are none.
    """
    if not values:
        raise ValueError("nothing was measured")
    return Spread(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank, no interpolation).

    Args:
        values: In any order.
        share: Between 0 and 1; 0.99 is the 99th percentile.

    Raises:
        ValueError: There are no values, or the share is outside 0 to 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("a percentile needs values, and a share from 0 to 1")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Our figure over theirs, round by round: neighbours in time share the machine's mood, so it cancels.

    Args:
        ours: One figure per round.
        theirs: The other program's figures in the same rounds.

    Raises:
        ValueError: The rounds differ in number, or one of theirs is not above 0.
    """
    if len(ours) != len(theirs) or any(value <= 0 for value in theirs):
        raise ValueError("ratios need as many rounds on both sides, and something to divide by")
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])
