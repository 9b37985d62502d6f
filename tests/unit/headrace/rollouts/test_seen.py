"""What one request says about the version that it was drawn to."""

import pytest

from headrace.invocation.attempts import Tried
from headrace.rollouts.metrics import Metric
from headrace.rollouts.seen import References, Seen, classify

TARGET = "sentiment/v2"
REFERENCES = References(slo_s=0.5, slower_ms=100.0, unsure_below=0.6)


def see(*tried: Tried, sure: float | None = 0.9, references: References = REFERENCES) -> Seen | None:
    """What these attempts say of `TARGET`."""
    return classify(tried, target=TARGET, references=references, sure=lambda: sure)


@pytest.mark.parametrize(
    ("tried", "bad"),
    [
        ([("served", 0.05)], ()),
        ([("served", 0.2)], ("slower",)),
        ([("served", 0.6)], ("late", "slower")),
        ([("timeout", 1.0)], ("failed", "late")),
        ([("timeout", 0.1)], ("failed", "late")),
        ([("fault", 0.1)], ("failed",)),
        ([("fault", 0.7)], ("failed", "late")),
        ([("unavailable", 0.01), ("unavailable", 0.01)], ("failed",)),
        ([("unavailable", 0.01), ("served", 0.05)], ()),
        ([("throttled", 0.01)], ("failed",)),
        ([("saturated", 0.01)], ("failed",)),
        ([("circuit_open", 0.0)], ("failed",)),
        ([("shed", 0.0)], ("failed",)),
        ([("deadline", 0.0)], ("failed",)),
        ([("invalid_answer", 0.1)], ("invalid",)),
        ([("invalid_answer", 0.1), ("served", 0.05)], ("invalid",)),
    ],
)
def test_each_ending_of_the_drawn_version_counts_as_what_it_is(
    tried: list[tuple[str, float]], bad: tuple[Metric, ...]
) -> None:
    """A failure stays one though another target answered the caller; a second attempt that serves makes good."""
    seen = see(*(Tried(TARGET, outcome, seconds) for outcome, seconds in tried), Tried("sentiment/v1", "served", 9.0))
    assert seen is not None
    assert seen.bad == bad


@pytest.mark.parametrize("outcome", ["no_time", "budget_unknown"])
def test_what_is_not_the_versions_own_says_nothing(outcome: str) -> None:
    """A caller who leaves no time, and a store that does not know the budget, are nobody's evidence."""
    assert see(Tried(TARGET, outcome), Tried("sentiment/cpu", "served", 0.1)) is None


def test_an_answer_from_the_cache_says_nothing() -> None:
    """Without attempts there is nothing to count; those of other targets do not count for this one."""
    assert see() is None
    assert see(Tried("sentiment/v1", "served", 0.1)) is None


def test_an_unsure_answer_is_bad_only_beside_a_reference() -> None:
    """How sure the control was must be known first; the confidence itself is always kept."""
    served = Tried(TARGET, "served", 0.05)
    assert see(served, sure=0.5) == Seen(("unsure",), {"slower": 1, "unsure": 1}, 0.05, 0.5)
    assert see(served, sure=0.6) == Seen((), {"slower": 1, "unsure": 1}, 0.05, 0.6)
    assert see(served, sure=None) == Seen((), {"slower": 1, "unsure": 0}, 0.05, None)
    assert see(served, sure=0.5, references=References(0.5)) == Seen((), {}, 0.05, 0.5)


def test_a_version_that_did_not_answer_is_neither_slow_nor_unsure() -> None:
    """How often it could have been is counted, so that a version that always fails does not look quick and sure."""
    assert see(Tried(TARGET, "fault", 0.3)) == Seen(("failed",), {"slower": 0, "unsure": 0}, None, None)


def test_nobody_is_asked_how_sure_a_version_was_that_did_not_serve() -> None:
    """Reading confidence out of an answer costs time, and there may be no answer to read it from."""

    def never() -> float:
        raise AssertionError

    assert classify([Tried(TARGET, "fault", 0.1)], target=TARGET, references=REFERENCES, sure=never) is not None
