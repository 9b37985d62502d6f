"""What a container's steps do to the world: calls that end by an answer or by their timeout, races, and their cost."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmarks.fleet.endpoint import Endpoint, Result
from benchmarks.fleet.engine import Engine
from benchmarks.fleet.values import COST, Ask, Books, Spent
from headrace.errors import AttemptFailed, AttemptTimedOut, TargetSaturated, TargetUnavailable
from headrace.inference import InferenceResponse, Tensor
from headrace.invocation.steps import Call, Outcome, Outcomes, Race, Target

ANSWER = InferenceResponse((Tensor("score", "FP32", (1,), [0.5]),))
GARBAGE = InferenceResponse((Tensor("score", "FP32", (1,), [math.nan]),))

Deliver = Callable[[Outcomes], None]


class Upstream:
    """Both targets, with the world's accounts of every call."""

    def __init__(
        self, engine: Engine, *, primary: Endpoint, stand_in: Endpoint, books: Books, states_deadline: bool
    ) -> None:
        self._engine = engine
        self._primary = primary
        self._stand_in = stand_in
        self._books = books
        self._states_deadline = states_deadline

    def call(self, step: Call, ask: Ask, deliver: Deliver) -> None:
        """Perform a call; its one outcome is delivered when it has ended."""
        _Flight(self, step, ask, lambda flight: deliver((flight.outcome(),))).take_off()

    def race(self, step: Race, ask: Ask, deliver: Deliver) -> None:
        """Perform a race; the winner's outcome comes first, and the loser is cancelled at that moment."""
        flights: list[_Flight] = []

        def landed(flight: _Flight) -> None:
            others = [other for other in flights if other is not flight]
            if flight.failure is None or all(other.over for other in others):
                for other in others:
                    other.cancel()
                deliver((flight.outcome(), *(other.outcome() for other in others)))

        def hedge() -> None:
            if not flights[0].over and step.may_start():
                again = Call(step.call.target, step.call.timeout_s - step.after_s)
                flights.append(_Flight(self, again, ask, landed, second=True))
                flights[1].take_off()

        flights.append(_Flight(self, step.call, ask, landed))
        self._engine.after(step.after_s, hedge)
        flights[0].take_off()

    def send(self, target: Target, done: Callable[[Result], None], *, timeout_s: float) -> None:
        """Put a call on the wire."""
        until_s = self._engine.now + timeout_s if self._states_deadline else math.inf
        (self._primary if target.kind == "primary" else self._stand_in).call(done, until_s=until_s)

    @property
    def engine(self) -> Engine:
        """Virtual time."""
        return self._engine

    @property
    def books(self) -> Books:
        """The world's accounts."""
        return self._books


class _Flight:
    """One call on its way. The first of answer, timeout and cancellation ends it."""

    __slots__ = (
        "_ask", "_call", "_landed", "_second", "_sent_s", "_upstream",
        "cancelled", "failure", "over", "response", "seconds",
    )  # fmt: skip

    def __init__(
        self, upstream: Upstream, call: Call, ask: Ask, landed: Callable[[_Flight], None], *, second: bool = False
    ) -> None:
        self._upstream = upstream
        self._second = second
        self._call = call
        self._ask = ask
        self._landed = landed
        self._sent_s = 0.0
        self.over = self.cancelled = False
        self.seconds = 0.0
        self.failure: AttemptFailed | None = None
        self.response: InferenceResponse | None = None

    def take_off(self) -> None:
        """Send it."""
        self._sent_s = self._upstream.engine.now
        self._upstream.send(self._call.target, self._done, timeout_s=self._call.timeout_s)
        self._upstream.engine.after(self._call.timeout_s, self._timed_out)

    def outcome(self) -> Outcome:
        """What the policy is told."""
        return Outcome(
            self._call.target, self.seconds, response=self.response, failure=self.failure, cancelled=self.cancelled,
            second=self._second,
        )  # fmt: skip

    def cancel(self) -> None:
        """Nobody waits any more."""
        if not self.over:
            self.cancelled = True
            self._end(useful=True)

    def _done(self, result: Result) -> None:
        if self.over:
            return
        if result == "failed":
            self.failure = TargetUnavailable("The endpoint is down.")
        elif result == "saturated":
            self.failure = TargetSaturated("The endpoint has no room.")
        else:
            self.response = GARBAGE if result == "garbage" else ANSWER
        self._end(useful=result == "good")
        self._landed(self)

    def _timed_out(self) -> None:
        if not self.over:
            self.failure = AttemptTimedOut("No answer in time.")
            self._end(useful=False)
            self._landed(self)

    def _end(self, *, useful: bool) -> None:
        self.over = True
        self.seconds = self._upstream.engine.now - self._sent_s
        books = self._upstream.books
        if self._call.target.kind != "primary":
            return  # what the stand-in costs is its Lambda time; the plans' budgets are in GPU time
        books.upstream.append((self._sent_s, useful))
        if not self.cancelled:
            units = COST.of(items=1, seconds=self.seconds)
            books.spent.append(Spent(self._ask.tenant, self._ask.plan, self._sent_s, units))
