"""What is counted, in buckets of one second that processes add to and nobody overwrites."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Counts(NamedTuple):
    """Numbers of calls of one target in one second. A tuple, because thousands are added up for each look.

    Some belong to the second in which the call was sent, so that a call that was sent and never answered shows; the
    others to the second in which it ended.

    By sending: `started` (less those that turned out to say nothing: saturated, cancelled, the caller's own errors),
    `good`, `bad`, `good_ms` (milliseconds that the good ones took, summed), `arrived` requests, `retried` and `hedged`
    calls. By end: `done` (good), `slow` (good, beyond the SLO), `saturated` (refused for lack of capacity, or timed
    out not long beyond the SLO).
    """

    started: int = 0
    good: int = 0
    bad: int = 0
    good_ms: int = 0
    arrived: int = 0
    retried: int = 0
    hedged: int = 0
    done: int = 0
    slow: int = 0
    saturated: int = 0

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts._make(map(operator.add, self, other))


NOTHING = Counts()

Second = Mapping[str, Counts]
"""Counts by target; a name such as `#2` counts in `arrived` the requests of tier 2."""
Buckets = dict[int, dict[str, Counts]]
"""By whole second since the epoch. Its inner dicts are replaced and never changed, so that copies may share them."""


def add(buckets: Buckets, second: int, counts: Second) -> None:
    """Add one second's counts."""
    there = buckets.get(second)
    if there is None:
        buckets[second] = dict(counts)
        return
    merged = dict(there)
    for target, more in counts.items():
        known = merged.get(target)
        merged[target] = more if known is None else known.plus(more)
    buckets[second] = merged


def drop_before(buckets: Buckets, second: int) -> None:
    """Forget what is older than `second`."""
    for old in [known for known in buckets if known < second]:
        del buckets[old]


def total(buckets: Buckets, target: str, seconds: Iterable[int]) -> Counts:
    """One target's counts over some seconds."""
    found = [there[target] for second in seconds if (there := buckets.get(second)) and target in there]
    if not found:
        return NOTHING
    return Counts._make(map(sum, zip(*found, strict=True)))


def total_of_all(buckets: Buckets, seconds: Iterable[int], *, but: frozenset[str] = frozenset()) -> Counts:
    """The counts of all targets of the endpoint over some seconds, less those named."""
    found = [counts for second in seconds for target, counts in buckets.get(second, {}).items() if target not in but]
    if not found:
        return NOTHING
    return Counts._make(map(sum, zip(*found, strict=True)))


def tier_name(tier: int) -> str:
    """Under which name a tier's requests are counted."""
    return f"#{tier}"
