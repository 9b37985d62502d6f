"""The job flow's ports in memory: records in a dict, objects in a dict, and a queue that is a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import PayloadTooLarge, StoreUnavailable, TargetUnavailable
from headrace.jobs.states import Job


@dataclass(slots=True)
class FakeJobRecords:
    """See `headrace.jobs.offers.JobRecords` and `headrace.jobs.offers.JobLists`."""

    records: dict[tuple[str, str], Job] = field(default_factory=dict)

    def create(self, job: Job) -> None:
        """Write a new record."""
        if (job.tenant, job.job_id) in self.records:
            raise StoreUnavailable("There is a job of that id: mint again.")
        self.records[job.tenant, job.job_id] = job

    def get(self, tenant: str, job_id: str) -> Job | None:
        """The record, or None."""
        return self.records.get((tenant, job_id))

    def move(self, before: Job, after: Job) -> bool:
        """Compare and set."""
        now = self.get(before.tenant, before.job_id)
        if now is None or (now.state, now.attempts) != (before.state, before.attempts):
            return False
        self.records[after.tenant, after.job_id] = after
        return True

    def newest(self, tenant: str, *, limit: int, after: str = "") -> list[Job]:
        """The newest first: ids sort as their jobs were accepted."""
        own = sorted((job_id for owner, job_id in self.records if owner == tenant), reverse=True)
        return [self.records[tenant, job_id] for job_id in own if not after or job_id < after][:limit]


@dataclass(slots=True)
class FakeJobObjects:
    """See `headrace.jobs.offers.JobObjects`."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object that is not there."""
        if key in self.objects:
            return False
        self.objects[key] = body
        return True

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None."""
        return self.objects.get(key)

    def read_within(self, key: str, *, bytes_max: int) -> bytes | None:
        """An object's bytes, if they are no more than that."""
        found = self.objects.get(key)
        if found is not None and len(found) > bytes_max:
            raise PayloadTooLarge(f"The object has more than {bytes_max} bytes.")
        return found


@dataclass(slots=True)
class FakeJobQueue:
    """What was sent, in order. See `headrace.jobs.offers.JobQueue`."""

    messages: list[tuple[str, str]] = field(default_factory=list)
    looks: list[tuple[str, str, int, float]] = field(default_factory=list)
    """Tenant, job, after which run, and after how many seconds. See `headrace.jobs.runs.Looks`."""

    def send(self, tenant: str, job_id: str) -> None:
        """Have the job run."""
        self.messages.append((tenant, job_id))

    def send_look(self, tenant: str, job_id: str, *, after: int, pause_s: float) -> None:
        """Have the job's answer looked for."""
        self.looks.append((tenant, job_id, after, pause_s))


def _down(_: dict[str, Any]) -> dict[str, Any]:
    raise TargetUnavailable("The fake is down.")


@dataclass(slots=True)
class FakeServer:
    """Answers with `respond`. See `headrace.jobs.runs.Server`."""

    respond: Callable[[dict[str, Any]], dict[str, Any]] = _down

    def serve(self, event: dict[str, Any]) -> dict[str, Any]:
        """The proxy answer."""
        return self.respond(event)
