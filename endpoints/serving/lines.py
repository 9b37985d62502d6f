"""Decides who goes first: one line for each tier, the highest tier before all others, in a line the oldest first.

Triton calls these priority levels (`ModelDynamicBatching.priority_levels` in its model configuration). The lowest tier
is that of batches, which nobody waits for: *background*. Its jobs share no run with others', so that none of them makes
a caller's run longer. Pure: time is an argument.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

TIER_TOP = 10
"""Of requests that name no tier."""
TIER_BACKGROUND = 0
AGED_S = 10.0
"""Who has waited for so long may go before higher tiers …"""
AGED_EVERY_S = 1.0
"""… in one run at most so often: nobody starves, and who goes first hardly notices."""


class Waits(Protocol):
    """What stands in a line: its tier, since when, and its rows that are not computed yet."""

    @property
    def tier(self) -> int:
        """See the class."""

    @property
    def queued_at(self) -> float:
        """See the class."""

    @property
    def rows_left(self) -> int:
        """See the class."""


T = TypeVar("T", bound=Waits)


class Lines(Generic[T]):
    """Who waits.

    Attributes:
        tiers: For each tier its line.
        rows: For each tier the rows that wait, those included that are still prepared and stand in no line yet.
    """

    __slots__ = ("_aged_at", "rows", "tiers")

    def __init__(self) -> None:
        self.tiers: tuple[deque[T], ...] = tuple(deque() for _ in range(TIER_TOP + 1))
        self.rows = [0] * (TIER_TOP + 1)
        self._aged_at = float("-inf")

    def __len__(self) -> int:
        """How many stand in lines."""
        return sum(map(len, self.tiers))

    @property
    def background(self) -> int:
        """How many of the lowest tier do."""
        return len(self.tiers[TIER_BACKGROUND])

    def rows_before(self, tier: int) -> int:
        """Rows that a job of this tier, which comes now, waits for: its own tier's and those of higher ones."""
        return sum(self.rows[tier:])

    def oldest_at(self) -> float:
        """Since when whoever waits longest does; one at least must."""
        return min(line[0].queued_at for line in self.tiers if line)

    def aged(self, now: float) -> int | None:
        """The tier whose first job has waited so long that the next run is its own; None in general.

        Whoever takes that turn says so with `turn_taken`.
        """
        if now - self._aged_at < AGED_EVERY_S:
            return None
        old = [(line[0].queued_at, tier) for tier, line in enumerate(self.tiers) if line]
        if not old or min(old)[0] > now - AGED_S or min(old)[1] == max(tier for _, tier in old):
            return None
        return min(old)[1]

    def turn_taken(self, now: float) -> None:
        """An aged job was run before its turn."""
        self._aged_at = now

    def evicted(self, tier: int, rows: int) -> list[T]:
        """Take out jobs of lower tiers than this one, until so many rows are gone or no such job is left.

        The lowest tier goes first, and of a tier who came last.
        """
        out: list[T] = []
        for line in self.tiers[:tier]:
            while line and rows > 0:
                job = line.pop()
                rows -= job.rows_left
                out.append(job)
        return out
