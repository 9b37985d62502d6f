"""How well targets are, as the whole fleet sees them: circuit breaker, shedding by tier, retry budget, latencies.

options.py    every number
counts.py     buckets of one second that all processes add to
store.py      the agreed state, and the port to what the fleet shares
breaker.py    when a circuit opens and closes          (pure)
shedding.py   how much of each tier is admitted        (pure)
retries.py    whether one more call is within budget   (pure)
latencies.py  percentiles of this process's own calls
view.py       what one process knows of one endpoint
health.py     the facade that the invocation policy asks
"""

from headrace.health.health import Health
from headrace.health.options import HealthOptions
from headrace.health.store import HealthStore
from headrace.health.view import Permit, Verdict

__all__ = ["Health", "HealthOptions", "HealthStore", "Permit", "Verdict"]
