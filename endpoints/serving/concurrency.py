"""Decides how much may be under way at once: less when answers get slower, and less of it for low tiers.

Gradient2 of Netflix's concurrency-limits (https://github.com/Netflix/concurrency-limits, `Gradient2Limit`): the limit
follows the ratio of the usual round-trip time to the present one. Three things differ, because this server batches.
It counts rows, since rows are what a batch and the queue hold. It begins at what the queue holds, so that nothing is
refused that would have been taken, until times show that it is too much. And it never goes below four batches for
each worker: one computed, one waiting whole, and as much again for callers that answer late; with less, batches would
not fill, and throughput with them.

A tier may use the whole limit while nobody of a higher one is there. While somebody is, it leaves room: refusing early
is what keeps the queue short for those who go first. Rows of the lowest tier, which waits for everybody, take no room
from others, and its times, much of them waiting, say nothing of the limit. All of it is a few additions per request,
before the body is read.
"""

from __future__ import annotations

from endpoints.serving.lines import TIER_BACKGROUND, TIER_TOP

SMOOTHING = 0.2
QUEUE_ROWS = 4
TOLERANCE = 1.5
GRADIENT_MIN = 0.5
LONG_WINDOW = 600
LONG_WARM_UP = 10
LONG_DECAY = 0.95  # where the usual time is more than twice the present one: it was learnt under load
BATCHES_MIN = 4
SAMPLES = 8  # round trips per adjustment: their mean, as single ones jump with the batch they are in
TIER_SHARE = 0.75  # of the limit, for each higher tier that is there
TIER_SEEN_S = 1.0
_SHARE_OF_ALL = TIER_SHARE**TIER_TOP


class Limiter:
    """Rows under way, and how many may be.

    Args:
        rows_min: The limit's lower bound; see `bounds`.
        rows_max: Its upper bound, and where it begins.

    Attributes:
        limit: Rows that may be under way now.
        rows: Rows that are, of all tiers but the lowest.
        background_rows: Those of the lowest.
    """

    __slots__ = (
        "_long_s",
        "_max",
        "_min",
        "_samples",
        "_seen_at",
        "_sum_s",
        "_updates",
        "background_rows",
        "limit",
        "rows",
    )

    def __init__(self, *, rows_min: int, rows_max: int) -> None:
        self._min = float(rows_min)
        self._max = float(max(rows_min, rows_max))
        self.limit = self._max
        self.rows = 0
        self.background_rows = 0
        self._seen_at = [float("-inf")] * (TIER_TOP + 1)
        self._sum_s = 0.0
        self._samples = 0
        self._long_s = 0.0
        self._updates = 0

    def admits(self, tier: int, *, now: float) -> bool:
        """Whether one more request may come in.

        Args:
            tier: 0 the lowest, `TIER_TOP` for a request that names none.
            now: Monotonic seconds.
        """
        self._seen_at[tier] = now
        room = self.limit
        rows = self.rows if tier > TIER_BACKGROUND else self.rows + self.background_rows
        if rows < room * _SHARE_OF_ALL:
            return True
        for seen_at in self._seen_at[tier + 1 :]:
            if now - seen_at < TIER_SEEN_S:
                room *= TIER_SHARE
        return rows < room

    def began(self, rows: int, tier: int) -> None:
        """Count a request that was taken in.

        Args:
            rows: Its rows.
            tier: Its tier.
        """
        if tier > TIER_BACKGROUND:
            self.rows += rows
        else:
            self.background_rows += rows

    def ended(self, rows: int, seconds: float | None, tier: int = TIER_TOP) -> None:
        """Take a request out again.

        Args:
            rows: Its rows.
            seconds: How long its answer took; None when there was none to measure.
            tier: Its tier.
        """
        if tier == TIER_BACKGROUND:
            self.background_rows -= rows
            return
        if seconds is not None:
            self._sum_s += seconds
            self._samples += 1
            if self._samples >= SAMPLES:
                self._adjust(self._sum_s / self._samples)
                self._sum_s, self._samples = 0.0, 0
        self.rows -= rows

    def _adjust(self, short_s: float) -> None:
        short_s = max(short_s, 1e-9)
        self._updates += 1
        if self._updates <= LONG_WARM_UP:
            self._long_s += (short_s - self._long_s) / self._updates
        else:
            self._long_s += (short_s - self._long_s) * 2.0 / (LONG_WINDOW + 1)
        if self._long_s > 2.0 * short_s:
            self._long_s *= LONG_DECAY
        if self.rows < self.limit / 2.0:
            return  # hardly used: times say nothing of the limit
        gradient = max(GRADIENT_MIN, min(1.0, TOLERANCE * self._long_s / short_s))
        wanted = self.limit * gradient + QUEUE_ROWS
        self.limit = max(self._min, min(self._max, self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING))


def bounds(*, batch_rows_max: int, workers: int, queue_rows_max: int) -> tuple[int, int]:
    """The least limit that keeps `workers` busy with whole batches, and the most that the queue allows."""
    running = batch_rows_max * workers
    return BATCHES_MIN * running, queue_rows_max + running
