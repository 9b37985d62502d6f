"""Bounded calls: the caller is free when its time is up, and stuck calls never pile up without end."""

from threading import Event

import pytest

from headrace.errors import AttemptTimedOut, TargetUnavailable
from headrace_aws.bounded_calls import CALLS_MAX, READ_TIMEOUT_STEPS_S, BoundedCalls, read_timeout_step_s


def test_gives_results_and_errors() -> None:
    """A call in time behaves as if it were called directly."""
    calls = BoundedCalls()
    assert calls.run(lambda: 7, timeout_s=5.0) == 7
    with pytest.raises(ZeroDivisionError):
        calls.run(lambda: 1 / 0, timeout_s=5.0)


def test_a_hanging_call_is_left_behind_and_its_room_comes_back() -> None:
    """Calls that hang time out; beyond the bound the target counts as down; once they end, calls go through again."""
    calls, release = BoundedCalls(), Event()
    for _ in range(CALLS_MAX):
        with pytest.raises(AttemptTimedOut):
            calls.run(release.wait, timeout_s=0.001)
    with pytest.raises(TargetUnavailable):
        calls.run(lambda: 7, timeout_s=5.0)
    release.set()
    for _ in range(1000):
        try:
            result = calls.run(lambda: 7, timeout_s=5.0)
        except TargetUnavailable:
            Event().wait(0.005)
        else:
            assert result == 7
            return
    pytest.fail("room never came back")


def test_time_spent_frozen_is_not_the_other_sides() -> None:
    """Lambda freezes a function between requests: the answer that lies there when it thaws is not late."""
    thawed = Event()
    readings = iter([0.0, 3_600.0])

    def clock() -> float:
        now = next(readings, 3_600.0)
        if now:
            thawed.set()
        return now

    def call() -> str:
        thawed.wait()
        return "answer"

    assert BoundedCalls(clock=clock).run(call, timeout_s=60.0) == "answer"


def test_a_call_that_times_out_by_itself_is_late() -> None:
    """A socket's own TimeoutError ends the wait at once."""

    def call() -> None:
        raise TimeoutError

    with pytest.raises(AttemptTimedOut):
        BoundedCalls().run(call, timeout_s=60.0)


@pytest.mark.parametrize(("timeout_s", "step"), [(0.1, 1.0), (1.0, 1.0), (1.1, 3.0), (9.0, 10.0), (99.0, 30.0)])
def test_no_step_cuts_a_call_short(timeout_s: float, step: float) -> None:
    """The socket's timeout is the least step that is not below the call's."""
    assert read_timeout_step_s(timeout_s) == step
    assert sorted(READ_TIMEOUT_STEPS_S) == list(READ_TIMEOUT_STEPS_S)
