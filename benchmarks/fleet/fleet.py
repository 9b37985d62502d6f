"""A Lambda function's containers: one request each at a time, frozen in between, the most recently used one first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

from benchmarks.fleet.calls import GARBAGE, Upstream
from benchmarks.fleet.engine import Engine
from benchmarks.fleet.store import Store
from benchmarks.fleet.values import Ask, Books, ContainerPolicy, Fleetwide, Reply, Surroundings
from headrace.steps import Outcomes, Pause, Race, Steps

BACKGROUND_MAX = 64
"""Tasks that wait in one container, as in the real one."""


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


class Container:
    """One execution environment. `debt_s` is time that store calls took and the steps have not waited for yet."""

    def __init__(
        self, engine: Engine, store: Store, books: Books, *, name: str, policy: Fleetwide, seed: Random
    ) -> None:
        self._engine = engine
        self._store = store
        self._books = books
        self._tasks: deque[Callable[[], None]] = deque()
        self._task_due = False
        self._in_task = False
        self.debt_s = 0.0
        self.idle_since_s = 0.0
        self.busy = False
        self.dead = False
        self.policy: ContainerPolicy = policy.container(
            Surroundings(
                name=name,
                clock=self.clock,
                wall=self.wall,
                uniform=seed.random,
                background=self,
                cross=self.cross,
                store_away=lambda: store.away,
            )
        )

    def clock(self) -> float:
        """Virtual time as this container sees it."""
        return self._engine.now + self.debt_s

    def wall(self) -> float:
        """The same in seconds since 1970."""
        return self._engine.wall() + self.debt_s

    def cross(self) -> None:
        """Go to the store: in the background its time is nobody's, otherwise the request's."""
        if self._in_task:
            self._books.store_background += 1
            self._store.check()
            return
        self._books.store_foreground += 1
        self.debt_s += self._store.takes_s()
        self._store.check()

    def submit(self, task: Callable[[], None]) -> bool:
        """See `headrace.background.Background`."""
        if len(self._tasks) >= BACKGROUND_MAX:
            return False
        self._tasks.append(task)
        self.thaw()
        return True

    def thaw(self) -> None:
        """Go on with background work, which takes the time of a store call per task."""
        if self._tasks and not self._task_due and self.busy:
            self._task_due = True
            self._engine.after(self.debt_s + self._store.takes_s(), self._work)

    def _work(self) -> None:
        self._task_due = False
        if not self.busy or self.dead:
            return  # frozen in the middle of it: it is done when the next request thaws the container
        task = self._tasks.popleft()
        owed_s, self.debt_s, self._in_task = self.debt_s, 0.0, True
        with suppress(Exception):
            task()
        self.debt_s, self._in_task = owed_s, False
        self.thaw()


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
        "_answer", "_ask", "_began_s", "_books", "_container", "_crash", "_engine", "_fleet", "_steps", "_upstream"
    )  # fmt: skip

    def __init__(self, fleet: Fleet, container: Container, ask: Ask, answer: Callable[[Reply], None]) -> None:
        self._fleet = fleet
        self._container = container
        self._ask = ask
        self._answer = answer
        self._engine, self._upstream, self._books = fleet.parts
        self._began_s = -1.0

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
            self._books.admitted.append((self._ask.tenant, self._ask.plan, self._began_s, self._engine.now))
        self._fleet.release(self._container)
        self._answer(replace(reply, kind="wrong") if reply.response is GARBAGE else reply)

    def _die(self) -> None:
        """The container is killed right after it sent a call: nothing is settled, and the caller sees a 502."""
        self._container.dead = True
        self._books.crashes += 1
        self._end(Reply("failed"))
