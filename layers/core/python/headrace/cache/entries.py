"""Kept answers as bytes, when they are fresh, and the few that a process keeps for itself.

An entry holds what the endpoint's answer would be on the wire, so that tensors, raw ones too, come back as they were,
nobody shares a mutable list with the cache, and its size is known exactly.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import log

from headrace import oip
from headrace.catalog import CacheRules
from headrace.errors import InvalidAnswer
from headrace.inference import InferenceResponse

BETA = 1.0
"""How eager early recomputation is; 1 is what its authors recommend."""
ENTRIES_MAX = 1024
BYTES_MAX = 16 * 1024 * 1024
"""A small part of the least memory that the functions are given."""
CLOCKS_DIFFER_MAX_S = 5.0
"""An entry from further in the future was kept by a clock that was wrong: nobody knows how old it is."""
ENTRY_OVERHEAD_BYTES = 512
"""About what Python's objects around an entry take, counted so that tiny answers are bounded too."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer as bytes.

    Args:
        body: the answer on the wire.
        head_bytes: the length of its JSON head when raw tensors follow, else None.
        kept_at: wall time, seconds.
        seconds: how long it took to compute.
    """

    body: bytes
    head_bytes: int | None
    kept_at: float
    seconds: float

    def age_s(self, wall: float) -> float:
        """Seconds since it was kept; never negative, though clocks of two machines may differ."""
        return max(0.0, wall - self.kept_at)

    def is_datable(self, wall: float) -> bool:
        """Whether its age can be told."""
        return self.kept_at - wall <= CLOCKS_DIFFER_MAX_S


def write(response: InferenceResponse, *, kept_at: float, seconds: float) -> Entry | None:
    """The entry for an answer; None when it cannot be written, as with numbers that are not finite."""
    try:
        head_bytes, body = oip.write_response(
            response, model_name="", model_version=response.model_version, request_id=""
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return Entry(body, head_bytes, kept_at, seconds)


def read(entry: Entry) -> InferenceResponse | None:
    """The answer as it was written; None when the bytes are not an answer."""
    content_type = oip.JSON_TYPE if entry.head_bytes is None else f"{oip.BINARY_TYPE}{entry.head_bytes}"
    try:
        return oip.read_response(content_type, entry.body)
    except InvalidAnswer:
        return None


def is_fresh(entry: Entry, rules: CacheRules, *, wall: float) -> bool:
    """Whether it is younger than `rules.fresh_s`."""
    return entry.is_datable(wall) and entry.age_s(wall) < rules.fresh_s


def is_usable(entry: Entry, rules: CacheRules, *, wall: float) -> bool:
    """Whether it is younger than `rules.stale_s`, or fresh."""
    return entry.is_datable(wall) and entry.age_s(wall) < max(rules.fresh_s, rules.stale_s)


def recomputes_early(entry: Entry, rules: CacheRules, *, wall: float, chance: float) -> bool:
    """Whether this one caller should compute a still fresh answer anew, so that not all do when it ends.

    XFetch: recompute when now - Δ·β·ln(u) ≥ end, for u uniform on (0, 1] and Δ the time that computing takes. With r
    seconds of freshness left that happens with probability exp(-r / (Δ·β)).

    Args:
        entry: a fresh entry.
        rules: its endpoint's.
        wall: now, seconds.
        chance: uniform on [0, 1).

    Source: Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, PVLDB 8(8), 2015.
    """
    ahead_s = -entry.seconds * BETA * log(1.0 - chance)
    return wall + ahead_s >= entry.kept_at + rules.fresh_s


class LocalEntries:
    """A process's own entries: the least recently used go first. Bounded in number and in bytes."""

    def __init__(self, *, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """The entry, now the most recently used."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry; one larger than all that may be held is not kept."""
        self.drop(key)
        size = _size(key, entry)
        if size > self._bytes_max:
            return
        self._entries[key] = entry
        self.bytes_held += size
        while self.bytes_held > self._bytes_max or len(self._entries) > self._entries_max:
            self.drop(next(iter(self._entries)))

    def drop(self, key: str) -> None:
        """Forget an entry, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes_held -= _size(key, entry)


def _size(key: str, entry: Entry) -> int:
    return len(key) + len(entry.body) + ENTRY_OVERHEAD_BYTES
