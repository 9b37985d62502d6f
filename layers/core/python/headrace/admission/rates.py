"""A process's side of a tenant's rate: permits are paid for first, a few ahead where the tenant is seen often.

A lease is spent or lost, never over-admitting: what a process holds was paid for in the one bucket that all share.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol
from zlib import crc32

from headrace.admission import gcra
from headrace.admission.gcra import US_PER_S, Bucket, Payment
from headrace.admission.process import FLEET_SHARE_DEFAULT, Meter, Patience, Reach, Recent
from headrace.background import Background
from headrace.errors import LimitExceeded, StoreUnavailable
from headrace.plans import Rate

LEASE_SHARE_S = 0.25
"""A process never holds more permits than the tenant may use in this long."""
LEASE_KEEP_S = 2.0
"""How long after the last payment an unspent permit is good: what is paid now is not used in an hour."""
AHEAD_MIN_PER_S = 1.0
"""Below this rate of its own a process pays per request: a permit paid ahead would mostly be lost."""


class RateStore(Protocol):
    """One number per bucket, changed atomically."""

    def take(self, bucket: Bucket, *, permits: int, now_us: int, seen_us: int) -> Payment:
        """Pay for `permits`, or for as many as there are; for none when there is none.

        Args:
            bucket: which, and its terms.
            permits: at least 1.
            now_us: the caller's wall clock.
            seen_us: the bucket's tat as the caller saw it last (0: never). It only grows, so this saves a write.

        Raises:
            StoreUnavailable: nobody knows whether it was paid.
        """


@dataclass(frozen=True, slots=True)
class RateStatus:
    """What `RateLimit-*` headers say: `limit` requests at once, `remaining` of them now, all again in `reset_s`."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(slots=True)
class _Lease:
    left: int = 0
    until: float = 0.0
    shard: int = -1
    seen_us: dict[int, int] = field(default_factory=dict)
    own_us: int = 0
    renewing: bool = False
    patience: Patience = field(default_factory=Patience)
    meter: Meter = field(default_factory=Meter)

    def drop_stale(self, now: float) -> None:
        if now >= self.until:
            self.left = 0

    def add(self, permits: int, now: float) -> None:
        self.drop_stale(now)
        self.left += permits
        self.until = now + LEASE_KEEP_S


class Rates:
    """Takes permits for this process's requests. `lock` guards its own numbers and is never held over a call."""

    def __init__(
        self,
        store: RateStore,
        *,
        background: Background,
        wall: Callable[[], float],
        holder: str,
        lock: AbstractContextManager[Any],
    ) -> None:
        self._store = store
        self._background = background
        self._wall = wall
        self._holder = holder
        self._lock = lock
        self._leases: Recent[_Lease] = Recent(_Lease)
        self._reach = Reach()

    def take(self, tenant: str, rate: Rate) -> RateStatus:
        """One permit.

        Raises:
            LimitExceeded: there is none; `retry_after_s` is when there will be one, if nobody else comes.
        """
        now = self._wall()
        with self._lock:
            lease = self._leases.get(tenant)
            lease.meter.note(now)
            if lease.shard < 0:
                lease.shard = crc32(f"{self._holder}#{tenant}".encode())
            lease.drop_stale(now)
            leased = lease.left > 0
            lease.left -= leased
            away = self._reach.away
        if leased or (not away and self._pay_now(tenant, rate, lease, now)):
            self._renew_ahead(tenant, rate, lease, now)
            return self._status(tenant, rate, lease, now)
        return self._take_locally(tenant, rate, lease, now)

    def refund(self, tenant: str) -> None:
        """The request was refused by a later limit: its permit serves this process's next one."""
        with self._lock:
            self._leases.get(tenant).add(1, self._wall())

    def _pay_now(self, tenant: str, rate: Rate, lease: _Lease, now: float) -> bool:
        """Whether a permit was paid for; False when the store is away."""
        if now < lease.patience.until:
            wait_us = ceil((lease.patience.until - now) * US_PER_S)
            raise _refused(max(wait_us, self._retry_after_us(tenant, rate, lease, now)))
        try:
            permits = self._pay(tenant, rate, lease, self._wanted(tenant, rate, lease, now), now)
        except StoreUnavailable:
            return False
        if not permits:
            wait_us = self._retry_after_us(tenant, rate, lease, now)
            lease.patience.refused(now, wait_us / US_PER_S)
            raise _refused(wait_us)
        lease.patience.granted()
        with self._lock:
            if permits > 1:
                lease.add(permits - 1, now)
        return True

    def _pay(self, tenant: str, rate: Rate, lease: _Lease, permits: int, now: float) -> int:
        """Permits paid for: from the shard used last, and when that has none, from one other."""
        now_us = int(now * US_PER_S)
        count = gcra.shards(rate)
        for _ in range(min(2, count)):
            bucket = gcra.bucket(tenant, rate, lease.shard % count)
            seen_us = lease.seen_us.get(bucket.shard, 0)
            # What refuses now refused then: the tat only grows. Saying so from memory keeps a rush off the store.
            payment = Payment(0, seen_us)
            if not bucket.retry_after_us(seen_us, now_us):
                try:
                    payment = self._store.take(bucket, permits=permits, now_us=now_us, seen_us=seen_us)
                except StoreUnavailable:
                    self._reach.lost(now)
                    raise
                self._reach.found()
            with self._lock:
                lease.seen_us[bucket.shard] = max(payment.tat_us, seen_us)
                if payment.permits or count == 1:
                    return payment.permits
                lease.shard = bucket.shard + 1
        return 0

    def _renew_ahead(self, tenant: str, rate: Rate, lease: _Lease, now: float) -> None:
        wanted = self._wanted(tenant, rate, lease, now)
        with self._lock:
            enough = lease.left > wanted // 2 or lease.meter.per_s(now) < AHEAD_MIN_PER_S
            if enough or lease.renewing or self._reach.away:
                return
            lease.renewing = True
            missing = wanted - lease.left
        self._submit(tenant, rate, lease, missing)

    def _submit(self, tenant: str, rate: Rate, lease: _Lease, missing: int) -> None:
        def renew() -> None:
            try:
                now = self._wall()
                permits = self._pay(tenant, rate, lease, missing, now)
                with self._lock:
                    if permits:
                        lease.add(permits, now)
            finally:
                lease.renewing = False

        if not self._background.submit(renew):
            lease.renewing = False

    def _take_locally(self, tenant: str, rate: Rate, lease: _Lease, now: float) -> RateStatus:
        """The store is away: a bucket of this process alone, and one permit asked for in the background at times."""
        now_us = int(now * US_PER_S)
        count = gcra.shards(rate)
        # The whole rate in one bucket, for one process of an assumed number of them.
        whole = Bucket(tenant, 0, max(1, ceil(US_PER_S / rate.per_s)), max(1, rate.burst))
        own = gcra.shared(whole, FLEET_SHARE_DEFAULT)
        with self._lock:
            payment = gcra.pay(own, tat_us=lease.own_us, permits=1, now_us=now_us)
            lease.own_us = payment.tat_us
            ask = not lease.renewing and self._reach.due(now)
            if ask:
                lease.renewing = True
                # A shard that was refused by memory would answer without a call, and nobody would learn anything.
                lease.seen_us.pop(lease.shard % count, None)
        if ask:
            self._submit(tenant, rate, lease, 1)
        if not payment.permits:
            raise _refused(own.retry_after_us(payment.tat_us, now_us))
        return RateStatus(own.burst, own.remaining(payment.tat_us, now_us), own.reset_us(payment.tat_us, now_us) / 1e6)

    def _wanted(self, tenant: str, rate: Rate, lease: _Lease, now: float) -> int:
        """How many permits this process should hold: what it sees in a second, within its bounds."""
        most = max(1, int(rate.per_s * LEASE_SHARE_S))
        burst = gcra.bucket(tenant, rate, lease.shard % gcra.shards(rate)).burst
        return max(1, min(ceil(lease.meter.per_s(now)), most, burst))

    def _retry_after_us(self, tenant: str, rate: Rate, lease: _Lease, now: float) -> int:
        now_us = int(now * US_PER_S)
        with self._lock:
            return min(
                (
                    gcra.bucket(tenant, rate, shard).retry_after_us(tat_us, now_us)
                    for shard, tat_us in lease.seen_us.items()
                    if shard < gcra.shards(rate)
                ),
                default=0,  # forgotten while the store was away
            )

    def _status(self, tenant: str, rate: Rate, lease: _Lease, now: float) -> RateStatus:
        """As of the last answer of the store, which is at most a lease old."""
        now_us = int(now * US_PER_S)
        count = gcra.shards(rate)
        with self._lock:
            bucket = gcra.bucket(tenant, rate, lease.shard % count)
            tat_us = lease.seen_us.get(bucket.shard, 0)
            limit = max(1, rate.burst)
            remaining = min(limit, bucket.remaining(tat_us, now_us) * count + lease.left)
            return RateStatus(limit, remaining, bucket.reset_us(tat_us, now_us) / US_PER_S)


def _refused(retry_after_us: int) -> LimitExceeded:
    return LimitExceeded(
        "Too many requests for this plan: send the next one later.",
        code="rate_exceeded",
        retry_after_s=retry_after_us / US_PER_S,
    )
