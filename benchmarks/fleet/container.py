"""One Lambda execution environment: its policy, its clock, its background work, and what it asks of the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random

from benchmarks.fleet.engine import Engine
from benchmarks.fleet.store import Store
from benchmarks.fleet.values import Books, ContainerPolicy, Fleetwide, Surroundings

BACKGROUND_MAX = 64
"""Tasks that wait in one container, as in the real one."""


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
