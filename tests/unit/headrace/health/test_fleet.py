"""What a fleet does together, on virtual time: outages, hangs, bursts and overload."""

import random

import pytest

from headrace.fakes.health import FakeHealthStore
from tests.unit.headrace.health.fleet import Answer, Fleet, Queueing

OUTAGE = (20, 60)


def outage(latency_s: float, began: float = 1_000_000_000.0) -> object:
    """Healthy, then failing after `latency_s`, then healthy."""

    def answer(now: float, chance: random.Random) -> Answer:
        if OUTAGE[0] <= now - began < OUTAGE[1]:
            return latency_s, "bad"
        return chance.uniform(0.1, 0.3), "good"

    return answer


@pytest.mark.parametrize(("latency_s", "wasted_max"), [(0.2, 225), (5.0, 616), (25.0, 609)])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_outage_wastes_few_calls_and_ends(latency_s: float, wasted_max: int, seed: int) -> None:
    """At 100 requests a second: fewer calls wasted than by the breakers known before, no false alarm, and recovery."""
    fleet = Fleet(outage(latency_s), seed=seed)  # type: ignore[arg-type]
    fleet.run(90, per_s=100)
    assert fleet.total(fleet.refused, 0, OUTAGE[0]) == 0
    assert fleet.total(fleet.sent, *OUTAGE) <= wasted_max
    assert fleet.total(fleet.refused, OUTAGE[1] + 25, 90) == 0
    assert fleet.reasons["shed"] == 0


def test_one_probe_at_a_time() -> None:
    """While it is down the fleet probes with one call at a time, unless the prober does not come back in its lease."""
    fleet = Fleet(outage(5.0))  # type: ignore[arg-type]
    fleet.run(90, per_s=100)
    assert len(fleet.probes) >= 2
    for (_, ended), (began, _) in zip(fleet.probes, fleet.probes[1:], strict=False):
        assert began >= ended


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("queue_s", [0.5, 3.0])
def test_a_burst_never_trips_a_healthy_endpoint(seed: int, queue_s: float) -> None:
    """Ten times the traffic, five times the capacity: much is refused or slow, and the circuit stays closed."""
    fleet = Fleet(Queueing(100.0, queue_s=queue_s), seed=seed, tiers=(0.6, 0.3, 0.1))
    fleet.run(40, per_s=lambda t: 500.0 if 10 <= t < 25 else 50.0)
    assert fleet.reasons["circuit"] == 0
    assert fleet.total(fleet.good, 15, 25) >= 0.9 * 10 * 100


@pytest.mark.parametrize("seed", range(2))
def test_a_slow_endpoint_does_not_trip(seed: int) -> None:
    """One that is asked for the first time and takes three times its SLO, with a heavy tail, is only slow."""

    def slow(_: float, chance: random.Random) -> Answer:
        return 2.0 + chance.expovariate(1.0), "good"

    fleet = Fleet(slow, seed=seed)
    fleet.run(30, per_s=40)
    assert fleet.reasons["circuit"] == 0


@pytest.mark.parametrize("seed", range(2))
def test_what_frozen_processes_do_not_write_trips_nothing(seed: int) -> None:
    """A fifth of the background tasks is lost in a burst that then falls off: calls seen to begin only are no hang."""
    fleet = Fleet(Queueing(1000.0), seed=seed, lost=0.2)
    fleet.run(60, per_s=lambda t: 400.0 if 10 <= t < 20 else 20.0)
    assert fleet.reasons["circuit"] == 0


def test_the_highest_tier_is_served_while_the_lowest_overloads() -> None:
    """Four times too much from the lowest tier: from five seconds on at least nine tenths of the highest succeed."""
    fleet = Fleet(Queueing(100.0), tiers=(0.9, 0.05, 0.05))
    fleet.run(10, per_s=50)
    fleet.run(5, per_s=400)
    before = fleet.by_tier.copy()
    fleet.run(40, per_s=400)
    ended = fleet.by_tier - before
    high = {how: number for (tier, how), number in ended.items() if tier == 2}
    assert high["good"] >= 0.9 * sum(high.values())
    assert fleet.total(fleet.good, 20, 55) >= 0.9 * 35 * 100
    fleet.run(80, per_s=50)
    assert fleet.total(fleet.refused, 105, 135) == 0


def test_retries_of_the_fleet_stay_within_the_budget() -> None:
    """In a brown-out where a quarter of the calls fails, a tenth of the requests is retried, and little more."""

    def often(_: float, chance: random.Random) -> Answer:
        return 0.2, "bad" if chance.random() < 0.25 else "good"

    fleet = Fleet(often, retry=True)
    fleet.run(60, per_s=100)
    assert fleet.reasons["circuit"] == 0
    assert 0.05 * fleet.requests <= fleet.retries <= 0.13 * fleet.requests


def test_without_the_store_each_process_has_its_own_rule() -> None:
    """The store is down: calls go on, a process that fails five times pauses, and tries of the store are few."""
    store = FakeHealthStore(down=True)
    fleet = Fleet(outage(0.2), store=store)  # type: ignore[arg-type]
    fleet.run(80, per_s=100)
    assert fleet.total(fleet.refused, 0, OUTAGE[0]) == 0
    assert fleet.total(fleet.refused, *OUTAGE) > 0.5 * 100 * (OUTAGE[1] - OUTAGE[0])
    assert fleet.total(fleet.refused, OUTAGE[1] + 3, 80) == 0
    assert sum(store.calls.values()) < fleet.processes * 20


def test_the_warm_path_is_cheap() -> None:
    """A healthy fleet reads once per process and second and writes twice at most; the agreed state is never written."""
    fleet = Fleet(outage(0.2))  # type: ignore[arg-type]
    fleet.run(19, per_s=200)
    calls = fleet.store.calls
    assert calls["change"] == 0
    assert calls["read"] <= 1.1 * 19 * fleet.processes
    assert calls["add"] + calls["read"] <= 1.5 * fleet.requests
