"""The rate's arithmetic: whole microseconds, exact in every window."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from headrace.admission.gcra import KEY_WRITES_PER_S_MAX, US_PER_S, bucket, pay, shards
from headrace.plans import Rate

RATES = st.builds(Rate, per_s=st.floats(0.01, 20_000), burst=st.integers(1, 20_000))


@given(
    rate=st.builds(Rate, per_s=st.floats(0.5, 5_000), burst=st.integers(1, 40)),
    asks=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 60)), max_size=60),
)
def test_no_window_holds_more_than_burst_and_rate(rate: Rate, asks: list[tuple[int, int]]) -> None:
    """Between any two moments at most the burst and what the rate brings in that time is paid for."""
    one = bucket("acme", rate, 0)
    now_us, tat_us = US_PER_S, 0
    paid: list[tuple[int, int]] = []
    for gap_us, permits in asks:
        now_us += gap_us
        payment = pay(one, tat_us=tat_us, permits=permits, now_us=now_us)
        assert payment.tat_us >= tat_us
        tat_us = payment.tat_us
        paid.append((now_us, payment.permits))
    for first, (from_us, _) in enumerate(paid):
        total = 0
        for until_us, permits in paid[first:]:
            total += permits
            assert total <= one.burst + Fraction(until_us - from_us, one.interval_us)


@given(rate=RATES, used=st.integers(0, 50), later_us=st.integers(0, 10_000_000))
def test_a_refusal_says_exactly_when(rate: Rate, used: int, later_us: int) -> None:
    """At the moment that a refusal names there is a permit; one microsecond before there is none."""
    one = bucket("acme", rate, 0)
    tat_us = pay(one, tat_us=0, permits=one.burst, now_us=US_PER_S).tat_us + used * one.interval_us
    now_us = US_PER_S + later_us
    wait_us = one.retry_after_us(tat_us, now_us)
    assert pay(one, tat_us=tat_us, permits=1, now_us=now_us + wait_us).permits == 1
    if wait_us:
        assert not pay(one, tat_us=tat_us, permits=1, now_us=now_us + wait_us - 1).permits


@given(rate=RATES)
def test_shards_add_up_to_the_whole(rate: Rate) -> None:
    """All shards together have exactly the burst and at most the rate, each with at least one permit."""
    parts = [bucket("acme", rate, shard) for shard in range(shards(rate))]
    assert sum(part.burst for part in parts) == rate.burst
    assert min(part.burst for part in parts) >= 1
    assert sum(Fraction(US_PER_S, part.interval_us) for part in parts) <= Fraction(rate.per_s) * (
        1 + Fraction(1, 10**9)
    )


def test_a_rate_is_cut_where_one_key_would_be_written_too_often() -> None:
    """Up to 500 permits per second are one item; above, one more for each 500 begun."""
    assert [shards(Rate(per_s, 10_000)) for per_s in (1, KEY_WRITES_PER_S_MAX, 501, 5_000)] == [1, 1, 2, 10]
    assert shards(Rate(5_000, 3)) == 3
