"""What tenants are granted: plans with their tier and limits, and what a request costs in compute units."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

Unit = Literal["gpu_ms", "tokens", "micro_usd"]
"""GPU-milliseconds, tokens, or millionths of a US dollar."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests: `per_s` sustained, and `burst` at once after a pause."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Budget:
    """Compute units per window of `window_s` seconds, counted from the epoch (86,400 is a day in UTC)."""

    unit: Unit
    amount: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the tenants of one plan may use together, each for itself.

    `tier` orders plans under overload: 0 is turned away first. An endpoint that counts in a unit for which the plan has
    no budget is not bounded by one.
    """

    name: str
    tier: int
    concurrency: int
    rate: Rate
    budgets: tuple[Budget, ...] = ()

    def budget(self, unit: Unit) -> Budget | None:
        """The budget in this unit, if there is one."""
        return next((budget for budget in self.budgets if budget.unit == unit), None)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one attempt costs: `per_request` + `per_item` times items + `per_s` times the seconds that it took."""

    unit: Unit
    per_request: int = 0
    per_item: int = 0
    per_s: int = 0

    def of(self, *, items: int, seconds: float) -> int:
        """Units, rounded up: a part of a unit is never free."""
        return self.per_request + self.per_item * items + ceil(self.per_s * max(0.0, seconds))
