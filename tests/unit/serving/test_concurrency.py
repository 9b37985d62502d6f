"""The limit of what is under way: it follows round-trip times, keeps batches full, and low tiers leave room."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints.serving.app import _attributes
from endpoints.serving.concurrency import Limiter, bounds
from endpoints.serving.errors import BadInput
from endpoints.serving.lines import TIER_TOP

BATCH_ROWS = 16
BATCH_S = 0.1


def serve(limiter: Limiter, *, per_s: float, seconds: float, slow: float = 1.0) -> tuple[int, list[float], int]:
    """One worker on virtual time that takes whatever waits, up to a batch: rows served, their times, rows refused."""
    chance = random.Random(1)  # noqa: S311 - reproducible
    waiting: list[float] = []
    running: list[float] = []
    times: list[float] = []
    ends = refused = 0.0
    now, arrival = 0.0, 0.0
    while now < seconds:
        now = min(arrival, ends) if running else arrival
        if running and now == ends:
            for came in running:
                times.append(now - came)
                limiter.ended(1, now - came)
            running = []
        else:
            arrival = now + chance.expovariate(per_s)
            if limiter.admits(TIER_TOP, now=now):
                limiter.rows += 1
                waiting.append(now)
            else:
                refused += 1
        if not running and waiting:
            running, waiting = waiting[:BATCH_ROWS], waiting[BATCH_ROWS:]
            ends = now + BATCH_S * slow
    return len(times), times, int(refused)


def make(queue_rows_max: int = 2000) -> Limiter:
    """The limiter of a server with one worker."""
    low, high = bounds(batch_rows_max=BATCH_ROWS, workers=1, queue_rows_max=queue_rows_max)
    return Limiter(rows_min=low, rows_max=high)


def test_overload_lowers_waiting_and_not_throughput() -> None:
    """At ten times of capacity as much is served as a full queue would serve, in a fraction of the time."""
    peak = BATCH_ROWS / BATCH_S
    limiter = make()
    serve(limiter, per_s=0.5 * peak, seconds=60)
    served, times, refused = serve(limiter, per_s=10 * peak, seconds=60)
    assert served >= 0.99 * peak * 60 - BATCH_ROWS
    assert refused > 0
    unlimited, slow_times, _ = serve(Limiter(rows_min=2016, rows_max=2016), per_s=10 * peak, seconds=60)
    assert served >= 0.99 * unlimited
    assert sorted(times)[len(times) // 2] < 0.5 * sorted(slow_times)[len(slow_times) // 2]


def test_normal_load_meets_no_limit() -> None:
    """Up to nine tenths of capacity nothing is refused, and the limit stays where it began."""
    limiter = make(queue_rows_max=256)
    for share in (0.1, 0.9, 0.3, 0.9):
        _, _, refused = serve(limiter, per_s=share * BATCH_ROWS / BATCH_S, seconds=60)
        assert refused == 0
    assert limiter.limit == 256 + BATCH_ROWS


@given(
    events=st.lists(st.tuples(st.integers(0, TIER_TOP), st.floats(0, 100), st.floats(0, 3)), max_size=300),
    rows_min=st.integers(1, 100),
    rows_max=st.integers(1, 1000),
)
def test_the_limit_stays_within_its_bounds(
    events: list[tuple[int, float, float]], rows_min: int, rows_max: int
) -> None:
    """Whatever the times are: never below what batches need, never beyond the queue, and never below zero rows."""
    limiter = Limiter(rows_min=rows_min, rows_max=rows_max)
    now = 0.0
    under_way = 0
    for tier, seconds, pause_s in events:
        now += pause_s
        if limiter.admits(tier, now=now):
            limiter.rows += 1
            under_way += 1
        elif under_way:
            limiter.ended(1, seconds)
            under_way -= 1
        assert rows_min <= limiter.limit <= max(rows_min, rows_max)
        assert limiter.rows == under_way
        assert under_way <= limiter.limit + 1


def test_low_tiers_leave_room_while_a_higher_one_is_there() -> None:
    """Alone, or a second after the last request of a higher one, a tier may use everything; else its share."""
    limiter = Limiter(rows_min=100, rows_max=100)
    limiter.rows = 80
    assert limiter.admits(0, now=10.0)
    assert limiter.admits(2, now=10.5)
    assert not limiter.admits(0, now=11.0)
    assert limiter.admits(2, now=11.0)
    assert limiter.admits(0, now=12.1)
    limiter.rows = 70
    assert limiter.admits(1, now=20.0)
    assert limiter.admits(2, now=20.0)
    assert limiter.admits(1, now=20.0)
    assert not limiter.admits(0, now=20.0)
    limiter.rows = 100
    assert not limiter.admits(TIER_TOP, now=20.0)


@given(tiers=st.lists(st.integers(0, TIER_TOP), min_size=1, max_size=50), rows=st.integers(0, 120))
def test_a_higher_tier_is_never_refused_where_a_lower_one_is_taken(tiers: list[int], rows: int) -> None:
    """With the same rows under way, whoever has been seen."""
    limiter = Limiter(rows_min=100, rows_max=100)
    for tier in tiers:
        limiter.admits(tier, now=1.0)
    limiter.rows = rows
    taken = [limiter.admits(tier, now=1.5) for tier in range(TIER_TOP, -1, -1)]
    assert taken == sorted(taken, reverse=True)


def test_attributes_are_read_strictly() -> None:
    """Time left and tier, in any order and with spaces; absent means none and the highest; nonsense is refused."""
    assert _attributes(b"headrace-timeout-ms=1500, Headrace-Tier = 3,trace=abc") == (1.5, 3)
    assert _attributes(b"other=1") == (None, TIER_TOP)
    for wrong in (b"", b"10", b"-1", b"x", b"1.0", b"\xb2"):
        with pytest.raises(BadInput, match="headrace-tier"):
            _attributes(b"headrace-tier=" + wrong)
    with pytest.raises(BadInput, match="headrace-timeout-ms"):
        _attributes(b"headrace-timeout-ms=soon")


def test_the_lowest_tier_takes_no_room_from_others() -> None:
    """However many rows of batches are under way, callers are let in as if there were none; batches are not."""
    limiter = make(queue_rows_max=100)
    limiter.began(10_000, 0)
    assert limiter.admits(1, now=0.0)
    assert limiter.admits(TIER_TOP, now=0.0)
    assert not limiter.admits(0, now=0.0)
    limiter.ended(10_000, 5.0, 0)
    assert limiter.admits(0, now=10.0)
    assert limiter.rows == limiter.background_rows == 0
