"""The gate that every request passes: concurrency, then rate, then per attempt the budget.

A later refusal refunds the earlier steps. When the store does not answer, concurrency and rate go on by a share of the
limit that each process allows for itself; a budget refuses, because what is spent cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from headrace.admission.budgets import Budgets, Hold
from headrace.admission.ledger import BudgetStore
from headrace.admission.rates import Rates, RateStatus, RateStore
from headrace.admission.shelf import SlotStore
from headrace.admission.slots import Slot, Slots
from headrace.background import Background
from headrace.errors import LimitExceeded
from headrace.plans import Cost, Plan

__all__ = ["Admission", "Admitted", "Hold", "RateStatus"]


@dataclass(slots=True, eq=False)
class Admitted:
    """A request that is inside; `Admission.release` it when it is over."""

    tenant: str
    plan: Plan
    rate: RateStatus
    slot: Slot
    released: bool = False


class Admission:
    """One process's gate.

    Args:
        rates: where permits are paid for.
        slots: where concurrency is counted.
        budgets: where compute units are charged.
        background: renews what runs low and gives back what is left.
        wall: seconds since the epoch; the clocks of a fleet should agree within a second.
        holder: unique among the processes and short, for it is written with every slot.
        lock: guards what this process remembers, for microseconds at a time; a `threading.Lock` where requests or the
            background run in threads, `contextlib.nullcontext()` where everything runs in one.
    """

    def __init__(
        self,
        *,
        rates: RateStore,
        slots: SlotStore,
        budgets: BudgetStore,
        background: Background,
        wall: Callable[[], float],
        holder: str,
        lock: AbstractContextManager[Any],
    ) -> None:
        self._lock = lock
        self._rates = Rates(rates, background=background, wall=wall, holder=holder, lock=lock)
        self._slots = Slots(slots, background=background, wall=wall, holder=holder, lock=lock)
        self._budgets = Budgets(budgets, background=background, wall=wall, lock=lock)

    def admit(self, tenant: str, plan: Plan, *, until_s: float) -> Admitted:
        """Let a request in that is over by `until_s` (wall clock), or say when to come again.

        Raises:
            LimitExceeded: `code` says whether concurrency or rate refused.
        """
        with _told(plan.concurrency):
            slot = self._slots.take(tenant, plan.concurrency, until_s=until_s)
        try:
            with _told(plan.rate.burst):
                rate = self._rates.take(tenant, plan.rate)
        except BaseException:
            self._slots.give_back(tenant, slot)
            raise
        return Admitted(tenant, plan, rate, slot)

    def reserve(self, tenant: str, plan: Plan, cost: Cost, *, units: int) -> Hold | None:
        """Charge what one attempt may use at most; None when the plan has no budget in that unit.

        A hold needs no end: what is never settled stays charged in full, for it may have been used.

        Raises:
            LimitExceeded: the budget does not cover it; `retry_after_s` is the window's end, 0 when no window would do.
            StoreUnavailable: nobody can say whether it does.
        """
        budget = plan.budget(cost.unit)
        if budget is None:
            return None
        with _told(budget.amount):
            return self._budgets.reserve(tenant, budget, units)

    def settle(self, hold: Hold, *, units: int) -> None:
        """The attempt is over and used this much, at most what was held. Never raises; once counts."""
        self._budgets.settle(hold, units)

    def release(self, admitted: Admitted, *, unused: bool = False) -> None:
        """The request is over; `unused`: no target was asked, so its rate permit goes back. Never raises."""
        with self._lock:
            if admitted.released:
                return
            admitted.released = True
        self._slots.give_back(admitted.tenant, admitted.slot)
        if unused:
            self._rates.refund(admitted.tenant)


@contextmanager
def _told(limit: int) -> Iterator[None]:
    """A refusal says which number is used up."""
    try:
        yield
    except LimitExceeded as refusal:
        refusal.limit = limit
        raise
