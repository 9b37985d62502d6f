"""A process's side of a tenant's budget: units are charged before they are spent, and what was not spent goes back.

A ledger has one number, `used`: everything settled or held. It never exceeds the budget, because the only write that
raises it says so. A process charges a little ahead for a tenant it sees often (its purse) and spends that without a
call. What a process held when it died stays charged: it may have been spent. Every write is sent once and never again,
so that one whose answer got lost can only charge too much, never too little; no record of single holds is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from headrace.admission.ledger import BudgetStore, Ledger, ledger_of
from headrace.admission.process import Meter, Reach, Recent
from headrace.background import Background
from headrace.errors import LimitExceeded, StoreUnavailable
from headrace.plans import Budget

AHEAD_S = 5.0
"""A purse holds no more than the process spent for the tenant in this long,"""
AHEAD_SPENT_SHARE = 0.1
"""… than this share of what it really spent in the window,"""
KEPT_SPENT_SHARE = 0.2
"""What exceeds this share goes back. A process's death overcharges by no more than that and what was at work."""
AHEAD_REMAINING_SHARE = 0.01
"""… and than this share of what remains of the budget, so that the last units are not stranded in purses."""
IDLE_S = 5.0
"""A purse that was not used for this long is given back when the process next reserves anything."""
SHORT_MEMORY_S = 0.5
"""How long a process takes "used up" for an answer without asking again."""
CHARGES_MAX = 2
"""Writes for one reservation: with what is wanted ahead, then without."""


@dataclass(slots=True, eq=False)
class Hold:
    """Units charged for one attempt, to be settled with what it really used."""

    ledger: Ledger
    units: int
    settled: bool = False


@dataclass(slots=True)
class _Purse:
    ledger: Ledger | None = None
    left: int = 0
    spent: int = 0
    used: int = 0
    short_until: float = 0.0
    at: float = 0.0
    moving: bool = False
    meter: Meter = field(default_factory=Meter)

    def open(self, ledger: Ledger, now: float) -> None:
        """Use this ledger from now on: what is left of an earlier window is worth nothing in the next."""
        if not self.of(ledger):
            self.left = self.spent = self.used = 0
            self.short_until = 0.0
        self.ledger = ledger
        self.at = now

    def of(self, ledger: Ledger) -> bool:
        """Whether its units are of this ledger; the amount may have changed."""
        return self.ledger is not None and self.ledger.key == ledger.key

    def add(self, units: int, ledger: Ledger) -> None:
        """Keep units of this ledger; a purse that has moved on to another window has no use for them."""
        if self.of(ledger):
            self.left += units

    def ahead(self, now: float) -> int:
        """How many units this process may hold that no request asks for."""
        remaining = 0 if self.ledger is None else max(0, self.ledger.amount - self.used)
        lately = self.meter.per_s(now) * AHEAD_S
        return int(min(lately, self.spent * AHEAD_SPENT_SHARE, remaining * AHEAD_REMAINING_SHARE))


class Budgets:
    """Reserves and settles for this process's attempts. `lock` guards its own numbers, never held over a call."""

    def __init__(
        self,
        store: BudgetStore,
        *,
        background: Background,
        wall: Callable[[], float],
        lock: AbstractContextManager[Any],
    ) -> None:
        self._store = store
        self._background = background
        self._wall = wall
        self._lock = lock
        self._purses: Recent[_Purse] = Recent(_Purse)
        self._reach = Reach()

    def reserve(self, tenant: str, budget: Budget, units: int) -> Hold:
        """Charge what an attempt may use at most.

        Raises:
            LimitExceeded: it does not fit; `retry_after_s` is the end of the window.
            StoreUnavailable: nobody can say whether it fits.
        """
        now = self._wall()
        ledger = ledger_of(tenant, budget, now)
        units = max(0, units)
        if units > ledger.amount:
            raise _used_up(ledger, ledger.end)  # no window has room for it: waiting would not help
        self._give_back_idle(now)
        with self._lock:
            purse = self._purses.get(f"{tenant}#{budget.unit}")
            purse.open(ledger, now)
            if purse.left >= units:
                purse.left -= units
                return Hold(ledger, units)
            # Taken out now, so that no other thread spends it too while this one asks for the rest.
            held, purse.left = purse.left, 0
            ahead = purse.ahead(now)
            missing = units - held
            known_short = now < purse.short_until and purse.used + missing > ledger.amount
        try:
            if known_short:
                raise _used_up(ledger, now)
            extra = self._charge(purse, ledger, missing, ahead, now)
        except (LimitExceeded, StoreUnavailable):
            with self._lock:
                purse.add(held, ledger)
            raise
        with self._lock:
            purse.add(extra, ledger)
        return Hold(ledger, units)

    def settle(self, hold: Hold, units: int) -> None:
        """Return what the attempt did not use; the second time, nothing."""
        now = self._wall()
        with self._lock:
            if hold.settled:
                return
            hold.settled = True
            units = min(max(0, units), hold.units)
            purse = self._purses.get(f"{hold.ledger.tenant}#{hold.ledger.unit}")
            if purse.ledger is None:
                purse.ledger = hold.ledger
            if not purse.of(hold.ledger):
                return  # its window is over, or its plan has changed: it stays charged in full
            purse.left += hold.units - units
            purse.spent += units
            purse.meter.note(now, units)
            purse.at = now
            ahead = purse.ahead(now)
            # Charged ahead only when it saves a call: a request that finds less than it needs must ask all the same.
            target = ahead if ahead >= hold.units else 0
            if purse.moving or self._reach.away:
                return
            give = more = 0
            if purse.left > purse.spent * KEPT_SPENT_SHARE:
                give = purse.left - target
            elif purse.left < min(target, max(hold.units, target // 2)):
                more = target - purse.left
            purse.left -= give
            purse.moving = bool(give or more)
        if give:
            self._move(purse, hold.ledger, give, partial(self._store.give_back, hold.ledger, units=give))
        elif more:
            self._move(purse, hold.ledger, 0, partial(self._fill, purse, hold.ledger, more))

    def _charge(self, purse: _Purse, ledger: Ledger, units: int, ahead: int, now: float) -> int:
        """Charge `units` and if there is room `ahead` as well; the units ahead that were charged."""
        if self._reach.away and not self._reach.due(now):
            raise StoreUnavailable("The state store is away: budgets cannot be checked.")
        extra = max(0, min(ahead, ledger.amount - units))
        for _ in range(CHARGES_MAX):
            try:
                charge = self._store.charge(ledger, units=units + extra)
            except StoreUnavailable:
                self._reach.lost(now)
                raise
            self._reach.found()
            purse.used = charge.used
            if charge.charged:
                return extra
            if not extra or charge.used + units > ledger.amount:
                break
            extra = 0
        purse.short_until = now + SHORT_MEMORY_S
        raise _used_up(ledger, now)

    def _fill(self, purse: _Purse, ledger: Ledger, units: int) -> None:
        with suppress(LimitExceeded):
            self._charge(purse, ledger, units, 0, self._wall())
            with self._lock:
                purse.add(units, ledger)

    def _give_back_idle(self, now: float) -> None:
        with self._lock:
            purse = self._purses.oldest()
            if purse is None or purse.moving or self._reach.away or now - purse.at < IDLE_S:
                return
            self._purses.forget_oldest()
            ledger, units, purse.left = purse.ledger, purse.left, 0
            purse.moving = True
        if ledger is not None and units and now < ledger.end:
            self._move(purse, ledger, units, partial(self._store.give_back, ledger, units=units))

    def _move(self, purse: _Purse, ledger: Ledger, units: int, write: Callable[[], None]) -> None:
        """Write in the background; `units` go back to the purse when there is no room for the task."""

        def task() -> None:
            try:
                write()
            except StoreUnavailable:
                self._reach.lost(self._wall())
            finally:
                purse.moving = False

        if not self._background.submit(task):
            with self._lock:
                purse.add(units, ledger)
                purse.moving = False


def _used_up(ledger: Ledger, now: float) -> LimitExceeded:
    return LimitExceeded(
        f"The plan's budget in {ledger.unit} does not cover this request: it starts again with the next window.",
        code="budget_exceeded",
        retry_after_s=max(0.0, ledger.end - now),
    )
