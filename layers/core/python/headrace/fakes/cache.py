"""The store that processes share, in memory. See `headrace.cache.answers.CacheStore`."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.cache.entries import Entry
from headrace.errors import StoreUnavailable


@dataclass(slots=True)
class FakeCacheStore:
    """Entries and leases in dicts; while `down`, nothing answers."""

    entries: dict[str, Entry] = field(default_factory=dict)
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    down: bool = False

    def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        self._answer()
        return self.entries.get(key)

    def put(self, key: str, entry: Entry, *, expires_at: float) -> None:
        """Keep an entry; nothing here is ever forgotten, which the contract allows."""
        del expires_at
        self._answer()
        self.entries[key] = entry

    def lease(self, key: str, *, holder: str, now: float, until: float) -> bool:
        """Take or give back a lease."""
        self._answer()
        holder_now, until_now = self.leases.get(key, (holder, now))
        if holder_now != holder and until_now > now:
            return False
        self.leases[key] = (holder, until)
        return True

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")
