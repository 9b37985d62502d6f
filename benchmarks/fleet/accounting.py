"""The world's exact accounts: by how much were limits really exceeded, whatever the policy believed? Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.fleet.engine import EPOCH_S
from benchmarks.fleet.values import Spent
from headrace.plans import Plan

Admitted = tuple[str, Plan, float, float]
"""Tenant, plan, when admitted, when over."""


def rate_excess(times_s: Sequence[float], *, per_s: float, burst: int) -> int:
    """Requests above `burst + per_s * length` in the worst window of any length.

    Args:
        times_s: when requests were admitted, in order.
        per_s: what is granted for long.
        burst: what is granted at once.
    """
    worst, lowest = 0.0, float("inf")
    for count, time_s in enumerate(times_s):
        above = count - per_s * time_s
        lowest = min(lowest, above)
        worst = max(worst, above - lowest + 1)
    return max(0, int(worst - burst + 1e-6))


def concurrency_excess(spans_s: Iterable[tuple[float, float]], *, limit: int) -> int:
    """By how many the most requests at one moment exceeded the limit; one that ends makes room for one that begins."""
    changes = sorted(change for begin_s, end_s in spans_s for change in ((begin_s, 1), (end_s, -1)))
    worst = now = 0
    for _, change in changes:
        now += change
        worst = max(worst, now)
    return max(0, worst - limit)


def over_admission(admitted: Iterable[Admitted]) -> tuple[int, int]:
    """The worst excess of any tenant: requests above its rate, and above its concurrency."""
    tenants: dict[str, list[Admitted]] = defaultdict(list)
    for one in admitted:
        tenants[one[0]].append(one)
    rate = concurrency = 0
    for each in tenants.values():
        plan = each[0][1]
        rate = max(rate, rate_excess(sorted(one[2] for one in each), per_s=plan.rate.per_s, burst=plan.rate.burst))
        concurrency = max(concurrency, concurrency_excess(((one[2], one[3]) for one in each), limit=plan.concurrency))
    return rate, concurrency


def overspend(spent: Iterable[Spent]) -> int:
    """Budget units spent above the budgets, all tenants and windows together."""
    sums: dict[tuple[str, str, int], int] = defaultdict(int)
    amounts: dict[tuple[str, str, int], int] = {}
    for one in spent:
        for budget in one.plan.budgets:
            key = (one.tenant, budget.unit, int((EPOCH_S + one.sent_s) // budget.window_s))
            sums[key] += one.units
            amounts[key] = budget.amount
    return sum(max(0, total - amounts[key]) for key, total in sums.items())
