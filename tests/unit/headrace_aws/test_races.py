"""Hedged calls: the first good answer counts, one hedge at most, and nobody waits beyond the time given."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Event

import pytest

from headrace.errors import AttemptTimedOut, InvalidRequest, TargetFaulted, TargetUnavailable
from headrace.inference import InferenceResponse
from headrace.invocation.steps import Outcomes, Target
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.races import race

TARGET = Target("e", "primary", "v1")
ANSWER, OTHER = InferenceResponse(outputs=(), model_version="1"), InferenceResponse(outputs=(), model_version="2")
Turn = Callable[[], InferenceResponse]


def run(*turns: Turn, after_s: float = 0.01, timeout_s: float = 5.0, may: bool = True) -> tuple[Outcomes, int]:
    """The outcomes of a race whose calls take these turns, and how often it was asked whether to hedge."""
    calls, waiting, asked = BoundedCalls(), list(turns), []

    def start(_: float) -> Future[InferenceResponse]:
        return calls.start(waiting.pop(0))

    def may_start() -> bool:
        asked.append(1)
        return may

    outcomes = race(
        start,
        target=TARGET,
        timeout_s=timeout_s,
        after_s=after_s,
        may_start=may_start,
        failure_of=lambda error: TargetFaulted(type(error).__name__),
    )
    return outcomes, len(asked)


def raising(error: Exception) -> Turn:
    """A call that fails at once."""

    def turn() -> InferenceResponse:
        raise error

    return turn


def until(release: Event) -> Turn:
    """A call that answers when it is let go."""

    def turn() -> InferenceResponse:
        release.wait(30)
        return ANSWER

    return turn


def test_a_quick_answer_is_never_hedged() -> None:
    """One outcome, and nobody asked for permission."""
    outcomes, asked = run(lambda: ANSWER, after_s=5.0)
    assert ([o.response for o in outcomes], asked) == ([ANSWER], 0)


def test_a_quick_failure_is_never_hedged() -> None:
    """A hedge is against lateness; what failed is for the retry to decide."""
    (outcome,), asked = run(raising(TargetUnavailable("x")), after_s=5.0)
    assert isinstance(outcome.failure, TargetUnavailable)
    assert asked == 0


def test_the_hedge_wins_when_the_first_hangs() -> None:
    """Its answer comes first in the list, and the first call is cancelled: nobody knows how it would have ended."""
    release = Event()
    outcomes, asked = run(until(release), lambda: OTHER)
    release.set()
    assert [(o.response, o.second, o.cancelled) for o in outcomes] == [(OTHER, True, False), (None, False, True)]
    assert asked == 1


def test_without_permission_the_first_goes_on_alone() -> None:
    """The budget said no."""
    release = Event()
    release.set()
    outcomes, _ = run(until(release), may=False)
    assert [o.response for o in outcomes] == [ANSWER]


def test_a_failed_hedge_does_not_end_the_first() -> None:
    """The first may still answer, and does."""
    release = Event()

    def failing() -> InferenceResponse:
        release.set()
        raise TargetUnavailable("x")

    outcomes, _ = run(until(release), failing)
    assert outcomes[0].response == ANSWER
    assert isinstance(outcomes[1].failure, TargetUnavailable)


def test_both_late_is_a_timeout_of_both() -> None:
    """The time given bounds the whole."""
    release = Event()
    outcomes, _ = run(until(release), until(release), timeout_s=0.05)
    release.set()
    assert [type(o.failure) for o in outcomes] == [AttemptTimedOut, AttemptTimedOut]


def test_a_refused_input_ends_the_race() -> None:
    """The caller's mistake is no outcome of the target's."""
    with pytest.raises(InvalidRequest):
        run(raising(InvalidRequest("mend it")))


def test_an_unknown_error_is_translated() -> None:
    """Whatever the transport raises is an error of the domain."""
    (outcome,), _ = run(raising(ZeroDivisionError()), after_s=5.0)
    assert isinstance(outcome.failure, TargetFaulted)
