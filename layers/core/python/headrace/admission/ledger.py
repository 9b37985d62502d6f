"""Where a tenant's budget is counted: ledgers, each one number in a store, and what a store of them must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headrace.plans import Budget, Unit


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one tenant may use in one unit in one window, which starts at `start` (seconds since the epoch)."""

    tenant: str
    unit: Unit
    window_s: int
    start: int
    amount: int

    @property
    def key(self) -> str:
        """Its name in a store; tenants have no `#` in theirs, so that no two ledgers share one."""
        return f"budget#{self.tenant}#{self.unit}#{self.window_s}#{self.start}"

    @property
    def end(self) -> int:
        """When the window is over, in seconds since the epoch."""
        return self.start + self.window_s


@dataclass(frozen=True, slots=True)
class Charge:
    """What a ledger answered: whether the units were charged, and `used` afterwards."""

    charged: bool
    used: int


class BudgetStore(Protocol):
    """One number per ledger, changed atomically, never above the ledger's amount."""

    def charge(self, ledger: Ledger, *, units: int) -> Charge:
        """Charge all of `units`, or nothing when they do not fit.

        Raises:
            StoreUnavailable: nobody knows whether they were charged; the caller takes them for lost.
        """

    def give_back(self, ledger: Ledger, *, units: int) -> None:
        """Take back units that were charged and not spent. The caller never sends it twice.

        Raises:
            StoreUnavailable: nobody knows whether they were given back; the caller takes them for spent.
        """


def ledger_of(tenant: str, budget: Budget, now: float) -> Ledger:
    """The ledger of the window that `now` lies in; windows are counted from the epoch."""
    return Ledger(tenant, budget.unit, budget.window_s, int(now // budget.window_s) * budget.window_s, budget.amount)
