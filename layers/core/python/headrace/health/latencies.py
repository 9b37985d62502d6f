"""How long this process's own good calls of a target took."""

from __future__ import annotations

from collections import deque
from math import ceil

from headrace.health.options import HealthOptions


class Latencies:
    """The newest samples, bounded in number and age."""

    __slots__ = ("_options", "_samples", "_sorted")

    def __init__(self, options: HealthOptions) -> None:
        self._options = options
        self._samples: deque[tuple[float, float]] = deque(maxlen=options.samples_max)
        self._sorted: list[float] | None = None

    def keep(self, seconds: float, *, now: float) -> None:
        """Take a sample."""
        self._samples.append((now, seconds))
        self._sorted = None

    def percentile_s(self, share: float, *, now: float) -> float | None:
        """The smallest sample that `share` of them do not exceed (nearest rank); None when there are too few."""
        oldest = now - self._options.samples_age_max_s
        while self._samples and self._samples[0][0] < oldest:
            self._samples.popleft()
            self._sorted = None
        if len(self._samples) < self._options.samples_min:
            return None
        if self._sorted is None:
            self._sorted = sorted(seconds for _, seconds in self._samples)
        rank = ceil(share * len(self._sorted))
        return self._sorted[min(len(self._sorted), max(1, rank)) - 1]
