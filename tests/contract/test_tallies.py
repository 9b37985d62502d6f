"""The fake tallies and the DynamoDB table keep the same contract, and processes count over both."""

from collections.abc import Iterator
from threading import Lock, Thread

import pytest

from headrace.background import Immediately
from headrace.errors import StoreUnavailable
from headrace.fakes.tallies import FakeTallies
from headrace.rollouts.counted import Counted, Values
from headrace.rollouts.recorder import Recorder
from headrace.rollouts.seen import Place, Seen
from headrace.rollouts.store import Tallies
from headrace_aws import clients
from headrace_aws.background import BackgroundThreads
from headrace_aws.shared_state import SharedState
from headrace_aws.state_table import StateTable
from headrace_aws.tallies_table import KEPT_S, TalliesTable
from infra_local.moto_mends import make_dynamodb_atomic
from tests.contract.conftest import PatientCalls, make_state_table

NOW = 1_800_000_000.0
SUBJECT = "ro_0123456789abcdefghijkl"


def table() -> TalliesTable:
    """The adapter over the mocked account's table."""
    return TalliesTable(StateTable("state", calls=PatientCalls()), wall=lambda: NOW)


@pytest.fixture(params=["fake", "dynamodb"])
def tallies(request: pytest.FixtureRequest) -> Iterator[Tallies]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeTallies(lock=Lock())
        return
    request.getfixturevalue("aws")
    make_dynamodb_atomic()
    make_state_table()
    yield table()


FULL = Counted(
    requests=9,
    callers=2,
    bad={"failed": 3, "late": 1},
    bad_callers={"failed": 2, "late": 1},
    of={"slower": 0, "unsure": 5},
    times={0: 1, 27: 4},
    sureness={0: 1, 99: 4},
    outcomes={"click": Values(2, 2.5, 3.125)},
)


def test_what_is_written_is_read(tallies: Tallies) -> None:
    """Every field comes back, a nought in `of` too; subjects, stages and arms are kept apart."""
    assert tallies.read(SUBJECT) == {}
    tallies.write(SUBJECT, stage=1, arm="canary", holder="a.1", counted=FULL)
    tallies.write(SUBJECT, stage=1, arm="control", holder="a.2", counted=Counted(requests=5))
    tallies.write(SUBJECT, stage=12, arm="canary", holder="a.3", counted=Counted(requests=6))
    tallies.write("ro_other", stage=1, arm="canary", holder="a.4", counted=Counted(requests=7))
    assert tallies.read(SUBJECT) == {
        (1, "canary"): FULL,
        (1, "control"): Counted(requests=5),
        (12, "canary"): Counted(requests=6),
    }


def test_a_process_overwrites_its_own_item_and_adds_to_the_others(tallies: Tallies) -> None:
    """Totals are written as often as wanted; those of several processes are added up."""
    for requests in (1, 2, 2, 3):
        tallies.write(SUBJECT, stage=1, arm="canary", holder="a.1", counted=Counted(requests=requests))
    tallies.write(SUBJECT, stage=1, arm="canary", holder="b.1", counted=FULL)
    tallies.write(SUBJECT, stage=1, arm="canary", holder="c.1", counted=FULL)
    read = tallies.read(SUBJECT)[1, "canary"]
    assert read == FULL.plus(FULL).plus(Counted(requests=3))
    assert read.outcomes["click"] == Values(4, 5.0, 6.25)


def test_an_older_total_that_comes_late_changes_nothing(tallies: Tallies) -> None:
    """A write whose answer was given up may still arrive, after the one that repeated it."""
    newer = Counted(requests=3, bad={"failed": 2})
    tallies.write(SUBJECT, stage=1, arm="canary", holder="a.1", counted=newer)
    tallies.write(SUBJECT, stage=1, arm="canary", holder="a.1", counted=Counted(requests=3, bad={"failed": 1}))
    assert tallies.read(SUBJECT) == {(1, "canary"): newer}


def test_many_processes_are_all_read(tallies: Tallies) -> None:
    """More than one page holds."""
    wide = Counted(times=dict.fromkeys(range(160), 1_000_000), sureness=dict.fromkeys(range(101), 1_000_000))
    for number in range(400):
        tallies.write(SUBJECT, stage=1, arm="canary", holder=f"p{number}.1", counted=wide)
    assert tallies.read(SUBJECT)[1, "canary"].times[159] == 400_000_000


def test_a_caller_is_marked_once(tallies: Tallies) -> None:
    """The first question is answered by yes, however often it is repeated; every other one by no."""
    asked = [
        tallies.mark(SUBJECT, stage=1, what="failed", caller="c1", holder=holder) for holder in ("a", "b", "a", "c")
    ]
    assert asked == [True, False, True, False]


def test_marks_are_of_subject_stage_thing_and_caller(tallies: Tallies) -> None:
    """Each of them makes another mark."""
    marks = [
        (SUBJECT, 1, "failed", "c1"),
        ("ro_other", 1, "failed", "c1"),
        (SUBJECT, 2, "failed", "c1"),
        (SUBJECT, 1, "outcome.click", "c1"),
        (SUBJECT, 1, "failed", "c2"),
    ]
    for wanted in (True, False):
        holder = "a" if wanted else "b"
        asked = [tallies.mark(s, stage=stage, what=what, caller=c, holder=holder) for s, stage, what, c in marks]
        assert asked == [wanted] * len(marks)


@pytest.mark.parametrize("background", ["immediately", "threads"])
def test_processes_with_threads_count_each_thing_once(tallies: Tallies, background: str) -> None:
    """Requests of several processes at one time, each with its background on threads: nothing more, nothing less."""
    place = Place(SUBJECT, 1, "canary")
    recorders = [
        Recorder(
            tallies=tallies,
            background=Immediately() if background == "immediately" else BackgroundThreads(),
            wall=lambda: NOW,
            pepper=lambda: b"pepper",
            holder=f"p{number}",
            lock=Lock(),
        )
        for number in range(3)
    ]

    def serve(recorder: Recorder) -> None:
        for number in range(40):
            caller = recorder.caller(SUBJECT, f"caller {number % 10}")
            recorder.record(place, Seen(("failed",) if number % 4 == 0 else (), seconds=0.1), caller=caller)

    threads = [Thread(target=serve, args=(recorder,)) for recorder in recorders for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = Counted()
    for _ in range(600):  # a flush may find another one at work, which then goes on with it
        for recorder in recorders:
            recorder.flush()
        counted = tallies.read(SUBJECT).get((1, "canary"), Counted())
        if (counted.requests, counted.attributed("failed")) == (240, 5):
            break
    assert (counted.requests, counted.count("failed"), counted.attributed("failed")) == (240, 60, 5)


@pytest.mark.usefixtures("aws")
def test_items_are_forgotten_some_day() -> None:
    """Counts and marks carry the time after which DynamoDB may drop them, and no caller's name."""
    make_state_table()
    table().write(SUBJECT, stage=1, arm="canary", holder="a.1", counted=FULL)
    table().mark(SUBJECT, stage=1, what="failed", caller="c1", holder="a.1")
    plain = StateTable("state", calls=PatientCalls())
    for pk, sk in ((f"tally#{SUBJECT}", "00001#canary#a.1"), (f"mark#{SUBJECT}#1#failed", "c1")):
        item = plain.get(pk, sk)
        assert item is not None
        assert int(item["expires_at"]["N"]) == NOW + KEPT_S


@pytest.mark.usefixtures("aws")
def test_a_table_that_is_not_there_is_an_unavailable_store() -> None:
    """Every method says so in the core's words."""
    missing = TalliesTable(StateTable("missing", calls=PatientCalls()), wall=lambda: NOW)
    with pytest.raises(StoreUnavailable):
        missing.write(SUBJECT, stage=1, arm="canary", holder="a.1", counted=FULL)
    with pytest.raises(StoreUnavailable):
        missing.read(SUBJECT)
    with pytest.raises(StoreUnavailable):
        missing.mark(SUBJECT, stage=1, what="failed", caller="c1", holder="a.1")


@pytest.mark.usefixtures("aws")
def test_a_function_counts_without_waiting_for_the_pepper() -> None:
    """As it is wired: before the secret was read requests count and callers do not; afterwards both."""
    make_state_table()
    clients.client("secretsmanager", read_timeout_s=1.0).create_secret(Name="pepper", SecretString="p" * 32)
    state = SharedState(table="state", pepper_secret="pepper")
    place, counted = Place(SUBJECT, 1, "control"), Counted()
    assert state.recorder.caller(SUBJECT, "caller") == ""
    for requests in (1, 2):
        caller = state.recorder.caller(SUBJECT, "caller")
        state.recorder.record(place, Seen(("failed",)), caller=caller)
        for _ in range(600):
            state.recorder.flush()
            counted = table().read(SUBJECT).get((1, "control"), Counted())
            if counted.requests == requests and counted.attributed("failed") == requests - 1:
                break
        assert (counted.requests, counted.attributed("failed")) == (requests, requests - 1)
        state.warm()
