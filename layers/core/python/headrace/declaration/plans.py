"""The shape of `plans.yaml`: what the tenants of each plan may use, and in which order plans are turned away."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headrace.declaration.shape import Declared, Name, Problem, Tier
from headrace.plans import Budget, Plan, Rate, Unit

PLANS_MAX = 32
RATE_MAX_PER_S = 100_000.0
RATE_MIN_PER_S = 0.001
"""86 requests a day: who needs less needs a budget."""
BURST_MAX = 100_000
CONCURRENCY_MAX = 10_000
AMOUNT_MAX = 1_000_000_000_000_000
"""Below 2^53, so that no JSON reader on the way rounds it."""
WINDOWS_S: dict[str, int] = {"hour": 3_600, "day": 86_400, "month": 2_592_000}
"""Windows are counted from the epoch, so a day is one in UTC, and a month is 30 of them."""
EXAMPLE = "plans: {standard: {tier: 5, concurrency: 64, rate: {per_second: 200, burst: 400}}}"


class RateDeclaration(Declared):
    """Requests: so many per second sustained, and so many at once after a pause."""

    per_second: Annotated[float, Field(ge=RATE_MIN_PER_S, le=RATE_MAX_PER_S, allow_inf_nan=False)]
    burst: Annotated[int, Field(ge=1, le=BURST_MAX)]


class BudgetDeclaration(Declared):
    """Compute units per hour, day or month."""

    unit: Unit
    amount: Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
    per: Literal["hour", "day", "month"]


class PlanDeclaration(Declared):
    """One plan. The lowest tier is turned away first when an endpoint is saturated."""

    tier: Tier
    concurrency: Annotated[int, Field(ge=1, le=CONCURRENCY_MAX)]
    rate: RateDeclaration
    budgets: Annotated[list[BudgetDeclaration], Field(max_length=3)] = Field(default_factory=list)


class PlansDeclaration(Declared):
    """The whole file."""

    api: Literal["headrace/v1"]
    plans: Annotated[dict[Name, PlanDeclaration], Field(min_length=1, max_length=PLANS_MAX)]

    def problems(self) -> list[Problem]:
        """Every way in which the parts contradict each other, as (path, what to do)."""
        problems: list[Problem] = []
        for name, plan in self.plans.items():
            units = [budget.unit for budget in plan.budgets]
            for index, unit in enumerate(units):
                if unit in units[:index]:
                    path = ("plans", name, "budgets", index, "unit")
                    problems.append((path, f"{unit} has a budget already: a plan has one for each unit"))
        return problems

    def compiled(self) -> dict[str, Plan]:
        """The plans by name, in the order of their names."""
        return {name: _plan(name, self.plans[name]) for name in sorted(self.plans)}


def _plan(name: str, declared: PlanDeclaration) -> Plan:
    return Plan(
        name=name,
        tier=declared.tier,
        concurrency=declared.concurrency,
        rate=Rate(declared.rate.per_second, declared.rate.burst),
        budgets=tuple(Budget(budget.unit, budget.amount, WINDOWS_S[budget.per]) for budget in declared.budgets),
    )
