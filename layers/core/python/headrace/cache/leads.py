"""Who computes what within one process: at most one caller per key, and none longer than it said."""

from __future__ import annotations

from dataclasses import dataclass, replace

LEADS_MAX = 1024
"""Far more than one process serves at once; beyond it the oldest are forgotten, which costs a second computation."""


@dataclass(frozen=True, slots=True)
class _Lead:
    until: float
    shared: bool
    promised: bool


class Leads:
    """Keys being computed. Times are wall time, seconds."""

    def __init__(self) -> None:
        self._leads: dict[str, _Lead] = {}

    def __len__(self) -> int:
        return len(self._leads)

    def start(self, key: str, *, now: float, until: float, shared: bool, promised: bool) -> bool:
        """Mark a key; False while somebody else computes it.

        Args:
            key: what is computed.
            now: wall time.
            until: when another may start.
            shared: whether other processes are told too.
            promised: whether the caller has yet to ask to lead: the next `claim` of this key is granted.
        """
        lead = self._leads.pop(key, None)
        if lead is not None and lead.until > now:
            self._leads[key] = lead
            return False
        while len(self._leads) >= LEADS_MAX:
            del self._leads[next(iter(self._leads))]
        self._leads[key] = _Lead(until, shared, promised)
        return True

    def claim(self, key: str, *, now: float) -> bool:
        """Take what was promised."""
        lead = self._leads.get(key)
        if lead is None or not lead.promised or lead.until <= now:
            return False
        self._leads[key] = replace(lead, promised=False)
        return True

    def end(self, key: str) -> bool:
        """Forget a key; whether other processes were told of it."""
        lead = self._leads.pop(key, None)
        return lead is not None and lead.shared
