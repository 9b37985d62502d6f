"""Rollouts in memory, and what starts the executions that look after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from headrace.errors import InvalidRequest, StoreUnavailable
from headrace.rollouts.states import Decision, Rollout
from headrace.rollouts.store import Change, Outrun
from headrace.routing.document import Routing
from headrace.routing.store import RoutingStore

Moment = Literal["before", "after"]
Trouble = Callable[[str, Moment], None]
"""Told of every call before and after it is done; it raises what the caller is to meet."""


def no_trouble(_call: str, _moment: Moment) -> None:
    """All is well."""


@dataclass(slots=True)
class FakeRollouts:
    """See `headrace.rollouts.store.Rollouts`.

    Args:
        routings: where the routing documents are; a change of both is made of both or of neither.
        trouble: raises what calls are to meet, before anything is done or after all of it.
    """

    routings: RoutingStore
    trouble: Trouble = no_trouble
    records: dict[str, list[Rollout]] = field(default_factory=dict)
    histories: dict[str, list[Decision]] = field(default_factory=dict)
    done: dict[tuple[str, int], Change] = field(default_factory=dict)

    def current(self, endpoint: str) -> Rollout | None:
        """The endpoint's last rollout."""
        self.trouble("current", "before")
        own = self.records.get(endpoint)
        return own[-1] if own else None

    def find(self, endpoint: str, rollout_id: str) -> Rollout | None:
        """An earlier one."""
        self.trouble("find", "before")
        return next((each for each in self.records.get(endpoint, []) if each.rollout_id == rollout_id), None)

    def newest(self, endpoint: str, *, limit: int) -> list[Rollout]:
        """The last ones, the newest first."""
        self.trouble("newest", "before")
        return self.records.get(endpoint, [])[::-1][:limit]

    def decisions(self, rollout_id: str) -> list[Decision]:
        """All decisions of one, in order."""
        self.trouble("decisions", "before")
        return list(self.histories.get(rollout_id, []))

    def commit(self, change: Change) -> None:
        """Write all of it or nothing."""
        self.trouble("commit", "before")
        self._commit(change)
        self.trouble("commit", "after")

    def _commit(self, change: Change) -> None:
        new = change.rollout
        place = (new.rollout_id, new.version)
        if self.done.get(place) == change:
            return  # the same change again
        own = self.records.setdefault(new.endpoint, [])
        standing = own[-1] if own else None
        if new.version == 1:
            fits = standing is None or not standing.active
        else:
            fits = standing is not None and (standing.rollout_id, standing.version) == (new.rollout_id, new.version - 1)
        if change.routing is not None:
            fits = fits and follows(self.routings, change.routing, mend=change.mend)
        if not fits:
            raise Outrun
        if change.routing is not None:
            self.routings.put(change.routing, mend=change.mend)
        if new.version == 1:
            own.append(new)
        else:
            own[-1] = new
        if change.decision is not None:
            self.histories.setdefault(new.rollout_id, []).append(change.decision)
        self.done[place] = change


def follows(routings: RoutingStore, routing: Routing, *, mend: bool = False) -> bool:
    """Whether the document may be put in the place of what stands there."""
    if mend:
        return routings.last_good(routing.endpoint)[1] == routing.version - 1
    try:
        before = routings.read(routing.endpoint)
    except InvalidRequest:
        return False
    return (0 if before is None else before.version) == routing.version - 1


@dataclass(slots=True)
class FakeExecutions:
    """See `headrace.rollouts.controller.Executions`: what was started, in order."""

    started: list[tuple[str, str, str]] = field(default_factory=list)
    down: bool = False

    def start(self, name: str, *, endpoint: str, rollout_id: str) -> None:
        """Start an execution unless one of its name was."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        if name not in {each for each, _, _ in self.started}:
            self.started.append((name, endpoint, rollout_id))
