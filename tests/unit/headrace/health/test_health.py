"""One process's facade: permits, local rules, background tasks that get lost, bounds."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from headrace.background import Background, Immediately
from headrace.errors import CircuitOpen, Overloaded
from headrace.fakes.health import FakeHealthStore
from headrace.health import Health, HealthOptions
from headrace.health.counts import Counts, total
from headrace.health.store import Shed, State
from headrace.health.view import Verdict

TARGET = "detect/v1"
NOW = 1_000_000.0


@dataclass
class World:
    """A clock, a store, and processes over them."""

    now: float = NOW
    store: FakeHealthStore = field(default_factory=FakeHealthStore)
    options: HealthOptions = field(default_factory=HealthOptions)

    def health(self, background: Background | None = None, *, seed: int = 0) -> Health:
        """One process."""
        return Health(
            store=self.store,
            background=background or Immediately(),
            wall=lambda: self.now,
            uniform=random.Random(seed).random,  # noqa: S311 - reproducible
            options=self.options,
        )

    def counted(self) -> Counts:
        """What the store holds of the target."""
        buckets, _ = self.store.read("detect", since=0)
        return total(buckets, TARGET, buckets)


class Lost:
    """A background that takes tasks and never runs them, as a process frozen half-way does."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], None]] = []

    def submit(self, task: Callable[[], None]) -> bool:
        """See `Background.submit`."""
        self.tasks.append(task)
        return True


class Full:
    """A background that drops what it is given."""

    def submit(self, task: Callable[[], None]) -> bool:
        """See `Background.submit`."""
        del task
        return False


def test_a_call_is_counted_when_it_is_sent_and_when_it_ends_once() -> None:
    """The store knows of a call under way; leaving twice counts once."""
    world = World()
    health = world.health()
    permit = health.enter(TARGET)
    assert world.counted() == Counts(started=1)
    world.now += 0.2
    health.leave(permit, "good", 0.2)
    health.leave(permit, "bad", 0.2)
    assert world.counted() == Counts(started=1, good=1, good_ms=200, done=1)


@pytest.mark.parametrize("verdict", ["saturated", "ignored", "cancelled"])
def test_what_says_nothing_of_the_target_never_opens_its_circuit(verdict: Verdict) -> None:
    """Refusals, the callers' own errors and cancelled calls, however many, leave it closed."""
    world = World()
    health = world.health()
    for _ in range(100):
        world.now += 0.1
        health.leave(health.enter(TARGET), verdict, 0.05)
    health.enter(TARGET)


def test_five_failures_in_a_row_stop_this_process_for_two_seconds() -> None:
    """Others go on; after two seconds one call is let through, and its failure stops it again."""
    world = World()
    health, other = world.health(), world.health(seed=1)
    for _ in range(5):
        health.leave(health.enter(TARGET), "bad", 0.1)
    with pytest.raises(CircuitOpen):
        health.enter(TARGET)
    assert health.retry_after_s(TARGET) == pytest.approx(2.0)
    other.enter(TARGET)
    world.now += 2.0
    health.leave(health.enter(TARGET), "bad", 0.1)
    with pytest.raises(CircuitOpen):
        health.enter(TARGET)
    world.now += 2.0
    health.leave(health.enter(TARGET), "good", 0.1)
    health.leave(health.enter(TARGET), "bad", 0.1)
    health.enter(TARGET)


def test_a_lost_background_task_blocks_no_later_one() -> None:
    """A task that never ran is taken for lost after two seconds; one that was dropped is tried again at once."""
    world = World()
    lost = Lost()
    health = world.health(lost)
    health.leave(health.enter(TARGET), "good", 0.1)
    assert len(lost.tasks) == 1
    world.now += 2.1
    health.leave(health.enter(TARGET), "good", 0.1)
    assert len(lost.tasks) == 2
    lost.tasks[1]()
    lost.tasks[0]()
    assert world.counted().good == 2
    full = world.health(Full())
    for _ in range(3):
        full.leave(full.enter(TARGET), "good", 0.1)


def test_a_probe_that_dies_is_replaced_when_its_lease_ends() -> None:
    """Nobody probes meanwhile; a probe that was cancelled gives its turn back at once."""
    world = World()
    processes = [world.health(seed=seed) for seed in range(6)]
    for process in processes * 3:
        world.now += 0.25
        with suppress(CircuitOpen):
            process.leave(process.enter(TARGET), "bad", 0.1)
    assert processes[0].retry_after_s(TARGET) > 0.0
    world.now += processes[0].retry_after_s(TARGET)
    dead = processes[0].enter(TARGET)
    assert dead.probe
    world.now += 9.0
    with pytest.raises(CircuitOpen):
        processes[1].enter(TARGET)
    world.now += 1.0
    cancelled = processes[1].enter(TARGET)
    assert cancelled.probe
    processes[1].leave(cancelled, "cancelled", 0.1)
    processes[0].leave(dead, "good", 10.0)  # its lease is another's now: it decides nothing
    world.now += 1.0
    good = processes[2].enter(TARGET)
    assert good.probe
    processes[2].leave(good, "good", 0.1)
    world.now += 6.0
    assert not processes[3].enter(TARGET).probe


def test_retries_pay_from_tokens_and_from_the_fleets_share() -> None:
    """A quiet process may retry once, others of the fleet until three; the client's own retries use the share up."""
    world = World()
    processes = [world.health(seed=seed) for seed in range(5)]
    retried = []
    for process in processes:
        world.now += 1.1
        process.arrived(client_retry=False)
        process.enter(TARGET)
        retried.append(process.may_retry(TARGET))
    assert retried == [True, True, True, False, False]
    assert not processes[0].may_retry(TARGET)
    world = World()
    health = world.health()
    for _ in range(5):
        health.arrived(client_retry=True)
        health.leave(health.enter(TARGET), "good", 0.1)
    assert not health.may_retry(TARGET)


def test_hedges_have_a_share_of_their_own() -> None:
    """Of a hundred requests five may be hedged."""
    world = World()
    health = world.health()
    for _ in range(100):
        health.arrived(client_retry=False)
        health.leave(health.enter(TARGET), "good", 0.1)
    assert [health.may_hedge(TARGET) for _ in range(10)].count(True) == 5


def test_requests_are_admitted_by_the_fleets_level() -> None:
    """The lowest tier at its floor, the cut one by its fraction, the highest always; refusals say when to come back."""
    world = World()
    world.store.change("detect", State(1, shed=Shed(tier=1, fraction=0.5, second=int(NOW), cut_at=int(NOW))))
    health = world.health()
    admitted = [0, 0, 0]
    waits_s = []
    for tier in range(3):
        for _ in range(1000):
            try:
                health.check_tier("detect", tier=tier, tier_max=2, slo_s=1.0)
            except Overloaded as refusal:
                waits_s.append(refusal.retry_after_s)
            else:
                admitted[tier] += 1
    assert admitted[0] == pytest.approx(50, abs=25)
    assert admitted[1] == pytest.approx(500, abs=60)
    assert admitted[2] == 1000
    assert set(waits_s) == {2.0, 10.0}


def test_a_table_that_lost_its_state_begins_again() -> None:
    """A state with an old version is not believed, a new table is; changes go on."""
    world = World()
    health = world.health()
    world.store.change("detect", State(1, shed=Shed(fraction=0.5, second=int(NOW), cut_at=int(NOW))))
    health.check_tier("detect", tier=2, tier_max=2, slo_s=1.0)
    assert health.admitted_share("detect", 0) == 0.5
    world.store = FakeHealthStore()
    fresh = world.health()
    fresh.check_tier("detect", tier=0, tier_max=2, slo_s=1.0)
    assert fresh.admitted_share("detect", 0) == 1.0


def test_who_gives_way_hears_of_those_above() -> None:
    """Requests of higher tiers, counted by other processes, show without a request of its own; lower ones do not."""
    world = World()
    online, batch = world.health(), world.health()
    assert batch.arrivals_above("detect", 0, tier_max=2) == 0.0
    for _ in range(6):
        online.check_tier("detect", tier=2, tier_max=2, slo_s=1.0)
        online.check_tier("detect", tier=0, tier_max=2, slo_s=1.0)
        online.leave(online.enter(TARGET), "good", 0.1)
    world.now += 2.0
    online.leave(online.enter(TARGET), "good", 0.1)
    assert batch.arrivals_above("detect", 0, tier_max=2) == pytest.approx(2.0)
    assert batch.arrivals_above("detect", 2, tier_max=2) == 0.0
    world.now += 10.0
    assert batch.arrivals_above("detect", 0, tier_max=2) == 0.0


def test_memory_is_bounded() -> None:
    """However many endpoints and targets are named, and however long the store is down."""
    world = World(store=FakeHealthStore(down=True))
    health = world.health()
    for number in range(1000):
        world.now += 1.0
        health.leave(health.enter(f"e{number % 100}/v{number}"), "good", 0.1)
        health.leave(health.enter("same/v"), "good", 0.1)
    assert len(health._views) <= world.options.endpoints_max
    view = health._views["same"]
    assert len(view.pending) <= world.options.window_max_s + 2
    assert len(view._own) <= world.options.window_max_s + 2


def test_percentiles_come_from_good_calls() -> None:
    """Failures and refusals say nothing of how long an answer takes."""
    world = World()
    health = world.health()
    for at in range(40):
        health.leave(health.enter(TARGET), "good" if at % 2 else "saturated", 0.1 if at % 2 else 9.0)
    assert health.percentile_s(TARGET, 0.99) == 0.1
    assert health.percentile_s("detect/v2", 0.5) is None


def test_a_large_fleet_counts_one_call_for_many() -> None:
    """Beyond the calls that one item can count, one in n is written n times: sums stay right, writes stay few."""
    world = World(options=HealthOptions(witnesses_per_s=10))
    health = world.health()
    for _ in range(4000):
        world.now += 0.005
        health.leave(health.enter(TARGET), "good", 0.1)
    world.now += 1.0
    health.leave(health.enter(TARGET), "good", 0.1)
    assert world.counted().good == pytest.approx(4000, rel=0.35)
    assert world.counted().started == pytest.approx(world.counted().good, abs=60)
