"""The pace of a batch, decision by decision and on a simulated endpoint that callers use as well."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.scoring.pace import BESIDE_SHARE, CALM_S, IN_FLIGHT_MAX, Bounds, Pace, begun

BOUNDS = Bounds(items_max=32, objective_s=0.5, peers=1)


class Endpoint:
    """One worker, first come first served: a request takes 2 ms and 0.4 ms for each item."""

    def __init__(self) -> None:
        self.free_at = 0.0

    def take(self, now: float, items: int) -> float:
        """When a request that comes now is answered."""
        begin = max(now, self.free_at)
        self.free_at = begin + 0.002 + 0.0004 * items
        return self.free_at


class Day:
    """A minute and a half of a batch; callers come in its middle third. `paced` is whether the batch looks at them."""

    def __init__(self, *, seed: int, batch: bool, paced: bool = True, callers_per_s: float = 20.0) -> None:
        self.random = Random(seed)  # noqa: S311 - the same day for the same seed
        self.endpoint = Endpoint()
        self.pace = begun(BOUNDS)
        self.in_flight = 0
        self.done: list[tuple[float, int]] = []
        self.waits: list[float] = []
        self.came: list[float] = []
        self.callers_per_s = callers_per_s
        self._run(batch=batch, paced=paced)

    def _run(self, *, batch: bool, paced: bool) -> None:
        events: list[tuple[float, int, str, tuple[float, int]]] = [(30.0, 0, "caller", (0.0, 0))]
        looks = [(second / 1.0, 1, "look", (0.0, 0)) for second in range(90)]
        events += looks if batch else []
        events.sort()
        while events:
            now, _, kind, (since, items) = heappop(events)
            if now >= 90.0:
                return
            if kind == "caller" and now < 60.0:
                self.came.append(now)
                self.waits.append(self.endpoint.take(now, 1) - now)
                heappush(events, (now + self.random.expovariate(self.callers_per_s), 0, "caller", (0.0, 0)))
            elif kind == "look" and paced:
                lately = sum(now - 3.0 <= at <= now - 1.0 for at in self.came[-200:])  # counts come a second late
                self.pace = self.pace.looked(callers_per_s=lately / 3.0, admitted=1.0, now=now)
            elif kind == "answer":
                self.pace = self.pace.answered(now - since, items=items, in_flight=self.in_flight, now=now)
                self.in_flight -= 1
                self.done.append((now, items))
            if batch:
                while self.pace.room(self.in_flight, now=now):
                    size = self.pace.items_at(now)
                    self.in_flight += 1
                    heappush(events, (self.endpoint.take(now, size), 2, "answer", (now, size)))
                if self.pace.next_at > now and not self.in_flight:
                    heappush(events, (self.pace.next_at, 3, "wake", (0.0, 0)))

    def items_per_s(self, start: float, end: float) -> float:
        """Throughput of the batch."""
        return sum(items for at, items in self.done if start <= at < end) / (end - start)

    @property
    def p99_s(self) -> float:
        """Of callers, once the batch can know of them."""
        settled = sorted(wait for at, wait in zip(self.came, self.waits, strict=True) if at >= 33.0)
        return settled[int(len(settled) * 0.99)]


@pytest.mark.parametrize("seed", range(5))
def test_callers_hardly_notice_a_batch_and_it_recovers(seed: int) -> None:
    """The batch fills an idle endpoint, steps back for callers, and is as fast as before when they are gone."""
    alone, beside = Day(seed=seed, batch=False), Day(seed=seed, batch=True)
    rude = Day(seed=seed, batch=True, paced=False)
    most = 32 / (0.002 + 0.0004 * 32)
    assert beside.items_per_s(5, 30) > 0.95 * most
    assert beside.items_per_s(65, 85) > 0.95 * beside.items_per_s(5, 30)
    assert beside.items_per_s(35, 60) > 0
    # A request of the batch takes a hundredth of the objective: no caller waits longer than for one of them.
    assert beside.p99_s <= alone.p99_s + BESIDE_SHARE * BOUNDS.objective_s + 1e-6
    assert rude.p99_s > 2 * beside.p99_s


def test_an_idle_endpoint_is_kept_busy_with_little_queueing() -> None:
    """The limit settles where one request is worked on and a few wait."""
    day = Day(seed=1, batch=True, callers_per_s=0.001)
    assert 2 <= day.pace.limit <= 6
    assert day.pace.items == BOUNDS.items_max


def test_a_caller_shrinks_the_batch_to_one_small_request() -> None:
    """Beside callers there is one request in flight, as small as a hundredth of the objective, and rests between."""
    pace = replace(begun(BOUNDS), limit=8.0, items=32, item_s=0.001)
    pace = pace.looked(callers_per_s=1.0, admitted=1.0, now=10.0)
    assert pace.items_at(10.0) == 5
    assert pace.room(0, now=10.0) == 1
    assert pace.room(1, now=10.0) == 0
    pace = pace.answered(0.005, items=5, in_flight=1, now=10.1)
    assert pace.room(0, now=10.1) == 0
    assert pace.room(0, now=10.1 + 0.006) == 1
    assert pace.room(0, now=10.0 + CALM_S) > 1


def test_many_scorers_rest_longer() -> None:
    """Together the scorers of a batch keep an endpoint that has callers busy for half of the time."""
    pace = replace(begun(replace(BOUNDS, peers=8)), items=32).looked(callers_per_s=1.0, admitted=1.0, now=0.0)
    pace = pace.answered(0.01, items=1, in_flight=1, now=0.1)
    assert pace.next_at == pytest.approx(0.1 + 0.15)


def test_a_request_that_takes_half_of_the_objective_is_too_much() -> None:
    """First fewer requests are in flight, then each asks for less."""
    pace = replace(begun(BOUNDS), limit=2.0, items=32)
    pace = pace.answered(0.4, items=32, in_flight=2, now=0.0)
    assert (pace.limit, pace.items) == (pytest.approx(1.4), 32)
    pace = pace.answered(0.4, items=32, in_flight=1, now=1.0).answered(0.4, items=32, in_flight=1, now=2.0)
    assert (pace.limit, pace.items) == (1.0, 16)


def test_it_pauses_while_callers_are_turned_away_and_goes_on() -> None:
    """As long as the endpoint sheds, nothing is asked; then it goes on by itself."""
    pace = begun(BOUNDS).looked(callers_per_s=5.0, admitted=0.7, now=0.0)
    assert pace.paused(0.0)
    assert pace.room(0, now=0.0) == 0
    pace = pace.looked(callers_per_s=5.0, admitted=1.0, now=1.0)
    assert not pace.paused(1.0)
    assert pace.room(0, now=1.0) == 1


def test_a_refusal_pauses_for_as_long_as_it_says() -> None:
    """An open circuit, an overload or a used up budget holds everything until its time, and halves the limit."""
    pace = replace(begun(BOUNDS), limit=8.0).refused("circuit_open", retry_after_s=7.0, now=100.0)
    assert pace.room(0, now=106.9) == 0
    assert pace.again_at(now=100.0) == pytest.approx(107.0)
    assert pace.room(0, now=107.0) == 4
    assert pace.why == "circuit_open"


def test_a_lone_request_that_is_refused_for_want_of_time_is_too_large() -> None:
    """It is halved until the endpoint takes it; refusals of another kind say nothing of its size."""
    pace = replace(begun(BOUNDS), limit=2.0, items=8).refused("overloaded", retry_after_s=1.0, now=0.0)
    assert (pace.limit, pace.items) == (1.0, 8)
    assert pace.refused("circuit_open", retry_after_s=1.0, now=1.0).items == 8
    assert pace.refused("overloaded", retry_after_s=1.0, now=1.0).items == 4


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("answered"), st.floats(0.0, 5.0), st.integers(1, 32)),
            st.tuples(st.just("refused"), st.floats(0.0, 1e6), st.just(0)),
            st.tuples(st.just("looked"), st.floats(0.0, 100.0), st.integers(0, 1)),
        ),
        max_size=60,
    )
)
def test_whatever_happens_there_is_room_again(happened: list[tuple[str, float, int]]) -> None:
    """No history leaves a pace that never asks again, or that asks for more than its bounds."""
    pace: Pace = begun(BOUNDS)
    now = 0.0
    for kind, number, more in happened:
        now += 0.1
        if kind == "answered":
            pace = pace.answered(number, items=more, in_flight=1, now=now)
        elif kind == "refused":
            pace = pace.refused("overloaded", retry_after_s=number, now=now)
        else:
            pace = pace.looked(callers_per_s=number, admitted=float(more), now=now)
        assert 0 <= pace.room(0, now=now) <= IN_FLIGHT_MAX
        assert 1 <= pace.items_at(now) <= BOUNDS.items_max
        again = pace.again_at(now=now)
        assert pace.room(0, now=max(again, now)) >= 1
        assert pace.room(0, now=now + 1_000.0) >= 1
