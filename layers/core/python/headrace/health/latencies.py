"""How long this process's own good calls of a target took."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import ceil

from headrace.health.options import HealthOptions


class Latencies:
    """The newest samples, bounded in number and age; kept in order too, since every request asks for several shares."""

    __slots__ = ("_options", "_samples", "_sorted")

    def __init__(self, options: HealthOptions) -> None:
        self._options = options
        self._samples: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []

    def keep(self, seconds: float, *, now: float) -> None:
        """Take a sample."""
        if len(self._samples) >= self._options.samples_max:
            self._drop_oldest()
        self._samples.append((now, seconds))
        insort(self._sorted, seconds)

    def percentile_s(self, share: float, *, now: float) -> float | None:
        """The smallest sample that `share` of them do not exceed (nearest rank); None when there are too few."""
        oldest = now - self._options.samples_age_max_s
        while self._samples and self._samples[0][0] < oldest:
            self._drop_oldest()
        if len(self._sorted) < self._options.samples_min:
            return None
        rank = ceil(share * len(self._sorted))
        return self._sorted[min(len(self._sorted), max(1, rank)) - 1]

    def _drop_oldest(self) -> None:
        _, seconds = self._samples.popleft()
        del self._sorted[bisect_left(self._sorted, seconds)]
