"""Ports of progressive delivery: where rollouts, decisions, tallies and marks are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.rollouts.counted import Counted
from headrace.rollouts.states import Decision, Rollout
from headrace.routing.document import Routing


class Outrun(Exception):
    """Somebody else has changed the record or the routing meanwhile: look again."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is written together or not at all.

    Args:
        rollout: the new record; it applies where the standing one has the version before (or, for version 1, where
            no active one stands on the endpoint).
        decision: an entry of the history.
        routing: the new routing document; it applies where the standing one has the version before.
        mend: whether that one cannot be read: then `routing` applies where the history has no such version.
    """

    rollout: Rollout
    decision: Decision | None = None
    routing: Routing | None = None
    mend: bool = False


class Rollouts(Protocol):
    """Rollouts and their histories."""

    def current(self, endpoint: str) -> Rollout | None:
        """The endpoint's last rollout, active or over. Strongly consistent. Raises StoreUnavailable."""

    def find(self, endpoint: str, rollout_id: str) -> Rollout | None:
        """An earlier one."""

    def newest(self, endpoint: str, *, limit: int) -> list[Rollout]:
        """The last ones, the newest first."""

    def decisions(self, rollout_id: str) -> list[Decision]:
        """All decisions of one, in order."""

    def commit(self, change: Change) -> None:
        """Write. Safe to repeat: the same change again is no error.

        Raises:
            Outrun: another change came first; nothing was written.
            StoreUnavailable: perhaps written, perhaps not.
        """


class Tallies(Protocol):
    """Counts of arms. `subject` is a rollout's id or an experiment's; each process overwrites its own item."""

    def write(self, subject: str, *, stage: int, arm: str, holder: str, counted: Counted) -> None:
        """Put what this process has counted so far in this stage and arm."""

    def read(self, subject: str) -> Mapping[tuple[int, str], Counted]:
        """All processes' counts added up, by stage and arm."""

    def mark(self, subject: str, *, stage: int, what: str, caller: str, holder: str) -> bool:
        """Whether this caller meets `what` for the first time in this stage.

        True for one process, and again for the same `holder`: where an answer was lost, it may ask once more.
        """
