"""What can be said of a batch before it is over."""

from dataclasses import replace

import pytest

from headrace.batches.finishing.estimate import estimate
from headrace.batches.states import Counts
from headrace.catalog import Endpoint
from headrace.plans import Cost
from tests.unit.headrace.batches.world import batch_catalog


def priced(cost: Cost | None) -> Endpoint:
    """An endpoint of this price."""
    return replace(batch_catalog().endpoint("sentiment"), cost=cost)


def test_rate_and_end_follow_from_what_is_over() -> None:
    """A quarter in ten seconds: half a minute is left."""
    told = estimate(Counts(100, 20, 5), seconds=10.0, endpoint=priced(None))
    assert told.rate_per_s == pytest.approx(2.5)
    assert told.left_s == pytest.approx(30.0)
    assert told.document is None


def test_nothing_is_said_before_anything_is_known() -> None:
    """No record is over, or no time has passed."""
    for told in (
        estimate(Counts(100), seconds=10.0, endpoint=priced(Cost("gpu_ms", per_s=1000))),
        estimate(Counts(100, 5), seconds=0.0, endpoint=priced(Cost("gpu_ms", per_s=1000))),
    ):
        assert (told.rate_per_s, told.left_s, told.cost) == (None, None, None)


def test_the_cost_is_the_declared_price_of_the_whole() -> None:
    """By request, item and second, for all records."""
    cost = Cost("micro_usd", per_request=10, per_item=2, per_s=100)
    told = estimate(Counts(100, 50), seconds=10.0, endpoint=priced(cost), items_max=8)
    assert told.document == {"unit": "micro_usd", "estimate": 13 * 10 + 100 * 2 + 20 * 100}


def test_a_batch_that_is_over_has_no_time_left() -> None:
    """Its cost is that of the time it took."""
    told = estimate(Counts(10, 9, 1), seconds=4.0, endpoint=priced(Cost("gpu_ms", per_s=1000)))
    assert (told.left_s, told.cost) == (0.0, 4000)
