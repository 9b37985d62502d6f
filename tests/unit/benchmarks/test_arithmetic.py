"""Medians, percentiles and ratios."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arithmetic import percentile, ratios, spread

VALUES = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=50)


def test_spread_is_median_and_range() -> None:
    """A spread quotes the middle value and the two ends, whatever the order of measuring."""
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)
    assert found.text(1) == "2.0 (1.0-3.0)"


def test_percentile_is_nearest_rank() -> None:
    """The 99th percentile of 100 values is the 99th smallest, and nothing is interpolated."""
    values = list(range(100, 0, -1))
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1) == 100
    assert percentile([7.0], 0.0) == 7.0


@given(VALUES, st.floats(min_value=0, max_value=1))
def test_percentile_covers_its_share(values: list[float], share: float) -> None:
    """A percentile is one of the values, and at least its share of them does not exceed it."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


@given(VALUES)
def test_a_thing_over_itself_is_one(values: list[float]) -> None:
    """Ratios are taken round by round: a machine that doubles its speed in between does not show."""
    found = ratios([2 * value for value in values], values)
    assert found.low == pytest.approx(2)
    assert found.high == pytest.approx(2)


def test_what_cannot_be_summed_up_is_refused() -> None:
    """Nothing measured, unequal rounds and division by nothing are errors, never figures."""
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        percentile([1.0], 1.5)
    with pytest.raises(ValueError, match="as many rounds"):
        ratios([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="something to divide by"):
        ratios([1.0], [0.0])
