"""Load that is drawn beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.endings import UNANSWERED, ending
from benchmarks.load.shots import Seen, Shot, poisson

REFUSAL = '{"error": "Too many requests for this model now.", "code": "overloaded"}'


def test_arrivals_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    """A run can be repeated, request by request."""
    first, again, other = (poisson(50, seconds=10, random=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@given(st.floats(min_value=0.1, max_value=200), st.floats(min_value=0.1, max_value=20), st.integers(0, 2**32))
def test_arrivals_are_in_order_and_within_their_time(rate: float, seconds: float, seed: int) -> None:
    """Nothing is due before the beginning or at the end."""
    times = poisson(rate, seconds=seconds, random=np.random.default_rng(seed))
    assert times == sorted(times)
    assert all(0 < at_s < seconds for at_s in times)


def test_arrivals_come_at_their_rate_and_as_unevenly_as_chance() -> None:
    """A Poisson process: mean and variance of the counts per second are both the rate."""
    times = poisson(20, seconds=5000, random=np.random.default_rng(7))
    counts = np.histogram(times, bins=5000, range=(0, 5000))[0]
    assert counts.mean() == pytest.approx(20, rel=0.02)
    assert counts.var() == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (0, "", UNANSWERED),
        (503, REFUSAL, "503 overloaded"),
        (503, '{"error": {"code": "temporarily_unavailable"}}', "503 temporarily_unavailable"),
        (502, "<html>", "502"),
        (429, '{"message": "x"}', "429"),
        (429, "[]", "429"),
    ],
)
def test_an_ending_is_a_status_and_the_stable_code(status: int, body: str, expected: str) -> None:
    """Whatever a gateway says instead of our refusal, it is counted and not an error."""
    assert ending(Seen(Shot(0.0), 0.0, 0.1, status, {}, body)) == expected
