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


@pytest.mark.parametrize(("timeout_s", "step"), [(0.1, 1.0), (1.0, 1.0), (1.1, 3.0), (9.0, 10.0), (99.0, 30.0)])
def test_no_step_cuts_a_call_short(timeout_s: float, step: float) -> None:
    """The socket's timeout is the least step that is not below the call's."""
    assert read_timeout_step_s(timeout_s) == step
    assert sorted(READ_TIMEOUT_STEPS_S) == list(READ_TIMEOUT_STEPS_S)
