"""Health shared in memory: what tests and fleet simulations use in the place of the table."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.errors import StoreUnavailable
from headrace.health import counts
from headrace.health.counts import Buckets, Second
from headrace.health.store import AS_NEW, State

SECONDS_KEPT = 120
"""As the table's time to live: older buckets are forgotten."""


@dataclass(slots=True)
class FakeHealthStore:
    """See `headrace.health.store.HealthStore`. One object is the store of a whole fleet.

    Args:
        down: while true, every call raises `StoreUnavailable`.
        calls: how often each method was called, for what a request costs.
    """

    down: bool = False
    calls: dict[str, int] = field(default_factory=lambda: {"add": 0, "read": 0, "change": 0})
    _buckets: dict[str, Buckets] = field(default_factory=dict)
    _states: dict[str, State] = field(default_factory=dict)

    def add(self, endpoint: str, second: int, counts_: Second) -> None:
        """Add to the counts of a second."""
        self._called("add")
        buckets = self._buckets.setdefault(endpoint, {})
        if second not in buckets:
            counts.drop_before(buckets, second - SECONDS_KEPT)
        counts.add(buckets, second, counts_)

    def read(self, endpoint: str, *, since: int) -> tuple[Buckets, State]:
        """The counts from `since` on, and the state."""
        self._called("read")
        buckets = self._buckets.get(endpoint, {})
        found = {second: there for second, there in buckets.items() if second >= since}
        return found, self._states.get(endpoint, AS_NEW)

    def change(self, endpoint: str, state: State) -> tuple[bool, State]:
        """Put a state in the place of the one with the version before."""
        self._called("change")
        standing = self._states.get(endpoint, AS_NEW)
        if standing.version != state.version - 1:
            return False, standing
        self._states[endpoint] = state
        return True, state

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.down:
            raise StoreUnavailable("The fake is down.")
