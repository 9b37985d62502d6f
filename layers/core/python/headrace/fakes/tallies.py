"""Counts and marks in memory: the same contract as the table, for tests and simulations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import StoreUnavailable
from headrace.rollouts.counted import NOTHING, Counted


@dataclass(slots=True)
class FakeTallies:
    """See `headrace.rollouts.store.Tallies`. One object is the store of a whole fleet.

    Args:
        down: while true, nothing is done, and every call raises.
        deaf: while true, what is asked for is done, and every call raises all the same.
        meddle: called at the beginning of every call with its name; what it raises is raised.
        calls: how often each method was called, for what a request costs.
        lock: one call at a time; a `threading.Lock` where threads share the store.
    """

    down: bool = False
    deaf: bool = False
    meddle: Callable[[str], None] = lambda _: None
    calls: dict[str, int] = field(default_factory=lambda: {"write": 0, "read": 0, "mark": 0})
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)
    _items: dict[str, dict[tuple[int, str, str], Counted]] = field(default_factory=dict)
    _marks: dict[tuple[str, int, str, str], str] = field(default_factory=dict)

    def write(self, subject: str, *, stage: int, arm: str, holder: str, counted: Counted) -> None:
        """Put what this process has counted so far."""
        with self.lock:
            self._begin("write")
            items = self._items.setdefault(subject, {})
            if counted.events > items.get((stage, arm, holder), NOTHING).events:
                items[stage, arm, holder] = counted
            self._end()

    def read(self, subject: str) -> Mapping[tuple[int, str], Counted]:
        """All processes' counts added up, by stage and arm."""
        with self.lock:
            self._begin("read")
            sums: dict[tuple[int, str], Counted] = {}
            for (stage, arm, _), counted in self._items.get(subject, {}).items():
                sums[stage, arm] = sums.get((stage, arm), NOTHING).plus(counted)
            self._end()
            return sums

    def mark(self, subject: str, *, stage: int, what: str, caller: str, holder: str) -> bool:
        """Whether this caller meets `what` for the first time in this stage."""
        with self.lock:
            self._begin("mark")
            first = self._marks.setdefault((subject, stage, what, caller), holder) == holder
            self._end()
            return first

    def _begin(self, name: str) -> None:
        self.calls[name] += 1
        self.meddle(name)
        if self.down:
            raise StoreUnavailable("The fake is down.")

    def _end(self) -> None:
        if self.deaf:
            raise StoreUnavailable("The fake did it and does not say so.")
