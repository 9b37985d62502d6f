"""Virtual time: acts that wait for their moment in a heap, one after the other, and chance that can be replayed.

A library for such engines (SimPy and others) schedules processes of its own; here the processes are the policy's
generators, which yield steps of their own kind, so that what is left of an engine is a heap.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

EPOCH_S = 1_800_000_000.0
"""The wall clock at virtual time 0: a round number of minutes and hours, so that windows begin with a run."""

Act = Callable[[], None]


class Engine:
    """Virtual seconds from 0. Acts due at the same moment run in the order in which they were asked for."""

    __slots__ = ("_heap", "_turn", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Act]] = []
        self._turn = 0

    def after(self, seconds: float, act: Act) -> None:
        """Run `act` in `seconds`, which are never negative."""
        self._turn += 1
        heapq.heappush(self._heap, (self.now + seconds, self._turn, act))

    def run(self, *, until_s: float) -> None:
        """Run every act that is due by `until_s`, and end there."""
        heap = self._heap
        while heap and heap[0][0] <= until_s:
            self.now, _, act = heapq.heappop(heap)
            act()
        self.now = until_s

    def wall(self) -> float:
        """The wall clock, in seconds since 1970."""
        return EPOCH_S + self.now


def chance(seed: int, name: str) -> random.Random:
    """A stream of chance of its own for each part of the world, so that two policies meet the same arrivals."""
    return random.Random(f"{seed}/{name}")  # noqa: S311 - a simulation wants chance that repeats
