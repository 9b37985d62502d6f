"""Where a tenant's slots are kept: shelves, each one item in a store, and what a store of them must do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Protocol

SHELF_SLOTS_MAX = 100
"""Slots in one item of the store: some 4 KB, which is what four write units change."""
SHELVES_MAX = 64
SWEEP_GRACE_S = 1
"""Clocks may differ by this much before a slot is taken from somebody who still uses it."""
SWEPT_MAX = 20
"""Expired slots removed by one write; more would make its expression too long."""
REMEMBERED_MAX = 4_096
"""Tenants whose shelves are kept computed: every request needs them."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A tenant's slots, or one of the equal shares that a high limit is cut into: one item in the store."""

    tenant: str
    shard: int
    limit: int

    @property
    def key(self) -> str:
        """Its name in a store; tenants have no `#` in theirs, so that no two shelves share one."""
        return f"slots#{self.tenant}#{self.shard}"


@dataclass(frozen=True, slots=True)
class Room:
    """What a shelf answered: whether the slot was taken, slots in use on it now, and when the first one expires.

    Slots that have expired stay until their place is needed; they are not in use.
    """

    taken: bool
    size: int
    first_until: int = 0


class SlotStore(Protocol):
    """Slots by name with the second at which each expires; at no time more of them on a shelf than its limit."""

    def acquire(self, shelf: Shelf, name: str, *, until: int, now: float) -> Room:
        """Take a slot, in the place of expired ones when there is no other.

        Raises:
            StoreUnavailable: nobody knows whether it was taken; it expires.
        """

    def extend(self, shelf: Shelf, name: str, *, until: int, now: float) -> Room:
        """Make a slot last longer; not `taken` when it is gone, or lasts longer already.

        Raises:
            StoreUnavailable: no answer.
        """

    def release(self, shelf: Shelf, name: str) -> None:
        """Free a slot; one that is gone already is no error.

        Raises:
            StoreUnavailable: no answer; it expires.
        """


def expired(slots: dict[str, int], now: float) -> dict[str, int]:
    """The slots that may be removed, at most `SWEPT_MAX`."""
    gone = [(until, name) for name, until in slots.items() if until <= now - SWEEP_GRACE_S]
    return {name: until for until, name in sorted(gone)[:SWEPT_MAX]}


def in_use(slots: dict[str, int], now: float) -> int:
    """How many slots have not expired."""
    return sum(until > now - SWEEP_GRACE_S for until in slots.values())


@lru_cache(maxsize=REMEMBERED_MAX)
def shelves(tenant: str, limit: int) -> tuple[Shelf, ...]:
    """A tenant's shelves: together they have exactly `limit` slots."""
    shards = max(1, min(ceil(limit / SHELF_SLOTS_MAX), SHELVES_MAX))
    return tuple(Shelf(tenant, shard, limit // shards + (shard < limit % shards)) for shard in range(shards))
