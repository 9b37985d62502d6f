"""What one process knows by itself: how often it sees a tenant, whether the store answers, and whom it saw last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp
from typing import Generic, TypeVar

V = TypeVar("V")

METER_S = 3.0
"""Over how long a process averages what it sees: some requests long, and short enough to forget a rush."""
DOUBLINGS_MAX = 20
STORE_PAUSE_S = 1.0
"""How long a process leaves a store alone that did not answer; every question costs a timeout."""
REFUSED_MEMORY_MAX_S = 1.0
"""A process that is refused again and again asks this seldom: a rush must not become as many writes."""
FLEET_SHARE_DEFAULT = 10
"""With the store away each process allows this fraction (one tenth) of a limit: nobody can count the processes then."""
TENANTS_MAX = 1_024
"""Tenants that one process remembers. The one seen longest ago is forgotten first; what it held is lost, not freed."""


@dataclass(slots=True)
class Meter:
    """A rate per second that decays exponentially with a time constant of `METER_S`."""

    _amount: float = 0.0
    _at: float = 0.0

    def note(self, now: float, amount: float = 1.0) -> None:
        """Something was seen."""
        self._amount = self._decayed(now) + amount
        self._at = now

    def per_s(self, now: float) -> float:
        """The rate of late; too low at first, which is the cautious side."""
        return self._decayed(now) / METER_S

    def _decayed(self, now: float) -> float:
        return self._amount * exp(-max(0.0, now - self._at) / METER_S)


@dataclass(slots=True)
class Reach:
    """Whether a store answers. While it is away it is asked again once per `STORE_PAUSE_S`, not once per request."""

    away: bool = False
    _ask_at: float = 0.0

    def lost(self, now: float) -> None:
        """It did not answer."""
        self.away = True
        self._ask_at = now + STORE_PAUSE_S

    def found(self) -> None:
        """It answered."""
        self.away = False

    def due(self, now: float) -> bool:
        """Whether to ask a store that is away again; true for one caller per pause."""
        if self._ask_at - STORE_PAUSE_S <= now < self._ask_at:  # earlier than that: the clock was set back
            return False
        self._ask_at = now + STORE_PAUSE_S
        return True


@dataclass(slots=True)
class Patience:
    """How long to take a refusal for an answer without asking again: twice as long each time in a row."""

    refusals: int = 0
    until: float = 0.0

    def refused(self, now: float, first_s: float) -> None:
        """The store said no; the first time that is believed for `first_s`."""
        self.until = now + min(first_s * 2**self.refusals, max(first_s, REFUSED_MEMORY_MAX_S))
        self.refusals = min(self.refusals + 1, DOUBLINGS_MAX)

    def granted(self) -> None:
        """The store said yes."""
        self.refusals = 0
        self.until = 0.0


@dataclass(slots=True)
class Recent(Generic[V]):
    """The values of the keys used last, at most `TENANTS_MAX`."""

    make: Callable[[], V]
    _values: OrderedDict[str, V] = field(default_factory=OrderedDict)

    def get(self, key: str) -> V:
        """The key's value, made when it is new."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        while len(self._values) >= TENANTS_MAX:
            self.forget_oldest()
        return self._values.setdefault(key, self.make())

    def oldest(self) -> V | None:
        """The value used longest ago."""
        return next(iter(self._values.values()), None)

    def forget_oldest(self) -> None:
        """Drop the value used longest ago."""
        self._values.popitem(last=False)

    def __len__(self) -> int:
        return len(self._values)
