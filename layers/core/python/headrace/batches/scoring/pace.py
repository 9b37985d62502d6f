"""How hard a batch asks: requests in flight, things asked for in each, and when it does not ask at all. Pure.

Alone, a batch asks as often as pays: its limit follows the ratio of the least time of late to the present one, as
Netflix's Gradient2 limit does (concurrency-limits, `Gradient2Limit`), and settles where the endpoint always has one
request more than it is working on. A request that takes a good part of the endpoint's objective is too much: the limit
falls at once, then the size.

Beside callers who wait, a batch has one request in flight, so small that whoever comes meanwhile hardly notices, and
rests between requests. When the endpoint turns work away, or its circuit is open, it asks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

IN_FLIGHT_MAX = 12
"""Below the number of threads that calls may take (16): abandoned ones hold theirs until their sockets give up."""
LIMIT_FIRST = 2.0
TOLERANCE = 2.0
"""Twice the least time is no sign of a queue: the way there and back is part of it."""
GRADIENT_MIN = 0.5
SMOOTHING = 0.2
PROBE_S = 60.0
"""So often the least time is measured anew, with few requests in flight: an endpoint may become slower for good."""
OBJECTIVE_SHARE = 0.5
"""A request that takes more of the endpoint's latency objective is one too many."""
OBJECTIVE_CUT = 0.7
GROW_SHARE = 0.2
"""Below this share of the objective a request may be larger again."""
FULL_SHARE = 0.75
"""Only requests at least this full say something of the limit; the last ones of a shard do not."""
BESIDE_SHARE = 0.01
"""Beside callers a request takes this share of the objective: 5 ms of 500."""
BESIDE_LOAD = 0.5
"""… and all scorers of a batch together keep the endpoint busy for this share of the time."""
CALM_S = 3.0
"""So long after the last caller a batch counts as alone."""
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 300.0
SHED = "overloaded"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What does not change while a batch runs: most items per request, the objective, scorers at once."""

    items_max: int
    objective_s: float
    peers: int = 1
    in_flight_max: int = IN_FLIGHT_MAX


@dataclass(frozen=True, slots=True)
class Pace:
    """The present pace. Times are on one monotonic clock.

    Args:
        bounds: see there.
        limit: requests in flight while alone.
        items: in each request while alone.
        smooth_s, least_s: how long full requests take: of late, and at least; 0 unknown.
        item_s: how long one item takes, at most.
        beside_until: until when callers count as present.
        next_at: beside callers, when the next request may leave.
        paused_until: nothing is asked before.
        why: the reason, while paused.
        probe_at: when the least time is measured anew.
    """

    bounds: Bounds
    limit: float = LIMIT_FIRST
    items: int = 1
    smooth_s: float = 0.0
    least_s: float = 0.0
    item_s: float = 0.0
    beside_until: float = float("-inf")
    next_at: float = float("-inf")
    paused_until: float = float("-inf")
    why: str = ""
    probe_at: float = float("-inf")

    def room(self, in_flight: int, *, now: float) -> int:
        """How many more requests may leave now."""
        if now < self.paused_until:
            return 0
        if now < self.beside_until:
            return int(in_flight == 0 and now >= self.next_at)
        return max(0, int(self.limit) - in_flight)

    def items_at(self, now: float) -> int:
        """Things asked for in the next request."""
        if now >= self.beside_until:
            return self.items
        wanted_s = BESIDE_SHARE * self.bounds.objective_s
        if not self.item_s:
            return 1
        # A time of nearly nothing must not be divided by.
        return self.items if self.items * self.item_s <= wanted_s else max(1, int(wanted_s / self.item_s))

    def again_at(self, *, now: float) -> float:
        """The moment from which on `room` may be more than it is now, if nothing is answered meanwhile."""
        return max(now, self.paused_until, self.next_at if now < self.beside_until else now)

    def answered(self, seconds: float, *, items: int, in_flight: int, now: float) -> Pace:
        """An answer came: it took so long, and so many requests, it included, were in flight."""
        each_s = seconds / max(1, items)
        item_s = each_s if not self.item_s else self.item_s + SMOOTHING * (each_s - self.item_s)
        if now < self.beside_until:
            rest_s = seconds * (self.bounds.peers / BESIDE_LOAD - 1.0)
            return replace(self, item_s=item_s, next_at=now + rest_s, why="")
        limit, size, ceiling_s = self.limit, self.items, OBJECTIVE_SHARE * self.bounds.objective_s
        if seconds > ceiling_s:
            size = max(1, size // 2) if limit <= 1.0 else size
            limit = max(1.0, limit * OBJECTIVE_CUT)
            return replace(self, limit=limit, items=size, item_s=item_s, smooth_s=0.0, least_s=0.0, why="")
        if items < FULL_SHARE * size:
            return replace(self, item_s=item_s, why="")
        if size < self.bounds.items_max and seconds < GROW_SHARE * self.bounds.objective_s:
            size = min(self.bounds.items_max, size * 2)  # times of another size say nothing of this one
            return replace(self, items=size, item_s=item_s, smooth_s=0.0, least_s=0.0, why="")
        if now >= self.probe_at:
            limit = min(limit, LIMIT_FIRST)
            return replace(self, limit=limit, item_s=item_s, smooth_s=0.0, least_s=0.0, probe_at=now + PROBE_S, why="")
        least_s = min(seconds, self.least_s) if self.least_s else seconds
        smooth_s = seconds if not self.smooth_s else self.smooth_s + SMOOTHING * (seconds - self.smooth_s)
        gradient = max(GRADIENT_MIN, min(1.0, TOLERANCE * least_s / smooth_s))
        wanted = limit * gradient + 1.0
        if wanted < limit or in_flight >= int(limit):  # a limit that is not used cannot be judged
            limit = min(float(self.bounds.in_flight_max), max(1.0, limit + SMOOTHING * (wanted - limit)))
        return replace(self, limit=limit, item_s=item_s, smooth_s=smooth_s, least_s=least_s, why="")

    def refused(self, why: str, *, retry_after_s: float, now: float) -> Pace:
        """Nothing was asked, for there is no room for it now: come again after so many seconds.

        A lone request that the endpoint has no time for is too large: the next one is half of it.
        """
        items = max(1, self.items // 2) if why == SHED and self.limit <= 1.0 else self.items
        until = now + max(PAUSE_MIN_S, min(PAUSE_MAX_S, retry_after_s))
        return replace(
            self, limit=max(1.0, self.limit / 2), items=items, paused_until=max(until, self.paused_until), why=why
        )  # fmt: skip

    def looked(self, *, callers_per_s: float, admitted: float, now: float) -> Pace:
        """What is known of the others: requests per second of callers who wait, and the share of ours let in."""
        pace = self
        if callers_per_s > 0:
            pace = replace(pace, beside_until=now + CALM_S, limit=min(pace.limit, LIMIT_FIRST))
        if admitted < 1.0:
            return replace(pace, paused_until=max(pace.paused_until, now + PAUSE_MIN_S), why=SHED)
        return pace

    def paused(self, now: float) -> bool:
        """Whether nothing is asked for another reason than that enough is."""
        return now < self.paused_until


def begun(bounds: Bounds) -> Pace:
    """The pace of a scorer that knows nothing yet: one that is cut short finds its size within a few requests."""
    return Pace(bounds, items=max(1, bounds.items_max // 4))
