"""The routing documents as one process holds them: read in the background, and never given up for nothing.

A request adds no store call. What is held is looked at again every ten seconds; a process that has slept for longer, as
Lambda's do between requests, reads before it serves, so that a change is in force everywhere within half a minute. What
cannot be read or understood leaves the last good document in force: the history's newest, or the one that the process
has, or the declaration where there never was one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from headrace.background import Background
from headrace.errors import InvalidRequest
from headrace.routing.document import Routing
from headrace.routing.store import RoutingStore

REFRESH_S = 10.0
"""How old a document may be before it is read again beside the request."""
FIRST_RETRY_S = 1.0
"""The same while nothing was ever read: until then the declaration holds, and what was rolled back may be in it."""
AGE_MAX_S = 20.0
"""How old it may be before the request waits for the reading: as long as the table's own limit."""


def declared_alone(_endpoint: str) -> Routing | None:
    """What is held where there are no documents: the declaration alone decides."""
    return None


@dataclass(slots=True)
class _Held:
    """What is known of one endpoint.

    `tried_at` is the last attempt to read, `good` whether it came to something, and `known` whether any ever did.
    """

    routing: Routing | None = None
    tried_at: float = float("-inf")
    good: bool = True
    known: bool = False
    reading: bool = False


class HeldRouting:
    """See the module.

    Args:
        store: where documents are.
        background: runs what no request waits for.
        wall: seconds since the epoch; unlike a monotonic clock it goes on while the process is frozen.
        lock: held for microseconds, never around a store call. A process whose background runs on threads gives one.
    """

    def __init__(
        self,
        store: RoutingStore,
        background: Background,
        wall: Callable[[], float],
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._store = store
        self._background = background
        self._wall = wall
        self._lock = lock if lock is not None else nullcontext()
        self._endpoints: dict[str, _Held] = {}

    def of(self, endpoint: str) -> Routing | None:
        """The document in force, or None where the declaration alone decides. Never raises."""
        now = self._wall()
        held = self._endpoints.get(endpoint)
        if held is None:
            with self._lock:
                held = self._endpoints.setdefault(endpoint, _Held())
        age_s = now - held.tried_at
        if 0.0 <= age_s < (REFRESH_S if held.known else FIRST_RETRY_S):
            return held.routing
        with self._lock:
            if held.reading and age_s < AGE_MAX_S:
                return held.routing
            held.reading = True
        if age_s >= AGE_MAX_S:
            self._read(endpoint, held)
        elif not self._background.submit(lambda: self._read(endpoint, held)):
            held.reading = False
        return held.routing

    def stale(self, endpoint: str) -> bool:
        """Whether the last attempt to read the endpoint's document failed: another one may be meant to be in force."""
        held = self._endpoints.get(endpoint)
        return held is not None and not held.good

    def _found(self, endpoint: str, held: _Held) -> Routing | None:
        try:
            return self._store.read(endpoint)
        except InvalidRequest:
            # A process that starts now has no last good document, and one that slept has an old one; the history knows.
            last, _ = self._store.last_good(endpoint)
            if last is not None and (held.routing is None or last.version > held.routing.version):
                held.routing = last
            held.known = True
            raise

    def _read(self, endpoint: str, held: _Held) -> None:
        good = False
        try:
            found = self._found(endpoint, held)
            if found is not None and held.routing is not None and found.version < held.routing.version:
                # A read that lags behind, or a table that was restored: the last write tells.
                found = self._store.read(endpoint, consistent=True)
            # A document that has vanished, or is of another endpoint, is as unreadable as garbage.
            good = held.routing is None if found is None else found.endpoint == endpoint
            if good and found is not None:
                held.routing = found
        except Exception:  # noqa: BLE001, S110 - whatever stands in the table, no request may fail of it
            pass
        finally:
            with self._lock:
                held.good, held.reading, held.tried_at = good, False, self._wall()
                held.known = held.known or good
