"""Users: when they arrive, what their SDK does when it gets no answer, and when they have lost patience.

The SDK's rules are those of openai-python: up to `retries` more tries after a refusal or failure; `Retry-After` is
obeyed up to a minute, otherwise 0.5 s doubling to 8 s less up to a quarter; `x-should-retry: false` ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.fleet.engine import Engine
from benchmarks.fleet.values import Ask, Books, Kind, Reply, UserCall
from headrace.plans import Plan

RETRY_AFTER_MAX_S = 60.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 8.0
JITTER = 0.25


@dataclass(frozen=True, slots=True)
class Crowd:
    """Tenants of one plan that behave alike.

    Args:
        plan: what they may use.
        tenants: how many there are; each arrival is one of them by chance.
        per_s: arrivals per second of all of them together (Poisson).
        swings: `(from_s, until_s, factor)`: times at which `per_s` is multiplied.
        bursts: `(at_s, count)`: users who all come at the same moment.
    """

    plan: Plan
    tenants: int
    per_s: float
    swings: tuple[tuple[float, float, float], ...] = ()
    bursts: tuple[tuple[float, int], ...] = ()

    def rate(self, now_s: float) -> float:
        """Arrivals per second at a moment."""
        return self.per_s * next((factor for start, end, factor in self.swings if start <= now_s < end), 1.0)

    @property
    def rate_max(self) -> float:
        """The highest that `rate` becomes."""
        return self.per_s * max((1.0, *(factor for _, _, factor in self.swings)))


class Clients:
    """All users of a scenario. `submit` is the way to the fleet."""

    def __init__(
        self, engine: Engine, crowds: tuple[Crowd, ...], *, deadline_s: float, retries: int, until_s: float,
        submit: Callable[[Ask, Callable[[Reply], None]], None], books: Books, arrivals: list[Random], random: Random,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._deadline_s = deadline_s
        self._retries = retries
        self._until_s = until_s
        self._submit = submit
        self._books = books
        self._random = random
        for crowd, stream in zip(crowds, arrivals, strict=True):
            self._arrive_later(crowd, stream)
            for at_s, count in crowd.bursts:
                engine.after(at_s, lambda crowd=crowd, stream=stream, count=count: self._burst(crowd, stream, count))  # type: ignore[misc]

    def _arrive_later(self, crowd: Crowd, stream: Random) -> None:
        """The next arrival of a Poisson process whose rate changes, by thinning (Lewis and Shedler, 1979)."""
        wait_s = stream.expovariate(crowd.rate_max)
        if self._engine.now + wait_s < self._until_s:
            self._engine.after(wait_s, lambda: self._arrive(crowd, stream))

    def _arrive(self, crowd: Crowd, stream: Random) -> None:
        if stream.random() * crowd.rate_max < crowd.rate(self._engine.now):
            self._come(crowd, stream)
        self._arrive_later(crowd, stream)

    def _burst(self, crowd: Crowd, stream: Random, count: int) -> None:
        for _ in range(count):
            self._come(crowd, stream)

    def _come(self, crowd: Crowd, stream: Random) -> None:
        call = UserCall(f"{crowd.plan.name}-{stream.randrange(crowd.tenants)}", crowd.plan, self._engine.now)
        self._books.calls.append(call)
        self._engine.after(self._deadline_s, lambda: self._end(call, "failed"))
        self._try(call)

    def _try(self, call: UserCall) -> None:
        if call.kind is not None:
            return
        call.tries += 1
        ask = Ask(call.tenant, call.plan, call.arrived_s + self._deadline_s, retry=call.tries > 1)
        self._submit(ask, lambda reply: self._hear(call, reply))

    def _hear(self, call: UserCall, reply: Reply) -> None:
        if call.kind is not None:
            return  # too late: the user has gone
        if reply.kind in {"primary", "degraded", "wrong"} or reply.final or call.tries > self._retries:
            self._end(call, reply.kind)
            return
        wait_s = reply.retry_after_s
        if not 0 < wait_s <= RETRY_AFTER_MAX_S:
            wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** (call.tries - 1)) * (1 - JITTER * self._random.random())
        if self._engine.now + wait_s >= call.arrived_s + self._deadline_s:
            self._end(call, reply.kind)
            return
        self._engine.after(wait_s, lambda: self._try(call))

    def _end(self, call: UserCall, kind: Kind) -> None:
        if call.kind is None:
            call.kind = kind
            call.ended_s = self._engine.now
