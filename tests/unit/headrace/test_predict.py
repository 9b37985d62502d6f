"""The ladder: what falls down a rung, what ends the request, and that the deadline holds on virtual time."""

import contextlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog import Endpoint, Rung, Version
from headrace.deadline import Deadline
from headrace.errors import (
    AttemptFailed,
    AttemptTimedOut,
    InvalidAnswer,
    InvalidRequest,
    NothingServed,
    TargetFaulted,
    TargetThrottled,
    TargetUnavailable,
)
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.predict import ATTEMPT_MIN_S, Answer, predict

REQUEST = InferenceRequest(inputs=(Tensor("text", "BYTES", (1,), data=["x"]),))
RESPONSE = InferenceResponse(outputs=())
VERSION = Version("v1", "sha256:x", "endpoint", 1)


@dataclass(slots=True)
class World:
    """Targets on a virtual clock: each takes its seconds, or the timeout if that is less, then answers or fails."""

    seconds: dict[str, float]
    failures: dict[str, Exception] = field(default_factory=dict)
    now: float = 100.0
    asked: list[tuple[str, float]] = field(default_factory=list)

    def invoke(
        self,
        _endpoint: Endpoint,
        target: Version | Rung,
        _request: InferenceRequest,
        *,
        timeout_s: float,
        binary_output: bool = False,
    ) -> InferenceResponse:
        """Both ports in one: a version is the primary, a rung a stand-in."""
        del binary_output
        name = "primary" if isinstance(target, Version) else target.kind
        self.asked.append((name, timeout_s))
        took = self.seconds.get(name, 0.0)
        self.now += min(took, timeout_s)
        if took > timeout_s:
            raise AttemptTimedOut("late")
        if name in self.failures:
            raise self.failures[name]
        return RESPONSE

    def clock(self) -> float:
        """Virtual seconds."""
        return self.now


def run(world: World, endpoint: Endpoint, *, budget_s: float = 2.0, fall_back: bool = True) -> Answer[str]:
    """One request in this world."""
    return predict(
        REQUEST,
        endpoint=endpoint,
        version=VERSION,
        deadline=Deadline(world.now + budget_s),
        read=lambda _: "read",
        primary=world,
        stand_in=world,
        clock=world.clock,
        fall_back=fall_back,
    )


def test_the_primary_serves(sentiment: Endpoint) -> None:
    """A good answer of the primary is not degraded, and nothing else is asked."""
    world = World({})
    answer = run(world, sentiment)
    assert (answer.value, answer.served_by, answer.degraded) == ("read", "sentiment/v1", "")
    assert [name for name, _ in world.asked] == ["primary"]


@pytest.mark.parametrize("failure", [AttemptTimedOut, TargetThrottled, TargetUnavailable, TargetFaulted, InvalidAnswer])
def test_a_failed_primary_falls_to_the_cpu_and_says_why(sentiment: Endpoint, failure: type[AttemptFailed]) -> None:
    """Every kind of failure goes down one rung, and the answer names it."""
    answer = run(World({}, {"primary": failure("x")}), sentiment)
    assert (answer.served_by, answer.degraded) == ("sentiment/cpu", failure.reason)
    assert [attempt.outcome for attempt in answer.attempts] == [failure.reason, "served"]


def test_rules_serve_when_the_cpu_fails_too(sentiment: Endpoint) -> None:
    """The last rung answers, and the reason is the primary's: that is what degraded the answer."""
    answer = run(World({}, {"primary": TargetThrottled("x"), "cpu": TargetFaulted("y")}), sentiment)
    assert (answer.served_by, answer.degraded) == ("sentiment/rules", "throttled")


def test_nothing_served_says_when_to_come_back(sentiment: Endpoint) -> None:
    """When all rungs fail the caller learns it with a time to wait, and the log learns what was tried."""
    failures: dict[str, Exception] = {name: TargetUnavailable("x") for name in ("primary", "cpu", "rules")}
    with pytest.raises(NothingServed) as refusal:
        run(World({}, failures), sentiment)
    assert refusal.value.retry_after_s > 0
    assert [target for target, _ in refusal.value.attempts] == ["sentiment/v1", "sentiment/cpu", "sentiment/rules"]


def test_a_refused_input_goes_no_further(sentiment: Endpoint) -> None:
    """A caller's mistake is the same mistake on every rung: it is told at once."""
    world = World({}, {"primary": InvalidRequest("mend it")})
    with pytest.raises(InvalidRequest):
        run(world, sentiment)
    assert len(world.asked) == 1


def test_a_pinned_version_has_no_stand_in(sentiment: Endpoint) -> None:
    """Who insists on a version gets it or nothing."""
    world = World({}, {"primary": TargetUnavailable("x")})
    with pytest.raises(NothingServed):
        run(world, sentiment, fall_back=False)
    assert len(world.asked) == 1


@pytest.mark.parametrize("error", [KeyError, IndexError, TypeError, ValueError, OverflowError, InvalidAnswer])
def test_an_answer_that_cannot_be_read_counts_as_a_failure(sentiment: Endpoint, error: type[Exception]) -> None:
    """Whatever form rubbish takes, it falls down the ladder instead of reaching the caller."""
    readings = iter([error("x"), "good"])

    def read(_: InferenceResponse) -> str:
        value = next(readings)
        if isinstance(value, Exception):
            raise value
        return value

    world = World({})
    answer = predict(
        REQUEST,
        endpoint=sentiment,
        version=VERSION,
        deadline=Deadline(world.now + 2),
        read=read,
        primary=world,
        stand_in=world,
        clock=world.clock,
    )
    assert (answer.value, answer.degraded) == ("good", "invalid_answer")


def test_a_hanging_primary_leaves_time_for_the_ladder(sentiment: Endpoint) -> None:
    """The primary is cut off early enough for the CPU function to answer within the deadline."""
    world = World({"primary": 60.0, "cpu": 0.5})
    answer = run(world, sentiment, budget_s=2.0)
    assert answer.served_by == "sentiment/cpu"
    assert world.now <= 102.0


@given(
    budget_s=st.floats(0, 10),
    seconds=st.dictionaries(st.sampled_from(["primary", "cpu", "rules"]), st.floats(0, 10)),
    failing=st.sets(st.sampled_from(["primary", "cpu", "rules"])),
    rungs=st.lists(
        st.builds(Rung, kind=st.sampled_from(["cpu", "rules"]), timeout_ms=st.integers(1, 5000)), max_size=4
    ),
)
def test_the_deadline_is_never_exceeded(
    budget_s: float, seconds: dict[str, float], failing: set[str], rungs: list[Rung]
) -> None:
    """Whatever targets do, the ladder ends by the deadline, and gives no attempt less than is worth a call."""
    endpoint = Endpoint("e", "t", "d", False, (), (), (), (), 1, 1, 1, None, tuple(rungs))  # type: ignore[arg-type]
    world = World(seconds, {name: TargetFaulted("x") for name in failing})
    with contextlib.suppress(NothingServed):
        run(world, endpoint, budget_s=budget_s)
    assert world.now <= 100.0 + budget_s + 1e-9
    assert all(timeout_s >= ATTEMPT_MIN_S for _, timeout_s in world.asked)
