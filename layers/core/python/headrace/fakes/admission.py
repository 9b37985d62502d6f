"""Admission's stores in memory: the same contract as the tables, for tests, simulations and first steps.

Each can be `down`, and each can lose its answer: `deaf` makes it do what it is told and raise all the same, as a table
does whose answer comes too late.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from headrace.admission.gcra import Bucket, Payment, pay
from headrace.admission.ledger import Charge, Ledger
from headrace.admission.shelf import Room, Shelf, expired, in_use
from headrace.errors import StoreUnavailable


@dataclass(slots=True)
class _Store:
    down: bool = False
    deaf: bool = False
    calls: int = 0
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)
    """One action at a time; a `threading.Lock` where threads share the store."""

    def _begin(self) -> None:
        self.calls += 1
        if self.down:
            raise StoreUnavailable("The fake is down.")

    def _end(self) -> None:
        if self.deaf:
            raise StoreUnavailable("The fake did it and does not say so.")


@dataclass(slots=True)
class FakeRateStore(_Store):
    """Theoretical arrival times by bucket. See `headrace.admission.rates.RateStore`."""

    tats: dict[str, int] = field(default_factory=dict)

    def take(self, bucket: Bucket, *, permits: int, now_us: int, seen_us: int) -> Payment:
        """See `RateStore.take`."""
        del seen_us
        with self.lock:
            self._begin()
            payment = pay(bucket, tat_us=self.tats.get(bucket.key, 0), permits=permits, now_us=now_us)
            self.tats[bucket.key] = payment.tat_us
            self._end()
            return payment


@dataclass(slots=True)
class FakeSlotStore(_Store):
    """Slots by shelf. See `headrace.admission.shelf.SlotStore`."""

    shelves: dict[str, dict[str, int]] = field(default_factory=dict)

    def acquire(self, shelf: Shelf, name: str, *, until: int, now: float) -> Room:
        """See `SlotStore.acquire`."""
        with self.lock:
            self._begin()
            slots = self.shelves.setdefault(shelf.key, {})
            if len(slots) >= shelf.limit:
                for gone in expired(slots, now):
                    del slots[gone]
            taken = len(slots) < shelf.limit
            if taken:
                slots[name] = until
            self._end()
            return Room(taken, in_use(slots, now), min(slots.values(), default=0))

    def extend(self, shelf: Shelf, name: str, *, until: int, now: float) -> Room:
        """See `SlotStore.extend`."""
        with self.lock:
            self._begin()
            slots = self.shelves.get(shelf.key, {})
            longer = name in slots and slots[name] < until
            if longer:
                slots[name] = until
            self._end()
            return Room(longer, in_use(slots, now))

    def release(self, shelf: Shelf, name: str) -> None:
        """See `SlotStore.release`."""
        with self.lock:
            self._begin()
            self.shelves.get(shelf.key, {}).pop(name, None)
            self._end()


@dataclass(slots=True)
class FakeBudgetStore(_Store):
    """Units used by ledger. See `headrace.admission.ledger.BudgetStore`."""

    used: dict[str, int] = field(default_factory=dict)

    def charge(self, ledger: Ledger, *, units: int) -> Charge:
        """See `BudgetStore.charge`."""
        with self.lock:
            self._begin()
            used = self.used.get(ledger.key, 0)
            charged = used + units <= ledger.amount
            self.used[ledger.key] = used + units * charged
            self._end()
            return Charge(charged, self.used[ledger.key])

    def give_back(self, ledger: Ledger, *, units: int) -> None:
        """See `BudgetStore.give_back`."""
        with self.lock:
            self._begin()
            self.used[ledger.key] = max(0, self.used.get(ledger.key, 0) - units)
            self._end()
