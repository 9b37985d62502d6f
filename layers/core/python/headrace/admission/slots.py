"""A process's side of a tenant's concurrency: one slot per request at work, never more of them than the plan allows.

A slot has an expiry, so that a process that dies gives its slots back without anybody's help. While the tenant is far
from its limit a process keeps a slot for the tenant's next request; near the limit it takes and frees one per request.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import ceil
from typing import Any
from zlib import crc32

from headrace.admission.process import FLEET_SHARE_DEFAULT, Meter, Patience, Reach, Recent
from headrace.admission.shelf import Room, Shelf, SlotStore, shelves
from headrace.background import Background
from headrace.errors import LimitExceeded, StoreUnavailable

SLOT_KEEP_S = 5.0
"""How long past its request's end a slot is good for others of the tenant."""
KEEP_MIN_PER_S = 0.4
"""A process that sees a tenant less often than this gives its slot back. One request alone is a third per second."""
FULL_MEMORY_S = 0.05
"""How long a process takes "full" for an answer at first; some request is over soon."""
RETRY_AFTER_MIN_S, RETRY_AFTER_MAX_S = 0.5, 5.0
UNTIL_MAX_S = 900.0
"""No request lasts longer (a Lambda function's longest life), so no slot is held longer."""


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one request. `shelf` is None when the store was away and the place is this process's own."""

    name: str
    until: int
    shelf: Shelf | None = None
    asked_s: float = 0.0


@dataclass(slots=True)
class _Tenant:
    free: list[Slot] = field(default_factory=list)
    busy: int = 0
    shard: int = -1
    crowded: bool = True
    patience: Patience = field(default_factory=Patience)
    asking: bool = False
    meter: Meter = field(default_factory=Meter)


class Slots:
    """Takes slots for this process's requests. `lock` guards its own numbers and is never held over a call."""

    def __init__(
        self,
        store: SlotStore,
        *,
        background: Background,
        wall: Callable[[], float],
        holder: str,
        lock: AbstractContextManager[Any],
    ) -> None:
        self._store = store
        self._background = background
        self._wall = wall
        self._holder = holder
        self._lock = lock
        self._tenants: Recent[_Tenant] = Recent(_Tenant)
        self._reach = Reach()
        self._names = count()

    def take(self, tenant: str, limit: int, *, until_s: float) -> Slot:
        """A slot for one request that is over by `until_s`.

        Raises:
            LimitExceeded: none is free; `retry_after_s` is an estimate.
        """
        now = self._wall()
        until_s = min(until_s, now + UNTIL_MAX_S)
        with self._lock:
            own = self._tenants.get(tenant)
            own.meter.note(now)
            if own.shard < 0:
                own.shard = crc32(f"{self._holder}#{tenant}".encode())
            own.free = [slot for slot in own.free if slot.until > now]
            kept = max(own.free, key=lambda slot: slot.until, default=None)
            if kept is not None:
                own.free.remove(kept)
            own.busy += 1
        try:
            slot = self._lasting(own, kept, until_s) or self._ask(own, tenant, limit, until_s, now)
        except LimitExceeded:
            with self._lock:
                own.busy -= 1
            raise
        slot.asked_s = until_s - now
        return slot

    def give_back(self, tenant: str, slot: Slot) -> None:
        """The request is over: the slot waits for the tenant's next one, or is freed."""
        now = self._wall()
        with self._lock:
            own = self._tenants.get(tenant)
            own.busy = max(0, own.busy - 1)
            if slot.shelf is None:
                return
            crowded, seldom = own.crowded, own.meter.per_s(now) < KEEP_MIN_PER_S
            if not crowded:
                own.free.append(slot)
            else:
                own.patience.granted()
        if crowded:
            # Others of the tenant may wait for it: not left to a background that may be frozen after the answer.
            self._release(slot)
        elif seldom:
            self._background.submit(partial(self._release_if_free, own, slot))
        elif slot.until - now < slot.asked_s + SLOT_KEEP_S / 2:
            # The next request will ask for as long as this one did.
            until = ceil(now + slot.asked_s + SLOT_KEEP_S)
            self._background.submit(partial(self._extend, own, slot, until))

    def _lasting(self, own: _Tenant, slot: Slot | None, until_s: float) -> Slot | None:
        """The kept slot, made to last for this request; None when it cannot."""
        if slot is None or slot.until >= until_s:
            return slot
        if not self._reach.away:
            self._extend(own, slot, ceil(until_s + SLOT_KEEP_S))
        return slot if slot.until >= until_s else None

    def _ask(self, own: _Tenant, tenant: str, limit: int, until_s: float, now: float) -> Slot:
        if not self._reach.away:
            if now < own.patience.until:
                raise _refused(RETRY_AFTER_MIN_S)
            with suppress(StoreUnavailable):
                return self._acquire(own, tenant, limit, until_s, now)
        with self._lock:
            fits = own.busy <= max(1, limit // FLEET_SHARE_DEFAULT)
            ask = not own.asking and self._reach.due(now)
            own.asking = own.asking or ask
        if ask and not self._background.submit(partial(self._look, own, tenant, limit)):
            own.asking = False
        if not fits:
            raise _refused(RETRY_AFTER_MIN_S)
        return Slot("", ceil(until_s))

    def _acquire(self, own: _Tenant, tenant: str, limit: int, until_s: float, now: float) -> Slot:
        """A slot of the shelf used last, or of one other when that is full."""
        room = Room(taken=False, size=0)
        all_shelves = shelves(tenant, limit)
        for _ in range(min(2, len(all_shelves))):
            shelf = all_shelves[own.shard % len(all_shelves)]
            slot = Slot(f"{self._holder}.{next(self._names)}", ceil(until_s + SLOT_KEEP_S), shelf)
            try:
                room = self._store.acquire(shelf, slot.name, until=slot.until, now=now)
            except StoreUnavailable:
                self._reach.lost(now)
                raise
            self._reach.found()
            own.crowded = room.size * 2 >= shelf.limit
            if room.taken:
                own.patience.granted()
                return slot
            own.shard = shelf.shard + 1
        own.patience.refused(now, FULL_MEMORY_S)
        raise _refused(min(max(room.first_until - now, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S))

    def _look(self, own: _Tenant, tenant: str, limit: int) -> None:
        """Whether the store is back: a slot of it is kept for the next request."""
        try:
            now = self._wall()
            slot = self._acquire(own, tenant, limit, now, now)
            with self._lock:
                own.free.append(slot)
        finally:
            own.asking = False

    def _extend(self, own: _Tenant, slot: Slot, until: int) -> None:
        if slot.shelf is None:
            return
        try:
            room = self._store.extend(slot.shelf, slot.name, until=until, now=self._wall())
        except StoreUnavailable:
            self._reach.lost(self._wall())
            return
        if room.taken:
            own.crowded = room.size * 2 >= slot.shelf.limit
            slot.until = max(slot.until, until)

    def _release_if_free(self, own: _Tenant, slot: Slot) -> None:
        """A request of the same process may have taken it in the meantime."""
        with self._lock:
            free = slot in own.free
            if free:
                own.free.remove(slot)
        if free:
            self._release(slot)

    def _release(self, slot: Slot) -> None:
        if slot.shelf is None or self._reach.away:
            return  # it expires
        try:
            self._store.release(slot.shelf, slot.name)
        except StoreUnavailable:
            self._reach.lost(self._wall())


def _refused(retry_after_s: float) -> LimitExceeded:
    return LimitExceeded(
        "Too many requests of this plan are at work: send the next one when an answer has come.",
        code="concurrency_exceeded",
        retry_after_s=retry_after_s,
    )
