"""The fake health store and the DynamoDB table keep the same contract, and `Health` works over both."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from headrace.background import Immediately
from headrace.errors import CircuitOpen, StoreUnavailable
from headrace.fakes.health import FakeHealthStore
from headrace.health import Health, HealthStore
from headrace.health.counts import Counts
from headrace.health.store import AS_NEW, Circuit, Shed, State
from headrace_aws.health_table import HealthTable
from headrace_aws.state_table import StateTable
from tests.contract.conftest import PatientCalls, make_state_table

NOW = 1_800_000_000
TARGET = "detect/v1"


@dataclass
class Clock:
    """Wall time that a test moves."""

    now: float = float(NOW)

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


@pytest.fixture(params=["fake", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Iterator[HealthStore]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeHealthStore()
        return
    request.getfixturevalue("aws")
    make_state_table()
    yield HealthTable(StateTable("state", calls=PatientCalls()))


def make(store: HealthStore, clock: Callable[[], float], seed: int = 0) -> Health:
    """One process of the fleet."""
    chance = random.Random(seed).random  # noqa: S311 - reproducible
    return Health(store=store, background=Immediately(), wall=clock, uniform=chance)


def test_counts_add_up(store: HealthStore) -> None:
    """What processes add to one second is summed, negative numbers too; targets and tiers are kept apart."""
    store.add("detect", NOW, {TARGET: Counts(started=3, good=1), "#2": Counts(arrived=4)})
    store.add("detect", NOW, {TARGET: Counts(started=-1, good_ms=70), "detect/v2": Counts(bad=1)})
    store.add("detect", NOW + 1, {TARGET: Counts(saturated=1)})
    store.add("other", NOW, {"other/v1": Counts(bad=9)})
    buckets, state = store.read("detect", since=NOW)
    assert buckets == {
        NOW: {
            TARGET: Counts(started=2, good=1, good_ms=70),
            "#2": Counts(arrived=4),
            "detect/v2": Counts(bad=1),
        },
        NOW + 1: {TARGET: Counts(saturated=1)},
    }
    assert state == AS_NEW


def test_only_the_window_is_read(store: HealthStore) -> None:
    """Seconds before the first one asked for are left out; the state always comes along."""
    for second in (NOW - 10, NOW - 1, NOW):
        store.add("detect", second, {TARGET: Counts(started=1)})
    store.change("detect", State(1, shed=Shed(second=NOW)))
    buckets, state = store.read("detect", since=NOW - 1)
    assert sorted(buckets) == [NOW - 1, NOW]
    assert state.version == 1


def test_the_state_changes_by_compare_and_set(store: HealthStore) -> None:
    """Of two changes of one version the first stands, and the second is told what stands."""
    circuit = Circuit(open_until=NOW + 5.25, trips=2, probe_until=1.5, probe="a", ramp_at=0.5)
    first = State(1, MappingProxyType({TARGET: circuit}), Shed(1, 0.35, 2, NOW, NOW - 3))
    assert store.change("detect", first) == (True, first)
    assert store.change("detect", State(1)) == (False, first)
    assert store.change("detect", State(3)) == (False, first)
    assert store.read("detect", since=NOW)[1] == first
    assert store.change("detect", State(2)) == (True, State(2))
    assert store.change("other", State(2)) == (False, AS_NEW)


def test_a_fleet_agrees_over_either_store(store: HealthStore) -> None:
    """Failures of some processes open the circuit for another, one process probes, and its success lets all through."""
    clock = Clock()
    one, *others = (make(store, clock, seed) for seed in range(4))
    other = others[0]
    for process in (one, *others) * 3:
        with suppress(CircuitOpen):
            permit = process.enter(TARGET)
            clock.now += 0.25
            process.leave(permit, "bad", 0.25)
    clock.now += 1.0
    with pytest.raises(CircuitOpen):
        other.enter(TARGET)
    clock.now += other.retry_after_s(TARGET) + 0.01
    probe = other.enter(TARGET)
    assert probe.probe
    with pytest.raises(CircuitOpen):
        one.enter(TARGET)
    other.leave(probe, "good", 0.1)
    clock.now += 5.0
    assert not one.enter(TARGET).probe


@pytest.mark.usefixtures("aws")
def test_a_table_that_is_not_there_is_an_unavailable_store() -> None:
    """Every method says so in the core's words, and `Health` lets calls through."""
    table = HealthTable(StateTable("missing", calls=PatientCalls()))
    with pytest.raises(StoreUnavailable):
        table.add("detect", NOW, {TARGET: Counts(started=1)})
    with pytest.raises(StoreUnavailable):
        table.read("detect", since=NOW)
    with pytest.raises(StoreUnavailable):
        table.change("detect", State(1))
    health = make(table, Clock())
    health.check_tier("detect", tier=0, tier_max=2, slo_s=1.0)
    health.leave(health.enter(TARGET), "good", 0.1)
