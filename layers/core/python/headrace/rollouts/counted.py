"""What one arm of a comparison did: counts that processes keep and anybody may add up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from headrace.rollouts.metrics import Metric

K = TypeVar("K")

TIME_BUCKETS_PER_DOUBLING = 8
"""Latencies are kept in buckets that grow by a twelfth: a percentile read from them is right to nine per cent."""
TIME_BUCKET_MAX = 160
"""2^20 ms: more than a quarter of an hour, beyond any deadline."""
SURENESS_BUCKETS = 100


@dataclass(frozen=True, slots=True)
class Values:
    """Outcome values: how many, their sum and the sum of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, other: Values) -> Values:
        """Both together."""
        return Values(self.count + other.count, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one arm did in one stage.

    Args:
        requests: answers, and failures, of requests that were drawn to this arm.
        callers: distinct ones, of a sample of callers (`CALLER_SAMPLE`): for the check of the division, and for A/B
            tests (where all callers are in the sample) the callers that were exposed.
        bad: bad events by metric.
        bad_callers: callers that met one, each once (`headrace.rollouts.evidence` says in what): evidence counts those.
        of: how often a bad event could have happened, where that is not `requests`.
        times: answers by latency bucket, see `time_bucket`.
        sureness: answers by confidence, in hundredths.
        outcomes: outcome events by name, one per caller (or request) at most, with their values.
    """

    requests: int = 0
    callers: int = 0
    bad: Mapping[Metric, int] = field(default_factory=dict)
    bad_callers: Mapping[Metric, int] = field(default_factory=dict)
    of: Mapping[Metric, int] = field(default_factory=dict)
    times: Mapping[int, int] = field(default_factory=dict)
    sureness: Mapping[int, int] = field(default_factory=dict)
    outcomes: Mapping[str, Values] = field(default_factory=dict)

    def count(self, metric: Metric) -> int:
        """Bad events."""
        return self.bad.get(metric, 0)

    def attributed(self, metric: Metric) -> int:
        """Callers that met one."""
        return self.bad_callers.get(metric, 0)

    def trials(self, metric: Metric) -> int:
        """How often one could have happened: not every request is compared, or has an outcome."""
        return self.of.get(metric, self.requests)

    @property
    def events(self) -> int:
        """How many things were counted. Counts only grow: of two by one process the one with more is the newer."""
        of_metrics = sum(self.bad.values()) + sum(self.bad_callers.values()) + sum(self.of.values())
        histograms = sum(self.times.values()) + sum(self.sureness.values())
        outcomes = sum(values.count for values in self.outcomes.values())
        return self.requests + self.callers + of_metrics + histograms + outcomes

    def plus(self, other: Counted) -> Counted:
        """Both together."""
        outcomes = dict(self.outcomes)
        for name, values in other.outcomes.items():
            outcomes[name] = outcomes.get(name, Values()).plus(values)
        return Counted(
            requests=self.requests + other.requests,
            callers=self.callers + other.callers,
            bad=_sum(self.bad, other.bad),
            bad_callers=_sum(self.bad_callers, other.bad_callers),
            of=_sum(self.of, other.of),
            times=_sum(self.times, other.times),
            sureness=_sum(self.sureness, other.sureness),
            outcomes=outcomes,
        )


NOTHING = Counted()


def time_bucket(seconds: float) -> int:
    """The bucket of a latency: bucket b holds up to 2^(b/8) milliseconds."""
    if seconds <= 0.001:  # noqa: PLR2004 - a millisecond is the first bucket
        return 0
    return min(TIME_BUCKET_MAX, math.ceil(TIME_BUCKETS_PER_DOUBLING * math.log2(seconds * 1000)))


def bucket_ms(bucket: int) -> float:
    """The most milliseconds that the bucket holds."""
    return float(2.0 ** (bucket / TIME_BUCKETS_PER_DOUBLING))


def sureness_bucket(confidence: float) -> int:
    """The bucket of a confidence from 0 to 1."""
    return max(0, min(SURENESS_BUCKETS, math.floor(confidence * SURENESS_BUCKETS)))


def quantile(histogram: Mapping[int, int], share: float) -> int | None:
    """The bucket in which that share of the counts is reached; None without counts."""
    total = sum(histogram.values())
    if not total:
        return None
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= share * total:
            return bucket
    return max(histogram)


def add_up(parts: Iterable[Counted]) -> Counted:
    """All together."""
    whole = NOTHING
    for part in parts:
        whole = whole.plus(part)
    return whole


def _sum(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    both = dict(one)
    for key, more in other.items():
        both[key] = both.get(key, 0) + more
    return both
