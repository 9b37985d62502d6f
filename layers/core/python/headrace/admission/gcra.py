"""The generic cell rate algorithm in whole microseconds: one number per bucket says who may come in, exactly.

The number is the theoretical arrival time (tat): when the bucket would be full again if nobody came. A permit moves it
on by one interval and is given while it then lies at most `burst` intervals ahead of now. Source: ITU-T I.371, annex A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from headrace.plans import Rate

US_PER_S = 1_000_000
KEY_WRITES_PER_S_MAX = 500
"""DynamoDB takes 1,000 writes per second on one key; half of it leaves room for refused ones."""
SHARDS_MAX = 64
REMEMBERED_MAX = 4_096
"""Buckets whose terms are kept computed: every request needs one."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One tenant's rate, or one of the equal shares that a high rate is cut into: one item in the store."""

    tenant: str
    shard: int
    interval_us: int
    burst: int

    @property
    def key(self) -> str:
        """Its name in a store; tenants have no `#` in theirs, so that no two buckets share one."""
        return f"rate#{self.tenant}#{self.shard}"

    def remaining(self, tat_us: int, now_us: int) -> int:
        """Permits that could be had at once."""
        return max(0, (self.burst * self.interval_us - max(0, tat_us - now_us)) // self.interval_us)

    def retry_after_us(self, tat_us: int, now_us: int) -> int:
        """Until one permit can be had: exact, when nobody else comes; 0 when one can be had now."""
        return max(0, tat_us + self.interval_us - self.burst * self.interval_us - now_us)

    def reset_us(self, tat_us: int, now_us: int) -> int:
        """Until the whole burst can be had again, when nobody comes."""
        return max(0, tat_us - now_us)


@dataclass(frozen=True, slots=True)
class Payment:
    """What a bucket answered: permits paid for (0: refused) and its tat afterwards."""

    permits: int
    tat_us: int


def pay(bucket: Bucket, *, tat_us: int, permits: int, now_us: int) -> Payment:
    """Pay for `permits`, or for as many as there are."""
    granted = min(permits, bucket.remaining(tat_us, now_us))
    if granted <= 0:
        return Payment(0, tat_us)
    return Payment(granted, max(tat_us, now_us) + granted * bucket.interval_us)


def shards(rate: Rate) -> int:
    """How many items share this rate, so that none of them is written too often even with one permit per write."""
    return max(1, min(ceil(rate.per_s / KEY_WRITES_PER_S_MAX), SHARDS_MAX, rate.burst))


@lru_cache(maxsize=REMEMBERED_MAX)
def bucket(tenant: str, rate: Rate, shard: int) -> Bucket:
    """One shard of a tenant's rate. All of them together allow no more than the rate and exactly its burst."""
    count = shards(rate)
    burst = max(1, rate.burst)
    # Rounded up, so that whole microseconds never add up to more than the rate.
    return Bucket(tenant, shard, ceil(count * US_PER_S / rate.per_s), burst // count + (shard < burst % count))


def shared(whole: Bucket, share: int) -> Bucket:
    """What one of `share` processes may allow by itself."""
    return Bucket(whole.tenant, whole.shard, whole.interval_us * share, max(1, whole.burst // share))
