"""What the invocation policy asks the outside world to do, as values: whoever runs it decides what time is.

The policy is a generator that yields steps and is sent their outcomes. A Lambda function performs them with threads and
sockets; the fleet simulation performs the same ones on virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, TypeVar

from headrace.errors import AttemptFailed
from headrace.inference import InferenceResponse

T = TypeVar("T")

Kind = Literal["primary", "variant", "cpu", "rules"]


@dataclass(frozen=True, slots=True)
class Target:
    """Something that can answer: a hosted version (`primary`, `variant`), or a rung of the stand-in function."""

    endpoint: str
    kind: Kind
    version: str = ""

    @property
    def name(self) -> str:
        """As answers and logs call it: `<endpoint>/<version>`, or `<endpoint>/<kind>` for the stand-in function."""
        return f"{self.endpoint}/{self.version if self.hosted else self.kind}"

    @property
    def hosted(self) -> bool:
        """Whether it runs on the endpoint's instances."""
        return self.kind in {"primary", "variant"}

    @property
    def watched_as(self) -> str:
        """The name under which its health is kept: what stands before the slash shares capacity."""
        return self.name if self.hosted else f"{self.endpoint}.{self.kind}/{self.kind}"


@dataclass(frozen=True, slots=True)
class Call:
    """Ask a target once, for at most `timeout_s`."""

    target: Target
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Race:
    """Ask; when there is no answer after `after_s`, ask the same once more. The first good answer wins.

    `may_start` is asked at that moment, and not before: a hedge is paid for when it is sent.
    """

    call: Call
    after_s: float
    may_start: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


Step = Call | Race | Pause


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call: a response or a failure, and how long it took.

    `cancelled` is the loser of a race: nobody knows how it would have ended. `second` says that it was the hedge.
    """

    target: Target
    seconds: float
    response: InferenceResponse | None = None
    failure: AttemptFailed | None = None
    cancelled: bool = False
    second: bool = False


Outcomes = tuple[Outcome, ...]
"""One for a `Call`, one or two for a `Race` (the winner first), none for a `Pause`."""

Steps = Generator[Step, Outcomes, T]


def run(steps: Steps[T], *, perform: Callable[[Step], Outcomes]) -> T:
    """Drive a policy to its end, performing its steps one after the other.

    Raises:
        Exception: whatever the policy raises; what `perform` raises is thrown into it where it waits.
    """
    try:
        step = next(steps)
        while True:
            try:
                outcomes = perform(step)
            except Exception as error:  # noqa: BLE001 - the policy settles what it holds, and raises it again
                step = steps.throw(error)
            else:
                step = steps.send(outcomes)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()  # after an interrupt it still waits, and holds what it took
