"""Experiments in memory, and copies of requests: the same contracts as the tables, the bucket and the queue."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.errors import PayloadTooLarge, StoreUnavailable
from headrace.fakes.rollouts import Trouble, follows, no_trouble
from headrace.rollouts.experiments import ExperimentChange, ExperimentRun
from headrace.rollouts.store import Outrun
from headrace.routing.store import RoutingStore


@dataclass(slots=True)
class FakeExperiments:
    """See `headrace.rollouts.experiments.Experiments`.

    Args:
        routings: where the routing documents are; a change of both is made of both or of neither.
        trouble: raises what calls are to meet, before anything is done or after all of it.
    """

    routings: RoutingStore
    trouble: Trouble = no_trouble
    records: dict[tuple[str, str], list[ExperimentRun]] = field(default_factory=dict)

    def current(self, endpoint: str, name: str) -> ExperimentRun | None:
        """The last one of that name."""
        self.trouble("current", "before")
        own = self.records.get((endpoint, name))
        return own[-1] if own else None

    def all_current(self, endpoint: str) -> list[ExperimentRun]:
        """The last one of every name."""
        self.trouble("all_current", "before")
        return [own[-1] for (of, _), own in sorted(self.records.items()) if of == endpoint]

    def newest(self, endpoint: str, *, limit: int) -> list[ExperimentRun]:
        """The last ones of all names, the newest first."""
        self.trouble("newest", "before")
        runs = [run for (of, _), own in self.records.items() if of == endpoint for run in own]
        return sorted(runs, key=lambda run: (run.started_at, run.experiment_id), reverse=True)[:limit]

    def commit(self, change: ExperimentChange) -> None:
        """Write all of it or nothing."""
        self.trouble("commit", "before")
        self._commit(change)
        self.trouble("commit", "after")

    def _commit(self, change: ExperimentChange) -> None:
        new = change.run
        own = self.records.setdefault((new.endpoint, new.name), [])
        standing = own[-1] if own else None
        if standing == new:
            return  # the same change again
        if new.version == 1:
            fits = standing is None or not standing.active
        else:
            ids = (new.experiment_id, new.version - 1)
            fits = standing is not None and (standing.experiment_id, standing.version) == ids
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


@dataclass(slots=True)
class FakeExperimentExecutions:
    """See `headrace.rollouts.experimenting.ExperimentExecutions`: what was started, in order."""

    started: list[tuple[str, str, str]] = field(default_factory=list)
    down: bool = False

    def start_experiment(self, name: str, *, endpoint: str, experiment_id: str) -> None:
        """Start an execution unless one of its name was."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        if name not in {each for each, _, _ in self.started}:
            self.started.append((name, endpoint, experiment_id))


@dataclass(slots=True)
class FakeShadowObjects:
    """See `headrace.rollouts.copies.ShadowObjects`."""

    objects: dict[str, bytes] = field(default_factory=dict)
    down: bool = False

    def write(self, key: str, body: bytes) -> None:
        """Write an object."""
        self._answer()
        self.objects[key] = body

    def read_within(self, key: str, *, bytes_max: int) -> bytes | None:
        """An object's bytes, or None."""
        self._answer()
        found = self.objects.get(key)
        if found is not None and len(found) > bytes_max:
            raise PayloadTooLarge(f"The object has more than {bytes_max} bytes.")
        return found

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._answer()
        self.objects.pop(key, None)

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailable("The fake is down.")


@dataclass(slots=True)
class FakeShadowQueue:
    """What was sent, in order. See `headrace.rollouts.copies.ShadowQueue`."""

    messages: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    def send(self, endpoint: str, copy_id: str) -> None:
        """Have a copy compared."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        self.messages.append((endpoint, copy_id))
