"""Whether there is budget for one call more than there are requests.

Two bounds at once: a token bucket in this process (botocore's standard retry mode), and a share of the requests that
arrived in the whole fleet (Finagle's and Envoy's retry budgets). The retries that clients' SDKs make count too.
"""

from __future__ import annotations

from headrace.health.counts import Counts
from headrace.health.options import HealthOptions


def allowed(*, tokens: int, fleet: Counts, burst: Counts, own: Counts, options: HealthOptions) -> bool:
    """Whether one more retry is within the budget.

    Args:
        tokens: left in this process's bucket.
        fleet: the target's counts in the window.
        burst: those of its last seconds.
        own: this process's part of them.
        options: ratios and small-number rules.
    """
    return (
        tokens >= options.retry_cost
        and all(
            counts.retried + 1 <= max(options.retries_min, options.retry_ratio * counts.arrived)
            for counts in (fleet, burst)
        )
        and own.retried + 1 <= max(options.retries_own_min, options.retry_own_ratio * own.arrived)
    )


def hedge_allowed(*, tokens: int, fleet: Counts, burst: Counts, own: Counts, options: HealthOptions) -> bool:
    """Whether one more hedge is: it is a retry, and has a smaller share of its own."""
    return allowed(tokens=tokens, fleet=fleet, burst=burst, own=own, options=options) and fleet.hedged + 1 <= max(
        options.hedges_min, options.hedge_ratio * fleet.arrived
    )
