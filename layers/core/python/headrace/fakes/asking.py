"""What asks for batches, on virtual time: each request takes as long as a function says, and ends as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from headrace.errors import HeadraceError
from headrace.inference import InferenceResponse
from headrace.invocation.policy import Answer, Invocation

Respond = Callable[[Invocation[list[Any]]], tuple[float, InferenceResponse | HeadraceError]]
"""How many seconds a request takes, and how it ends."""


@dataclass(slots=True)
class FakeClock:
    """A clock that goes when somebody waits."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@dataclass(slots=True)
class FakeAsker:
    """See `headrace.batches.scoring.scorer.Asker`. A stand-in is never asked: an answer is the primary's."""

    respond: Respond
    clock: FakeClock
    fetch_s: float = 0.0
    in_flight: int = 0
    in_flight_most: int = 0
    _ends: list[tuple[float, int, Any]] = field(default_factory=list)

    def ask(self, number: int, invocation: Invocation[list[Any]]) -> None:
        """Ask, and let the answer be there after its time."""
        seconds, outcome = self.respond(invocation)
        end: Any = outcome
        if isinstance(outcome, InferenceResponse):
            name = f"{invocation.endpoint.name}/{invocation.version.name}"
            try:
                end = Answer(invocation.read(outcome), name, "", (), None)
            except HeadraceError as error:
                end = error
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        heappush(self._ends, (self.clock.now + seconds, number, end))

    def fetch(self, number: int, call: Callable[[], Any]) -> None:
        """Do it at once, and tell it later."""
        end: Any
        try:
            end = call()
        except HeadraceError as error:
            end = error
        heappush(self._ends, (self.clock.now + self.fetch_s, number, end))

    def ended(self, *, wait_s: float) -> list[tuple[int, Any]]:
        """What has ended within `wait_s`; time goes on to the first end, or by all of it."""
        if not self._ends or self._ends[0][0] > self.clock.now + wait_s:
            self.clock.now += wait_s
            return []
        self.clock.now = max(self.clock.now, self._ends[0][0])
        found = []
        while self._ends and self._ends[0][0] <= self.clock.now:
            _, number, end = heappop(self._ends)
            self.in_flight -= isinstance(end, Answer | HeadraceError)
            found.append((number, end))
        return found


@contextmanager
def fake_asker(respond: Respond, clock: FakeClock, *, fetch_s: float = 0.0) -> Iterator[FakeAsker]:
    """One for a run."""
    yield FakeAsker(respond, clock, fetch_s)


@dataclass(slots=True)
class FakeTraffic:
    """Callers who wait: so many per second, and the share of a batch's requests that is let in."""

    per_s: float = 0.0
    admitted: float = 1.0

    def arrivals_above(self, endpoint: str, tier: int, *, tier_max: int) -> float:
        """Requests per second."""
        del endpoint, tier, tier_max
        return self.per_s

    def admitted_share(self, endpoint: str, tier: int) -> float:
        """The share."""
        del endpoint, tier
        return self.admitted
