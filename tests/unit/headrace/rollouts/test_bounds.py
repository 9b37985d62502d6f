"""Bounds on rates that hold at all times, and the requests that they take."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.rollouts.bounds import log_against, lower_bound, more_needed, requests_needed, upper_bound

COUNTS = st.integers(0, 100_000)

PUBLISHED = {
    0.05: (118, 179, 271),
    0.02: (322, 481, 712),
    0.01: (684, 1_007, 1_478),
    0.005: (1_449, 2_122, 3_041),
}
"""By objective, requests needed with 0, 1 and 3 failures at 95 %: found by an earlier search on a grid."""


@pytest.mark.parametrize("limit", PUBLISHED)
def test_the_requests_needed_are_the_published_ones_or_a_little_fewer(limit: float) -> None:
    """The exact inversion needs up to two per cent fewer than a search on a grid did."""
    for failures, published in zip((0, 1, 3), PUBLISHED[limit], strict=True):
        needed = failures + more_needed(failures, 0, limit=limit, alpha=0.05)
        assert 0.97 * published <= needed <= published
        assert upper_bound(failures, needed - failures, alpha=0.05) < limit
        assert upper_bound(failures, needed - failures - 1, alpha=0.05) >= limit


@given(COUNTS, COUNTS, st.sampled_from([0.001, 0.05, 0.5]))
def test_bounds_lie_on_both_sides_of_what_was_seen(bad: int, good: int, alpha: float) -> None:
    """And between 0 and 1."""
    low, high = lower_bound(bad, good, alpha=alpha), upper_bound(bad, good, alpha=alpha)
    assert 0.0 <= low <= high <= 1.0
    if bad + good:
        assert low <= bad / (bad + good) <= high


@given(COUNTS, st.integers(1, 100_000), st.sampled_from([0.001, 0.05]))
def test_the_bound_is_where_the_martingale_says_so(bad: int, good: int, alpha: float) -> None:
    """Just above it is excluded, just below it is not."""
    bound = upper_bound(bad, good, alpha=alpha)
    for rate, excluded in ((bound * (1 + 1e-6), True), (bound * (1 - 1e-6), False)):
        if bad / (bad + good) < rate < 1.0:
            assert (log_against(rate, bad, good) >= -math.log(alpha)) is excluded


@given(st.floats(0.05, 0.95), st.integers(1, 12))
def test_the_martingale_is_one_in_expectation(rate: float, events: int) -> None:
    """Over all outcomes of some events at the true rate."""
    expected = sum(
        math.comb(events, bad)
        * rate**bad
        * (1 - rate) ** (events - bad)
        * math.exp(log_against(rate, bad, events - bad))
        for bad in range(events + 1)
    )
    assert expected == pytest.approx(1.0)


def test_nothing_seen_bounds_nothing_and_huge_counts_are_bounded_closely() -> None:
    """From none to a thousand million."""
    assert upper_bound(0, 0, alpha=0.05) == upper_bound(10**9, 0, alpha=0.05) == 1.0
    assert lower_bound(0, 0, alpha=0.05) == lower_bound(0, 10**9, alpha=0.05) == 0.0
    assert upper_bound(10**6, 10**9 - 10**6, alpha=0.05) == pytest.approx(0.001, rel=0.01)
    assert 0.0 < upper_bound(0, 10**9, alpha=0.05) < 1e-7


@given(st.integers(0, 1_000), st.integers(0, 10_000), st.sampled_from([0.001, 0.02, 0.3]))
def test_so_many_more_are_enough_and_one_less_is_not(bad: int, good: int, limit: float) -> None:
    """Whatever has been seen so far."""
    more = more_needed(bad, good, limit=limit, alpha=0.05)
    assert upper_bound(bad, good + more, alpha=0.05) < limit
    assert not more or upper_bound(bad, good + more - 1, alpha=0.05) >= limit


def test_a_rate_that_comes_near_the_limit_takes_ever_more_and_beyond_it_never_ends() -> None:
    """What an operator is told before a rollout."""
    needed = [requests_needed(0.02, alpha=0.05, rate=rate) for rate in (0.0, 0.005, 0.01, 0.019)]
    assert needed[0] == more_needed(0, 0, limit=0.02, alpha=0.05)
    assert None not in needed
    assert sorted(needed, key=lambda count: count or 0) == needed
    assert requests_needed(0.02, alpha=0.05, rate=0.02) is None
    assert requests_needed(0.02, alpha=0.05, rate=0.0199999, most=1_000) is None


def test_what_makes_no_sense_is_refused() -> None:
    """Counts below nothing, certainty, limits that no bound can come below."""
    for counts in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="below 0"):
            upper_bound(*counts, alpha=0.05)
    for alpha in (0.0, 1.0):
        with pytest.raises(ValueError, match="alpha"):
            upper_bound(0, 1, alpha=alpha)
        with pytest.raises(ValueError, match="alpha"):
            requests_needed(0.05, alpha=alpha)
    for limit in (0.0, 1.0):
        with pytest.raises(ValueError, match="limit"):
            more_needed(0, 0, limit=limit, alpha=0.05)
        with pytest.raises(ValueError, match="limit"):
            requests_needed(limit, alpha=0.05)
