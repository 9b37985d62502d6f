"""Idempotency records in memory. See `headrace.idempotency.keys.IdempotencyStore`."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.errors import StoreUnavailable
from headrace.idempotency.records import Record, may_begin


@dataclass(slots=True)
class FakeIdempotencyStore:
    """Records in a dict; while `down`, nothing answers."""

    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    down: bool = False

    def begin(self, tenant: str, key: str, record: Record, *, now: float) -> Record | None:
        """Write the record, or return the one that stands."""
        self._answer()
        standing = self.records.get((tenant, key))
        if not may_begin(standing, record.fingerprint, now=now):
            return standing
        self.records[tenant, key] = record
        return None

    def complete(self, tenant: str, key: str, record: Record) -> bool:
        """Write the answer over the holder's own record."""
        self._answer()
        if not self._is_ours(tenant, key, record.holder):
            return False
        self.records[tenant, key] = record
        return True

    def abandon(self, tenant: str, key: str, *, holder: str) -> bool:
        """Remove the holder's own record."""
        self._answer()
        if not self._is_ours(tenant, key, holder):
            return False
        del self.records[tenant, key]
        return True

    def _is_ours(self, tenant: str, key: str, holder: str) -> bool:
        standing = self.records.get((tenant, key))
        return standing is not None and standing.answer is None and standing.holder == holder

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")
