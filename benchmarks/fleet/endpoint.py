"""A hosted endpoint (and the CPU stand-in): servers, a bounded queue, and what is wrong with them at the moment."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from benchmarks.fleet.engine import Engine
from benchmarks.fleet.faults import Fails, Garbage, Hangs, Slow, Spell, WarmsUp, at

NETWORK_S = 0.004
"""There and back within a region."""
REFUSED_S = 0.01
"""How long it takes to be told that the queue is full."""

Result = Literal["good", "garbage", "failed", "saturated"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """`servers` work side by side; `queue` more calls may wait; the rest is told that there is no room.

    Service times are log-normal with this median; `sigma` is the spread of their logarithm.
    """

    servers: int
    queue: int
    median_s: float
    sigma: float = 0.3

    @property
    def mean_s(self) -> float:
        """The mean service time."""
        return self.median_s * math.exp(self.sigma**2 / 2)

    @property
    def per_s(self) -> float:
        """Calls per second when every server is busy."""
        return self.servers / self.mean_s


@dataclass(slots=True, eq=False)
class Work:
    """One call as the endpoint sees it. `until_s` is when nobody waits any more, if the caller said so."""

    done: Callable[[Result], None]
    until_s: float


class Endpoint:
    """Answers calls through `done`; one that hangs is never answered, and the caller's own timeout ends it."""

    def __init__(self, engine: Engine, capacity: Capacity, spells: tuple[Spell, ...], random: Random) -> None:
        self._engine = engine
        self._capacity = capacity
        self._spells = spells
        self._random = random
        self._queue: deque[Work] = deque()
        self._busy = 0
        for spell in spells:
            if isinstance(spell.fault, WarmsUp):
                self._wake_while_warming(spell)

    def call(self, done: Callable[[Result], None], *, until_s: float) -> None:
        """Take a call.

        Args:
            done: is told what came of it, once or never.
            until_s: virtual time after which queued work is dropped; infinity when the caller does not say.
        """
        fault = at(self._spells, self._engine.now).fault
        if isinstance(fault, Hangs):
            return
        if isinstance(fault, Fails) and (fault.share >= 1 or self._random.random() < fault.share):
            self._engine.after(fault.latency_s, lambda: done("failed"))
            return
        work = Work(done, until_s)
        if self._busy < self._servers():
            self._start(work)
        elif len(self._queue) < self._capacity.queue:
            self._queue.append(work)
        else:
            self._engine.after(REFUSED_S, lambda: done("saturated"))

    def _servers(self) -> int:
        now_s = self._engine.now
        spell = at(self._spells, now_s)
        if not isinstance(spell.fault, WarmsUp):
            return self._capacity.servers
        share = spell.fault.share + (1 - spell.fault.share) * (now_s - spell.start_s) / (spell.end_s - spell.start_s)
        return max(1, int(self._capacity.servers * share))

    def _start(self, work: Work) -> None:
        self._busy += 1
        seconds = self._capacity.median_s * math.exp(self._random.gauss(0.0, self._capacity.sigma))
        fault = at(self._spells, self._engine.now).fault
        if isinstance(fault, Slow):
            seconds *= fault.factor
        self._engine.after(seconds + NETWORK_S, lambda: self._finish(work))

    def _finish(self, work: Work) -> None:
        self._busy -= 1
        fault = at(self._spells, self._engine.now).fault
        if isinstance(fault, Garbage):
            work.done("garbage")
        elif isinstance(fault, Fails) and fault.share >= 1:
            work.done("failed")
        elif not isinstance(fault, Hangs):
            work.done("good")
        self._feed()

    def _feed(self) -> None:
        while self._queue and self._busy < self._servers():
            work = self._queue.popleft()
            if work.until_s > self._engine.now:
                self._start(work)

    def _wake_while_warming(self, spell: Spell) -> None:
        """Servers that become ready take waiting work themselves, not only when another call ends."""
        for turn in range(self._capacity.servers + 1):
            moment = spell.start_s + (spell.end_s - spell.start_s) * turn / self._capacity.servers
            self._engine.after(max(0.0, moment - self._engine.now), self._feed)
