"""Writes a shard's parts, one after the other, while others are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from headrace.batches.bounds import PART_SECONDS_FIRST, PART_SECONDS_MAX
from headrace.batches.layout import Shard
from headrace.batches.scoring import parts
from headrace.batches.scoring.window import Part, Window
from headrace.errors import StoreUnavailable

TRIES_MAX = 5
BACKOFF_S = 0.5
"""Before a part is written once more; doubled with each try."""


class Overtaken(Exception):
    """Another scorer has written the part: what follows on it is asked for anew."""


class Fetch(Protocol):
    """Has something done elsewhere."""

    def __call__(self, number: int, call: Callable[[], Any], /) -> None:
        """Begin a call that blocks."""


class PartWriter:
    """`at` and `counts` are of what stands, `chain` is what stood at the beginning."""

    def __init__(
        self,
        store: parts.PartStore,
        *,
        tenant: str,
        batch_id: str,
        shard: Shard,
        chain: parts.Chain,
        window: Window,
        fetch: Fetch,
        numbers: Iterator[int],
        now: float,
    ) -> None:
        self.at, self.counts = chain.at, chain.counts
        self._put = partial(parts.write, store, tenant, batch_id, shard)
        self._shard, self._window = shard, window
        self._fetch, self._numbers = fetch, numbers
        self._part: Part | None = None
        self._number: int | None = None
        self._tries = 0
        self._again_at = now
        self._begun_at = now
        self._seconds_max = PART_SECONDS_FIRST

    @property
    def busy(self) -> bool:
        """Whether a part is not yet known to stand."""
        return self._part is not None

    def advance(self, now: float, *, whole: bool, ending: bool) -> bool:
        """Begin to write if it is time; whether that was done.

        Args:
            now: monotonic seconds.
            whole: whether the part at hand ends the shard.
            ending: whether the run ends with it.
        """
        if self._part is not None:
            if self._number is None and now >= self._again_at:
                self._begin()
            return False
        window = self._window
        late = now - self._begun_at >= self._seconds_max
        last = whole and window.start < self._shard.end
        if not (last or window.part_full or ((late or ending) and window.part_records)):
            return False
        self._part, self._tries, self._begun_at = window.cut(end=self._shard.end if whole else None), 0, now
        if late:
            self._seconds_max = min(PART_SECONDS_MAX, 2.0 * self._seconds_max)
        window.collect()
        self._begin()
        return True

    def settle(self, number: int, outcome: Any, *, now: float) -> bool:
        """Take the end of a call, if it is the part's; whether it was.

        Raises:
            Overtaken: another part stands in its place.
            StoreUnavailable: it cannot be written.
        """
        if number != self._number or self._part is None:
            return False
        self._number = None
        if isinstance(outcome, StoreUnavailable) and self._tries < TRIES_MAX:
            self._again_at = now + BACKOFF_S * 2.0 ** (self._tries - 1)
            return True
        if isinstance(outcome, Exception):
            raise outcome
        header = self._part.header
        if not parts.same(outcome, header):
            raise Overtaken
        self.at, self.counts, self._part = header.end, self.counts + header.counts, None
        return True

    def _begin(self) -> None:
        if self._part is None:
            return
        self._tries += 1
        self._number = next(self._numbers)
        part = self._part
        self._fetch(self._number, partial(self._put, part.header, results=part.results, errors=part.errors))
