"""What was decided about a credential a moment ago: good ones for `CACHE_TTL_S`, refused ones more briefly.

Entries are named by a SHA-256 of the whole credential: a part of one is no name (CVE-2026-35030). Good and refused
ones have room of their own, so that no flood of wrong credentials pushes the good ones out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from headrace.authentication.api_keys import CACHE_TTL_S
from headrace.errors import HeadraceError
from headrace.identity import Principal

REFUSED_TTL_S = 5.0
IN_DOUBT_TTL_S = 28.0
"""While the store cannot be asked a good decision stands this long: what was revoked must be out within 30 s."""
ENTRIES_MAX = 4096
"""Of each kind; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision: who it is, or why not. Good until `until`, in seconds since the epoch."""

    principal: Principal | None
    refusal: HeadraceError | None
    since: float
    until: float
    in_doubt_until: float = 0.0

    @classmethod
    def good(cls, principal: Principal, *, now: float, expires_at: float) -> Decided:
        """`now` is when the check began: what was revoked while it ran is not remembered for longer."""
        until, in_doubt_until = (min(now + ttl_s, expires_at) for ttl_s in (CACHE_TTL_S, IN_DOUBT_TTL_S))
        return cls(principal, None, now, until, in_doubt_until)

    @classmethod
    def refused(cls, refusal: HeadraceError, *, now: float) -> Decided:
        """A refusal that is the caller's own doing. That a store is down is never remembered."""
        return cls(None, refusal, now, now + REFUSED_TTL_S)


class Remembered:
    """Recent decisions of this process.

    Args:
        wall: seconds since the epoch. Not a monotonic clock: that may stand still while an environment is frozen, and
            a revoked credential would come back to life with it.
        lock: held for each look and each note, where there are threads.
    """

    def __init__(self, *, wall: Callable[[], float], lock: AbstractContextManager[Any] | None = None) -> None:
        self._wall = wall
        self._lock = lock or nullcontext()
        self._good: dict[bytes, Decided] = {}
        self._refused: dict[bytes, Decided] = {}

    def principal(self, name: bytes) -> Principal | None:
        """Who this credential belongs to, when that is known; None when it has to be found out.

        Raises:
            HeadraceError: the refusal that was given a moment ago.
        """
        with self._lock:
            decided = self._good.get(name) or self._refused.get(name)
        # A clock that was set back makes an entry worthless: its time would otherwise grow.
        if decided is None or not decided.since <= self._wall() < decided.until:
            return None
        if decided.refusal is not None:
            raise type(decided.refusal)(decided.refusal.message, code=decided.refusal.code)
        return decided.principal

    def in_doubt(self, name: bytes) -> Principal | None:
        """Who this credential belonged to when that could last be found out, for when it cannot be found out now."""
        with self._lock:
            decided = self._good.get(name)
        if decided is None or not decided.since <= self._wall() < decided.in_doubt_until:
            return None
        return decided.principal

    def note(self, name: bytes, decided: Decided) -> None:
        """Remember a decision in place of any earlier one."""
        with self._lock:
            self._good.pop(name, None)
            self._refused.pop(name, None)
            entries = self._refused if decided.principal is None else self._good
            while len(entries) >= ENTRIES_MAX:
                del entries[next(iter(entries))]
            entries[name] = decided
