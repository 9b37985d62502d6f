"""The ladder: the primary within its share of the deadline, then each declared stand-in, then an honest refusal.

Decides how long each attempt may take, which failures go down a rung and which end the request, and says what served
the answer. It waits for nothing itself: targets and clock arrive as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from headrace.catalog import Endpoint, Rung, Version
from headrace.deadline import Deadline
from headrace.errors import AttemptFailed, InvalidAnswer, NothingServed
from headrace.inference import InferenceRequest, InferenceResponse

T = TypeVar("T")

ATTEMPT_MIN_S = 0.02
"""Less than this is not worth a call: connecting alone takes as long."""
RESERVE_SHARE_MAX = 0.5
"""At most this share of the deadline is kept from the primary for the rungs below it."""
RETRY_AFTER_S = 2
"""An endpoint that restarts is back in seconds; callers who wait less only add load."""


class Primary(Protocol):
    """The hosted endpoint."""

    def invoke(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        binary_output: bool = False,
    ) -> InferenceResponse:
        """The answer of one version.

        Raises:
            AttemptFailed: one of its kinds.
            InvalidRequest: the model says that the caller must change the request.
        """


class StandIn(Protocol):
    """The CPU function that answers when the endpoint cannot."""

    def invoke(
        self, endpoint: Endpoint, rung: Rung, request: InferenceRequest, *, timeout_s: float
    ) -> InferenceResponse:
        """The answer of one rung; raises as `Primary.invoke` does."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One target tried: `outcome` is "served" or the failure's reason."""

    target: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value, what served it, and why that was not the primary (`degraded` is empty when it was)."""

    value: T
    served_by: str
    degraded: str
    attempts: tuple[Attempt, ...]


def predict(
    request: InferenceRequest,
    *,
    endpoint: Endpoint,
    version: Version,
    deadline: Deadline,
    read: Callable[[InferenceResponse], T],
    primary: Primary,
    stand_in: StandIn,
    clock: Callable[[], float],
    fall_back: bool = True,
    binary_output: bool = False,
) -> Answer[T]:
    """Answer a request within its deadline.

    Args:
        request: the checked tensors.
        endpoint: what is asked.
        version: which hosted version is tried first.
        deadline: when the caller must have an answer.
        read: turns a response into a value, or raises `InvalidAnswer`, which counts as a failure of its target.
        primary: the hosted endpoint.
        stand_in: the CPU function.
        clock: monotonic seconds.
        fall_back: False when the caller pinned a version: another model's answer would not be what was asked for.
        binary_output: whether raw tensors are wanted back from the primary.

    Raises:
        InvalidRequest: the model refused the input.
        NothingServed: no target answered in time.
    """
    ladder = endpoint.ladder if fall_back else ()
    attempts: list[Attempt] = []
    started = clock()
    remaining_s = deadline.remaining_s(started)
    reserve_s = min(sum(rung.timeout_ms for rung in ladder) / 1000, remaining_s * RESERVE_SHARE_MAX)
    targets: list[tuple[str, float, Callable[..., InferenceResponse]]] = [
        (
            f"{endpoint.name}/{version.name}",
            remaining_s - reserve_s,
            partial(primary.invoke, endpoint, version, request, binary_output=binary_output),
        ),
        *(
            (f"{endpoint.name}/{rung.kind}", rung.timeout_ms / 1000, partial(stand_in.invoke, endpoint, rung, request))
            for rung in ladder
        ),
    ]
    reason = ""
    for name, limit_s, call in targets:
        before = clock()
        timeout_s = min(limit_s, deadline.remaining_s(before))
        if timeout_s < ATTEMPT_MIN_S:
            reason = reason or "timeout"
            continue
        try:
            value = _read(call(timeout_s=timeout_s), read)
        except AttemptFailed as failure:
            attempts.append(Attempt(name, failure.reason, clock() - before))
            reason = reason or failure.reason
            continue
        attempts.append(Attempt(name, "served", clock() - before))
        return Answer(value, served_by=name, degraded=reason, attempts=tuple(attempts))
    raise NothingServed(
        f"No answer could be had in time ({reason}): try again after {RETRY_AFTER_S} s.",
        retry_after_s=RETRY_AFTER_S,
        attempts=tuple((attempt.target, attempt.outcome) for attempt in attempts),
    )


def _read(response: InferenceResponse, read: Callable[[InferenceResponse], T]) -> T:
    try:
        return read(response)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        # A missing output or a string among numbers: whatever its form, it is not an answer.
        raise InvalidAnswer("The answer lacks what its task promises.") from None
