"""A process's slots: kept while there is room, freed near the limit, and never more than the plan allows."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.admission.gate import Admission, Admitted
from headrace.admission.process import FLEET_SHARE_DEFAULT, STORE_PAUSE_S
from headrace.admission.shelf import SWEEP_GRACE_S, shelves
from headrace.admission.slots import RETRY_AFTER_MAX_S, SLOT_KEEP_S
from headrace.errors import LimitExceeded
from headrace.plans import Plan
from tests.unit.headrace.admission.fleet import Fleet, Later, plan


def serve(fleet: Fleet, admission: Admission, terms: Plan, *, lasts_s: float = 2.0) -> None:
    """One request from start to end."""
    admission.release(admission.admit("acme", terms, until_s=fleet.now + lasts_s))


def test_a_warm_process_takes_no_slot_from_the_store() -> None:
    """With room to spare one slot serves request after request; it is made to last in the background."""
    fleet, terms, asked = Fleet(), plan(concurrency=10), []
    admission, background = fleet.process()
    for _ in range(300):
        fleet.now += 0.1
        before = fleet.slots.calls
        serve(fleet, admission, terms)
        asked.append(fleet.slots.calls - before)
        background.run()
    assert sum(asked) <= 2
    assert fleet.slots.calls < 30
    assert len(fleet.slots.shelves["slots#acme#0"]) == 1


def test_a_rare_tenant_gives_its_slot_back() -> None:
    """After a single request the slot is freed in the background."""
    fleet = Fleet()
    admission, background = fleet.process()
    serve(fleet, admission, plan(concurrency=10))
    background.run()
    assert fleet.slots.shelves["slots#acme#0"] == {}


def test_near_the_limit_a_slot_is_freed_at_once() -> None:
    """With one slot in all, the next process gets it as soon as the request is over, background or not."""
    fleet, terms = Fleet(), plan(concurrency=1)
    first, second = fleet.process()[0], fleet.process()[0]
    for _ in range(3):
        serve(fleet, first, terms)
        serve(fleet, second, terms)
    admitted = first.admit("acme", terms, until_s=fleet.now + 2)
    with pytest.raises(LimitExceeded) as refused:
        second.admit("acme", terms, until_s=fleet.now + 2)
    assert refused.value.code == "concurrency_exceeded"
    assert 0 < refused.value.retry_after_s <= RETRY_AFTER_MAX_S
    first.release(admitted)


def test_one_process_can_serve_several_at_once() -> None:
    """A slot counts a request, not a process."""
    fleet, terms = Fleet(), plan(concurrency=3)
    admission = fleet.process()[0]
    at_work = [admission.admit("acme", terms, until_s=fleet.now + 2) for _ in range(3)]
    with pytest.raises(LimitExceeded):
        admission.admit("acme", terms, until_s=fleet.now + 2)
    for admitted in at_work:
        admission.release(admitted)
        admission.release(admitted)
    assert fleet.slots.shelves["slots#acme#0"] == {}


def test_slots_of_the_dead_come_back() -> None:
    """A process that died holds its slots until its requests would have been over and a little longer."""
    fleet, terms = Fleet(), plan(concurrency=2)
    dead, alive = fleet.process()[0], fleet.process()[0]
    for _ in range(2):
        dead.admit("acme", terms, until_s=fleet.now + 10)
    with pytest.raises(LimitExceeded):
        serve(fleet, alive, terms)
    fleet.now += 10 + SLOT_KEEP_S + SWEEP_GRACE_S
    serve(fleet, alive, terms)


def test_a_kept_slot_is_made_to_last_for_a_longer_request() -> None:
    """A request that takes longer than the kept slot extends it first, so that nobody sweeps it under its feet."""
    fleet, terms = Fleet(), plan(concurrency=10)
    admission, background = fleet.process()
    for _ in range(3):
        serve(fleet, admission, terms, lasts_s=1)
        background.run()
    admitted = admission.admit("acme", terms, until_s=fleet.now + 100)
    assert admitted.slot.until >= fleet.now + 100
    assert list(fleet.slots.shelves["slots#acme#0"].values()) == [admitted.slot.until]


def test_high_limits_are_cut_into_shelves() -> None:
    """Shelves of at most a hundred slots, all together exactly the limit; a full one sends on to one other."""
    for limit in (1, 100, 101, 250, 1_001):
        assert sum(shelf.limit for shelf in shelves("acme", limit)) == limit
        assert max(shelf.limit for shelf in shelves("acme", limit)) <= 100
    fleet, terms = Fleet(), plan(concurrency=101)
    admission = fleet.process()[0]
    for _ in range(101):
        admission.admit("acme", terms, until_s=fleet.now + 2)
    assert sorted(len(slots) for slots in fleet.slots.shelves.values()) == [50, 51]


def test_with_the_store_away_a_process_allows_its_share() -> None:
    """A tenth of the slots go on locally; once the store answers again the shared limit holds."""
    fleet, terms = Fleet(), plan(concurrency=50)
    admission, background = fleet.process()
    fleet.go(down=True)
    at_work = [admission.admit("acme", terms, until_s=fleet.now + 2) for _ in range(50 // FLEET_SHARE_DEFAULT)]
    with pytest.raises(LimitExceeded):
        admission.admit("acme", terms, until_s=fleet.now + 2)
    assert fleet.slots.calls == 1
    for admitted in at_work:
        admission.release(admitted)
    fleet.go()
    fleet.now += STORE_PAUSE_S
    serve(fleet, admission, terms)
    background.run()
    for _ in range(6):
        admission.admit("acme", terms, until_s=fleet.now + 2)
    assert len(fleet.slots.shelves["slots#acme#0"]) == 6


def test_a_rush_on_a_full_shelf_does_not_become_as_many_writes() -> None:
    """A process that hears "full" again and again asks ever less often, at least once a second."""
    fleet, terms = Fleet(), plan(concurrency=1)
    holder, other = fleet.process()[0], fleet.process()[0]
    holder.admit("acme", terms, until_s=fleet.now + 60)
    for _ in range(1_000):
        fleet.now += 0.01
        with pytest.raises(LimitExceeded):
            other.admit("acme", terms, until_s=fleet.now + 2)
    assert 8 <= fleet.slots.calls <= 20


class Concurrency(RuleBasedStateMachine):
    """Processes that serve, stall, die and lose answers, over one shelf."""

    LIMIT = 5

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.terms = plan(concurrency=self.LIMIT, per_s=1e6, burst=10**6)
        self.processes = [self.fleet.process() for _ in range(3)]
        self.at_work: list[tuple[int, float, Admitted]] = []
        self.last: tuple[int, float, Admitted] | None = None

    @rule(process=st.integers(0, 2), lasts_s=st.sampled_from((0.5, 3.0, 20.0)))
    def begin(self, process: int, lasts_s: float) -> None:
        """A request comes in."""
        try:
            admitted = self.processes[process][0].admit("acme", self.terms, until_s=self.fleet.now + lasts_s)
        except LimitExceeded:
            return
        self.at_work.append((process, self.fleet.now + lasts_s, admitted))

    @precondition(lambda self: self.at_work)
    @rule(which=st.integers(0, 20))
    def end(self, which: int) -> None:
        """A request is over."""
        process, _, admitted = self.at_work.pop(which % len(self.at_work))
        self.processes[process][0].release(admitted)

    @rule(process=st.integers(0, 2))
    def do_in_background(self, process: int) -> None:
        """One task runs, whenever it may."""
        self.processes[process][1].run_one()

    @rule(seconds=st.sampled_from((0.1, 1.0, 4.0, 30.0)))
    def wait(self, seconds: float) -> None:
        """Time passes; requests are over when they said they would be."""
        self.fleet.now += seconds
        for over in [each for each in self.at_work if each[1] <= self.fleet.now]:
            self.at_work.remove(over)
            self.processes[over[0]][0].release(over[2])

    @rule(process=st.integers(0, 2))
    def die(self, process: int) -> None:
        """A process ends with all it knew; its calls may go on until they are over, and nobody is told."""
        self.processes[process] = self.fleet.process(Later())
        self.at_work = [
            (-1, until, admitted) if each == process else (each, until, admitted)
            for each, until, admitted in self.at_work
        ]

    @rule(deaf=st.booleans())
    def answers(self, deaf: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """From now on the store's answers get lost, or not any more."""
        self.fleet.slots.deaf = deaf

    @invariant()
    def never_more_than_the_limit(self) -> None:
        """Slots in the store, and requests at work that hold one, are within the limit."""
        assert all(len(slots) <= self.LIMIT for slots in self.fleet.slots.shelves.values())
        shared = [admitted for _, _, admitted in self.at_work if admitted.slot.shelf is not None]
        assert len(shared) <= self.LIMIT
        assert all(admitted.slot.until >= until for _, until, admitted in self.at_work)

    @invariant()
    def every_request_at_work_has_its_own_slot(self) -> None:
        """No slot serves two requests, and none is taken away from one."""
        slots = self.fleet.slots.shelves.get("slots#acme#0", {})
        names = [admitted.slot.name for _, _, admitted in self.at_work if admitted.slot.shelf is not None]
        assert len(set(names)) == len(names)
        assert set(names) <= set(slots)


TestConcurrency = Concurrency.TestCase
TestConcurrency.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
