"""How fast a batch is, when it will be done, and what it costs: pure, from counts and declared prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.batches.states import Counts
from headrace.catalog import Endpoint
from headrace.plans import Cost


@dataclass(frozen=True, slots=True)
class Estimate:
    """Records per second, seconds to the end, and what the whole costs in `unit`; None is what nobody can tell yet."""

    rate_per_s: float | None
    left_s: float | None
    unit: str = ""
    cost: int | None = None

    @property
    def document(self) -> dict[str, Any] | None:
        """The cost as callers read it, None where none is declared or known."""
        return None if self.cost is None else {"unit": self.unit, "estimate": self.cost}


def estimate(counts: Counts, *, seconds: float, endpoint: Endpoint, items_max: int = 1) -> Estimate:
    """What can be said of a batch that has run for so long.

    The cost is what its requests are charged at most: by request and item as declared, and by the second as if one
    request were always in flight. A stand-in's own price, and retries, are not in it.

    Args:
        counts: of the records that are over, and the planned total.
        seconds: since it began, or how long it ran.
        endpoint: whose prices count.
        items_max: records that travel in one request.
    """
    over = counts.results + counts.errors
    rate = over / seconds if seconds > 0 and over else None
    left = max(0, counts.total - over)
    left_s = 0.0 if not left else None if rate is None else left / rate
    whole_s = None if left_s is None else seconds + left_s
    if endpoint.cost is None:
        return Estimate(rate, left_s)
    return Estimate(rate, left_s, endpoint.cost.unit, _cost(endpoint.cost, counts.total, whole_s, items_max))


def _cost(cost: Cost, records: int, seconds: float | None, items_max: int) -> int | None:
    if cost.per_s and seconds is None:
        return None
    requests = -(-records // max(1, items_max))
    return cost.per_request * requests + cost.of(items=records, seconds=seconds or 0.0) - cost.per_request
