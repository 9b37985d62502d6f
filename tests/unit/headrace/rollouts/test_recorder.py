"""Counting beside requests: nothing is counted twice, nothing waits, and what is kept is bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from headrace.background import Immediately
from headrace.errors import StoreUnavailable
from headrace.fakes.tallies import FakeTallies
from headrace.rollouts import recorder
from headrace.rollouts.counted import Counted, Values
from headrace.rollouts.marks import KNOWN_MAX, WAITING_MAX
from headrace.rollouts.recorder import ARMS_KEPT_MAX, FLUSH_EVERY_S, Recorder, in_sample
from headrace.rollouts.seen import Place, Seen

CANARY = Place("ro_1", 2, "canary")
CONTROL = Place("ro_1", 2, "control")
ARM = Place("ex_1", 0, "b", everybody=True)
GOOD = Seen(seconds=0.01)
FAILED = Seen(("failed",))


@dataclass
class Later:
    """A background that runs its tasks when it is told to."""

    tasks: list[Callable[[], None]] = field(default_factory=list)
    full: bool = False

    def submit(self, task: Callable[[], None]) -> bool:
        """See `headrace.background.Background.submit`."""
        if not self.full:
            self.tasks.append(task)
        return not self.full

    def run(self) -> None:
        """All that wait."""
        while self.tasks:
            self.tasks.pop(0)()


@dataclass
class Process:
    """One process: its recorder and its clock."""

    tallies: FakeTallies
    background: Later = field(default_factory=Later)
    now: float = 1_000.0
    pepper: bytes | None = b"pepper"
    holder: str = "p1"
    known_max: int = KNOWN_MAX

    def __post_init__(self) -> None:
        """Wire it."""
        self.recorder = Recorder(
            tallies=self.tallies,
            background=self.background,
            wall=lambda: self.now,
            pepper=lambda: self.pepper,
            holder=self.holder,
            known_max=self.known_max,
        )

    def record(self, place: Place, seen: Seen, unit: str) -> None:
        """One request of a caller."""
        self.recorder.record(place, seen, caller=self.recorder.caller(place.subject, unit))


def outsider(process: Process) -> str:
    """A caller who is not in the sample."""
    names = (f"caller {number}" for number in range(1_000))
    return next(name for name in names if not in_sample(process.recorder.caller("ro_1", name)))


def test_counts_reach_the_store_once_a_second() -> None:
    """The first request is written at once; those that follow within a second are written together, as totals."""
    tallies = FakeTallies()
    process = Process(tallies)
    caller = outsider(process)
    for _ in range(5):
        process.record(CANARY, GOOD, caller)
        process.background.run()
        process.now += FLUSH_EVERY_S / 4
    assert tallies.read("ro_1")[2, "canary"].requests == 5
    assert tallies.calls["write"] == 2
    assert tallies.calls["mark"] == 0


def test_nothing_is_asked_of_the_store_while_a_request_waits() -> None:
    """All calls are the background's, and at most one task of it is there at a time."""
    tallies = FakeTallies()
    process = Process(tallies)
    for number in range(200):
        process.record(CANARY, FAILED, f"caller {number}")
        process.now += 0.1
    assert len(process.background.tasks) == 1
    assert sum(tallies.calls.values()) == 0
    process.background.run()
    counted = tallies.read("ro_1")[2, "canary"]
    assert (counted.requests, counted.count("failed")) == (200, 200)
    assert 0 < counted.attributed("failed") <= 200


def test_a_first_bad_event_is_told_at_once() -> None:
    """Evidence does not wait for the second to pass; a caller who met it before is no news."""
    tallies = FakeTallies()
    process = Process(tallies)
    caller = outsider(process)
    for seen in (GOOD, FAILED):
        process.record(CANARY, seen, caller)
        process.background.run()
    assert tallies.read("ro_1")[2, "canary"] == Counted(
        requests=2, bad={"failed": 1}, bad_callers={"failed": 1}, times={27: 1}
    )
    process.record(CANARY, FAILED, caller)
    assert not process.background.tasks


@pytest.mark.parametrize(("arm", "again"), [("control", 1), ("canary", 0)])
def test_a_caller_counts_once_whoever_served_it(arm: str, again: int) -> None:
    """Evidence counts callers: those of the control again in another stage, those of the canary, who stay, never."""
    tallies = FakeTallies()
    processes = [Process(tallies, holder=f"p{number}") for number in range(3)]
    for stage in (2, 3):
        for process in processes:
            for _ in range(4):
                process.record(Place("ro_1", stage, arm), FAILED, "one caller")
                process.now += FLUSH_EVERY_S
                process.background.run()
    for stage, callers in ((2, 1), (3, again)):
        counted = tallies.read("ro_1")[stage, arm]
        assert (counted.count("failed"), counted.attributed("failed")) == (12, callers)


def test_a_sample_of_callers_is_counted_and_in_an_experiment_all() -> None:
    """Each once, however often it comes; about one in eight of a rollout's."""
    tallies = FakeTallies()
    process = Process(tallies)
    for _ in range(2):
        for number in range(400):
            process.record(CANARY, GOOD, f"caller {number}")
            process.record(ARM, GOOD, f"caller {number}")
            process.now += FLUSH_EVERY_S
            process.background.run()
    assert tallies.read("ex_1")[0, "b"].callers == 400
    assert 25 <= tallies.read("ro_1")[2, "canary"].callers <= 80


def test_a_mark_that_was_forgotten_is_not_counted_again() -> None:
    """Memory is bounded; whoever is asked about once more was marked before, and by an earlier question."""
    tallies = FakeTallies()
    process = Process(tallies, known_max=2)
    for _ in range(3):
        for number in range(5):
            process.record(CANARY, FAILED, f"caller {number}")
            process.now += FLUSH_EVERY_S
            process.background.run()
    assert tallies.read("ro_1")[2, "canary"].attributed("failed") == 5
    assert KNOWN_MAX > WAITING_MAX


@pytest.mark.parametrize("trouble", ["down", "deaf"])
def test_a_store_that_fails_is_asked_again_after_a_second(trouble: str) -> None:
    """It may have done what it was told or not: the counts are right when it answers again, and it is not pestered."""
    tallies = FakeTallies()
    process = Process(tallies)
    setattr(tallies, trouble, True)
    for number in range(20):
        process.record(CANARY, FAILED, f"caller {number}")
        process.background.run()
    assert sum(tallies.calls.values()) <= 2
    setattr(tallies, trouble, False)
    process.now += FLUSH_EVERY_S
    process.record(CANARY, FAILED, "caller 0")
    process.background.run()
    counted = tallies.read("ro_1")[2, "canary"]
    assert (counted.requests, counted.attributed("failed")) == (21, 20)


def test_marks_beyond_the_bound_are_dropped() -> None:
    """While the store is down the queue fills and no further; what it dropped may be asked for another time."""
    tallies = FakeTallies(down=True)
    process = Process(tallies)
    for number in range(WAITING_MAX + 100):
        process.record(CANARY, FAILED, f"caller {number}")
        process.background.run()
    tallies.down = False
    for _ in range(30):
        process.now += FLUSH_EVERY_S
        process.record(CANARY, FAILED, "caller 0")
        process.background.run()
    assert tallies.read("ro_1")[2, "canary"].attributed("failed") <= WAITING_MAX
    process.record(CANARY, FAILED, f"caller {WAITING_MAX + 99}")
    process.background.run()
    assert tallies.read("ro_1")[2, "canary"].requests == WAITING_MAX + 131


def test_a_background_that_takes_nothing_is_tried_again() -> None:
    """What could not be handed over goes with the next request."""
    tallies = FakeTallies()
    process = Process(tallies)
    process.background.full = True
    process.record(CANARY, GOOD, "caller")
    process.background.full = False
    process.record(CANARY, GOOD, "caller")
    process.background.run()
    assert tallies.read("ro_1")[2, "canary"].requests == 2


def test_arms_are_bounded_and_one_that_comes_back_overwrites_nothing() -> None:
    """A request of a stage long over may come late: what was written of that stage stands, and the request is added."""
    tallies = FakeTallies()
    process = Process(tallies)
    for stage in [*range(3 * ARMS_KEPT_MAX), 0, 1]:
        process.record(Place("ro_1", stage, "canary"), GOOD, "caller")
        process.now += FLUSH_EVERY_S
        process.background.run()
    counted = tallies.read("ro_1")
    assert counted[0, "canary"].requests == counted[1, "canary"].requests == 2
    assert counted[2, "canary"].requests == 1
    assert len(process.recorder._arms) == ARMS_KEPT_MAX


def test_counts_that_cannot_be_written_are_bounded_too() -> None:
    """Evidence is lost then, memory is not."""
    tallies = FakeTallies(down=True)
    process = Process(tallies)
    for stage in range(3 * ARMS_KEPT_MAX):
        process.record(Place("ro_1", stage, "canary"), GOOD, "caller")
    assert len(process.recorder._arms) == ARMS_KEPT_MAX


def test_without_the_pepper_requests_count_and_callers_do_not() -> None:
    """A caller is never kept as itself: while it cannot be hashed it is not kept at all."""
    tallies = FakeTallies()
    process = Process(tallies, pepper=None)
    process.record(CANARY, FAILED, "caller")
    process.background.run()
    assert tallies.read("ro_1")[2, "canary"] == Counted(requests=1, bad={"failed": 1})
    process.pepper = b"pepper"
    process.record(CANARY, FAILED, "caller")
    process.background.run()
    assert tallies.read("ro_1")[2, "canary"].attributed("failed") == 1
    assert "caller" not in str(tallies._marks)


def test_a_caller_is_another_one_in_another_subject() -> None:
    """What one rollout knows of callers cannot be joined with what another one knows."""
    process = Process(FakeTallies())
    assert process.recorder.caller("ro_1", "a") != process.recorder.caller("ro_2", "a")
    assert process.recorder.caller("ro_1", "a") == Process(FakeTallies()).recorder.caller("ro_1", "a")
    assert process.recorder.caller("ro_1", "a") != Process(FakeTallies(), pepper=b"other").recorder.caller("ro_1", "a")
    assert process.recorder.caller("ro_1", "\ud800")


def test_an_outcome_counts_once_per_caller_and_name() -> None:
    """The first value stands; another process that is told the same counts nothing."""
    tallies = FakeTallies()
    for holder in ("p1", "p2"):
        process = Process(tallies, holder=holder)
        for value in (3.0, 5.0):
            process.recorder.outcome(ARM, caller="c1", name="sale", value=value)
        process.recorder.outcome(ARM, caller="c1", name="click", value=1.0)
        process.recorder.flush()
    counted = tallies.read("ex_1")[0, "b"]
    assert counted.outcomes == {"sale": Values(1, 3.0, 9.0), "click": Values(1, 1.0, 1.0)}
    assert (counted.count("outcome"), counted.attributed("outcome"), counted.requests) == (2, 2, 0)


@pytest.mark.parametrize("trouble", ["down", "deaf"])
def test_an_outcome_that_was_not_confirmed_may_be_sent_again(trouble: str) -> None:
    """To the same process or to another one: it counts once, whether the first call was done or not."""
    tallies = FakeTallies()
    one, other = Process(tallies, holder="p1"), Process(tallies, holder="p2")
    setattr(tallies, trouble, True)
    with pytest.raises(StoreUnavailable):
        one.recorder.outcome(ARM, caller="c1", name="sale", value=3.0)
    setattr(tallies, trouble, False)
    for process in (other, one, other):
        process.recorder.outcome(ARM, caller="c1", name="sale", value=3.0)
        process.now += FLUSH_EVERY_S
        process.recorder.flush()
    assert tallies.read("ex_1")[0, "b"].outcomes == {"sale": Values(1, 3.0, 9.0)}


def test_only_one_thread_writes_at_a_time() -> None:
    """Whoever comes while a write is under way leaves it to the writer, who goes round once more."""
    tallies = FakeTallies()
    process = Process(tallies)

    def meddle(name: str) -> None:
        if name == "write" and tallies.calls["write"] == 1:
            process.record(CANARY, FAILED, "another")
            process.recorder.flush()  # as a second thread would

    tallies.meddle = meddle
    process.record(CANARY, FAILED, "caller")
    process.background.run()
    counted = tallies.read("ro_1")[2, "canary"]
    assert (counted.requests, counted.attributed("failed")) == (2, 2)


def test_a_store_with_a_fault_of_its_own_does_not_end_the_counting() -> None:
    """An error that nobody foresaw is the background's to swallow; the next request is counted and written."""
    tallies = FakeTallies()

    def broken(_: str) -> None:
        raise RuntimeError

    tallies.meddle = broken
    recorded = Recorder(
        tallies=tallies, background=Immediately(), wall=lambda: 0.0, pepper=lambda: b"pepper", holder="p1"
    )
    recorded.record(CANARY, GOOD, caller="")
    tallies.meddle = lambda _: None
    recorded.record(CANARY, FAILED, caller="")
    assert tallies.read("ro_1")[2, "canary"].requests == 2
    assert recorder.CALLER_SAMPLE == 8


def test_a_clock_that_is_set_back_delays_nothing_for_long() -> None:
    """What was due a second later is not due an hour later, with the store well or after it failed."""
    process = Process(FakeTallies())
    for unit in ("1", "2"):
        process.record(CANARY, GOOD, unit)
        process.background.run()
        process.now -= 3_600.0
    process.record(CANARY, GOOD, "3")
    process.background.run()
    assert process.tallies.read("ro_1")[2, "canary"].requests == 3
