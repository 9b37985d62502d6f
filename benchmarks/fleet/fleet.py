"""A Lambda function: a container per request, the one used last comes first, and who drives a policy's steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from benchmarks.fleet.calls import GARBAGE, Upstream
from benchmarks.fleet.container import Container
from benchmarks.fleet.engine import Engine
from benchmarks.fleet.store import Store
from benchmarks.fleet.values import Ask, Books, Fleetwide, Reply
from headrace.invocation.steps import Outcomes, Pause, Race, Steps


@dataclass(frozen=True, slots=True)
class Function:
    """The function's settings on Lambda, and what it costs to run.

    Args:
        concurrency: containers that may exist.
        cold_start_s: before a new container's first request.
        own_s: the gateway's own work per request.
        reaped_s: a container that has been idle for so long is gone.
        crash_share: requests during which the container dies.
    """

    concurrency: int = 3_000
    cold_start_s: float = 0.6
    own_s: float = 0.003
    reaped_s: float = 300.0
    crash_share: float = 0.0


class Fleet:
    """Hands requests to containers and drives each policy's steps."""

    def __init__(
        self, engine: Engine, function: Function, policy: Fleetwide, *, store: Store, upstream: Upstream, books: Books,
        random: Random,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._function = function
        self._policy = policy
        self._store = store
        self._upstream = upstream
        self._books = books
        self._random = random
        self._idle: list[Container] = []
        self._alive = 0
        self._busy = 0

    def submit(self, ask: Ask, answer: Callable[[Reply], None]) -> None:
        """Serve a request; `answer` is told once."""
        self._reap()
        if self._idle:
            container, wait_s = self._idle.pop(), 0.0
        elif self._alive < self._function.concurrency:
            container, wait_s = self._start(), self._function.cold_start_s
        else:
            answer(Reply("failed"))  # Lambda throttles: 429 from the gateway in front of it
            return
        container.busy = True
        self._count(+1)
        self._engine.after(wait_s + self._function.own_s, _Job(self, container, ask, answer).begin)

    def _start(self) -> Container:
        self._alive += 1
        self._books.containers += 1
        return Container(
            self._engine, self._store, self._books, name=f"container-{self._books.containers}", policy=self._policy,
            seed=Random(self._random.getrandbits(64)),  # noqa: S311 - a simulation wants chance that repeats
        )  # fmt: skip

    def _reap(self) -> None:
        horizon_s = self._engine.now - self._function.reaped_s
        while self._idle and self._idle[0].idle_since_s < horizon_s:
            self._idle.pop(0)
            self._alive -= 1

    def _count(self, change: int) -> None:
        self._busy += change
        self._books.busy.append((self._engine.now, self._busy))

    def release(self, container: Container) -> None:
        """A request is over: the container freezes, or is gone if it died."""
        container.busy = False
        self._count(-1)
        if container.dead:
            self._alive -= 1
            return
        container.idle_since_s = self._engine.now
        self._idle.append(container)

    def crashes(self) -> bool:
        """Whether the container dies during the request that begins now."""
        share = self._function.crash_share
        return share > 0 and self._random.random() < share

    @property
    def parts(self) -> tuple[Engine, Upstream, Books]:
        """What a job works with."""
        return self._engine, self._upstream, self._books


class _Job:
    """One request in one container."""

    __slots__ = (
        "_answer", "_ask", "_began_s", "_books", "_container", "_crash", "_engine", "_fleet",
        "_over_s", "_steps", "_upstream",
    )  # fmt: skip

    def __init__(self, fleet: Fleet, container: Container, ask: Ask, answer: Callable[[Reply], None]) -> None:
        self._fleet = fleet
        self._container = container
        self._ask = ask
        self._answer = answer
        self._engine, self._upstream, self._books = fleet.parts
        self._began_s = self._over_s = -1.0

    def begin(self) -> None:
        """The container is warm and has the request."""
        self._container.thaw()
        self._crash = self._fleet.crashes()
        self._steps: Steps[Reply] = self._container.policy.serve(self._ask)
        self._advance(None)

    def _advance(self, outcomes: Outcomes | None) -> None:
        if self._container.dead:
            return
        try:
            step = next(self._steps) if outcomes is None else self._steps.send(outcomes)
        except StopIteration as end:
            reply: Reply = end.value
            owed_s = self._settle_debt()
            self._over_s = self._engine.now  # what it held of limits it gave back at this moment, not after the debt
            self._engine.after(owed_s, lambda: self._end(reply))
            return
        owed_s = self._settle_debt()
        if self._crash:
            self._engine.after(owed_s, self._die)
        if owed_s:
            self._engine.after(owed_s, lambda: self._perform(step))
        else:
            self._perform(step)

    def _settle_debt(self) -> float:
        owed_s, self._container.debt_s = self._container.debt_s, 0.0
        if self._began_s < 0:
            self._began_s = self._engine.now + owed_s
        return owed_s

    def _perform(self, step: object) -> None:
        if isinstance(step, Pause):
            self._engine.after(step.seconds, lambda: self._advance(()))
        elif isinstance(step, Race):
            self._upstream.race(step, self._ask, self._advance)
        else:
            self._upstream.call(step, self._ask, self._advance)  # type: ignore[arg-type]

    def _end(self, reply: Reply) -> None:
        if reply.kind != "limited":
            over_s = max(self._began_s, self._over_s)
            self._books.admitted.append((self._ask.tenant, self._ask.plan, self._began_s, over_s))
        self._fleet.release(self._container)
        self._answer(replace(reply, kind="wrong") if reply.response is GARBAGE else reply)

    def _die(self) -> None:
        """The container is killed right after it sent a call: nothing is settled, and the caller sees a 502."""
        self._container.dead = True
        self._over_s = self._engine.now
        self._books.crashes += 1
        self._end(Reply("failed"))
