"""The difference between two arms: intervals that hold however often they are looked at."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.rollouts.bounds import lower_bound, upper_bound
from headrace.rollouts.counted import Values
from headrace.rollouts.estimates import VALUES_MIN, excludes, interval

ARMS = st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)).map(lambda pair: (min(pair), max(pair)))


def values(numbers: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Values:
    """As processes count them."""
    return Values(len(numbers), float(numbers.sum()), float((numbers * numbers).sum()))


@settings(max_examples=30)
@given(ARMS, ARMS)
def test_conversions_lie_within_their_interval(control: tuple[int, int], treatment: tuple[int, int]) -> None:
    """And the interval within what is possible."""
    found = interval(control, treatment, 0.05)
    assert -1.0 <= found.low <= found.estimate <= found.high <= 1.0


@settings(max_examples=30)
@given(ARMS, ARMS)
def test_arms_that_change_places_change_the_sign(control: tuple[int, int], treatment: tuple[int, int]) -> None:
    """Neither arm is special."""
    one, other = interval(control, treatment, 0.05), interval(treatment, control, 0.05)
    assert one.low == pytest.approx(-other.high, abs=1e-7)
    assert one.high == pytest.approx(-other.low, abs=1e-7)


@pytest.mark.parametrize("trials", [100, 1_000, 100_000])
@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.02, 0.1), (0.5, 0.6)])
def test_one_interval_is_narrower_than_two_put_together(trials: int, rates: tuple[float, float]) -> None:
    """Half of alpha for each arm's own bounds is the plain way; arms are of a size here."""
    control, treatment = [(round(rate * trials), trials) for rate in rates]
    found = interval(control, treatment, 0.05)
    widths = [
        upper_bound(bad, all_ - bad, alpha=0.025) - lower_bound(bad, all_ - bad, alpha=0.025)
        for bad, all_ in (control, treatment)
    ]
    assert found.high - found.low < 0.97 * sum(widths)


@settings(max_examples=30)
@given(ARMS, ARMS, st.floats(-0.99, 0.99))
def test_what_is_excluded_lies_outside(control: tuple[int, int], treatment: tuple[int, int], difference: float) -> None:
    """Asked about one difference, or for all of them."""
    found = interval(control, treatment, 0.05)
    if excludes(control, treatment, difference, alpha=0.05):
        assert not found.low + 1e-6 < difference < found.high - 1e-6
    else:
        assert found.low - 1e-6 <= difference <= found.high + 1e-6


def test_nothing_says_nothing_and_much_says_much() -> None:
    """From no trials to a thousand million."""
    nothing = interval((0, 0), (0, 0))
    assert (nothing.low, nothing.estimate, nothing.high) == (-1.0, 0.0, 1.0)
    much = interval((50_000_000, 10**9), (60_000_000, 10**9))
    assert 0.0099 < much.low < much.estimate < much.high < 0.0101
    all_ = interval((0, 10_000), (10_000, 10_000))
    assert 0.99 < all_.low < all_.high == 1.0


@pytest.mark.parametrize(("control", "treatment"), [(0.05, 0.05), (0.3, 0.35)])
def test_the_true_difference_of_conversions_is_hardly_ever_left_out(control: float, treatment: float) -> None:
    """Forty runs, each looked at twenty-five times; at alpha = 5 % fewer than one in ten misses it."""
    missed = 0
    for run in range(40):
        chance = np.random.default_rng([5, run])
        sums = [np.cumsum(chance.random(5_000) < rate) for rate in (control, treatment)]
        looks = np.geomspace(5, 5_000, 25).astype(int)
        missed += any(
            excludes((int(sums[0][n - 1]), int(n)), (int(sums[1][n - 1]), int(n)), treatment - control, alpha=0.05)
            for n in looks
        )
    assert missed <= 4


def test_the_true_difference_of_means_is_hardly_ever_left_out() -> None:
    """Two hundred runs of most values 0 and a few large, looked at at fifty moments: one in ten at most at 5 %."""
    missed = 0
    for run in range(200):
        chance = np.random.default_rng([6, run])
        arms = [(chance.random(5_000) < 0.2) * chance.lognormal(3.0, 1.0, 5_000) for _ in range(2)]
        found = [interval(values(arms[0][:n]), values(arms[1][:n])) for n in range(100, 5_001, 100)]
        missed += any(not one.low <= 0.0 <= one.high for one in found)
    assert missed <= 20


def test_a_difference_of_means_is_found() -> None:
    """Of a third of the spread, with a thousand callers in each arm; half of it shows nothing with fifty."""
    chance = np.random.default_rng(7)
    arms = [values(chance.normal(mean, 3.0, 1_000)) for mean in (5.0, 6.0)]
    assert interval(arms[0], arms[1]).low > 0.0
    assert interval(Values(VALUES_MIN - 1, 5.0, 9.0), arms[1]).low == -math.inf


@given(st.floats(0.001, 1_000.0), st.floats(-1_000.0, 1_000.0))
def test_the_unit_of_values_does_not_matter(factor: float, shift: float) -> None:
    """Cents or dollars, above 0 or around it."""
    chance = np.random.default_rng(8)
    raw = [chance.normal(mean, 1.0, 500) for mean in (0.0, 0.1)]
    plain = interval(values(raw[0]), values(raw[1]))
    moved = [values(numbers * factor + shift * factor) for numbers in raw]
    scaled = interval(moved[0], moved[1])
    assert scaled.high - scaled.low == pytest.approx(factor * (plain.high - plain.low), rel=1e-3)


def test_margins_shrink_with_callers_and_grow_with_confidence() -> None:
    """At four times the callers a little more than half as wide."""
    few, many = (interval(Values(n, 0.0, float(n)), Values(n, 0.0, float(n))) for n in (1_000, 4_000))
    assert few.high / 2.2 < many.high < few.high / 1.7
    assert interval(Values(1_000, 0.0, 1_000.0), Values(1_000, 0.0, 1_000.0), 0.01).high > few.high


def test_what_makes_no_sense_is_refused() -> None:
    """More successes than trials, certainty, one arm of each kind."""
    for arms in (((2, 1), (0, 1)), ((0, 1), (-1, 1))):
        with pytest.raises(ValueError, match="successes"):
            interval(*arms)
    with pytest.raises(ValueError, match="alpha"):
        interval((0, 1), (0, 1), 0.0)
    with pytest.raises(ValueError, match="both arms"):
        interval((0, 1), Values(100, 1.0, 1.0))
    with pytest.raises(ValueError, match="below 0"):
        interval(Values(-1), Values(1))
    with pytest.raises(ValueError, match="1 at most"):
        excludes((0, 1), (0, 1), 1.5, alpha=0.05)
