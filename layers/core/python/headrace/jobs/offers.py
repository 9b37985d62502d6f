"""Requests accepted for later, as callers meet them: offered, looked at, and fetched when they are done.

`job_states` decides what a job may become, `job_runs` runs the ones that the queue delivers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from headrace.errors import UnknownTarget
from headrace.identity import Principal
from headrace.jobs.requests import JobAnswer, JobRequest, dump_request, load_answer
from headrace.jobs.states import Job, accepted, is_id, may_see, request_key, result_key, state_at

WAIT_MAX_S = 20.0
"""The longest that one look waits for the end; the gateway's 29 s end every request."""
POLL_FIRST_S = 0.2
POLL_MAX_S = 1.0


class JobRecords(Protocol):
    """Records of jobs."""

    def create(self, job: Job) -> None:
        """Write a new record. Raises StoreUnavailable."""

    def get(self, tenant: str, job_id: str) -> Job | None:
        """The record as it is now, or None. Raises StoreUnavailable."""

    def move(self, before: Job, after: Job) -> bool:
        """Write `after` if the record still has the state and attempts of `before`. Raises StoreUnavailable."""


class JobObjects(Protocol):
    """Requests and answers, by key."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object; False, and nothing written, when there is one. Raises StoreUnavailable."""

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None. Raises StoreUnavailable."""


class JobQueue(Protocol):
    """Jobs to be run, delivered at least once."""

    def send(self, tenant: str, job_id: str) -> None:
        """Have the job run. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """What accepting and looking at jobs needs. `wall` is seconds since the epoch; `sleep` waits for seconds."""

    records: JobRecords
    objects: JobObjects
    queue: JobQueue
    wall: Callable[[], float]
    sleep: Callable[[float], None]
    random_bytes: Callable[[int], bytes]


def offer(jobs: Jobs, request: JobRequest) -> Job:
    """Accept a request for later; once this returns, it will be run or said to have failed.

    Raises:
        StoreUnavailable: it could not be written down, so it was not accepted.
    """
    key_id = dict(request.caller).get("key_id", "")
    job = accepted(request.tenant, key_id=key_id, now=jobs.wall(), random_bytes=jobs.random_bytes)
    jobs.objects.write_once(request_key(job.tenant, job.job_id), dump_request(request))
    jobs.records.create(job)
    jobs.queue.send(job.tenant, job.job_id)
    return job


def look(jobs: Jobs, principal: Principal, job_id: str, *, wait_s: float = 0.0) -> Job:
    """The caller's job, as callers are told; with `wait_s` the look lasts until it is over, or that long.

    Raises:
        UnknownTarget: this caller has no such job.
        StoreUnavailable: the state store did not answer.
    """
    until = jobs.wall() + min(wait_s, WAIT_MAX_S)
    pause_s = POLL_FIRST_S
    while True:
        job = jobs.records.get(principal.tenant, job_id) if is_id(job_id) else None
        now = jobs.wall()
        if job is None or not may_see(job, principal) or now >= job.expires_at:
            raise UnknownTarget("There is no such job, or it is too old to be kept.", code="job_not_found")
        job = replace(job, state=state_at(job, now=now))
        if now >= until or job.state not in {"queued", "running"}:
            return job
        jobs.sleep(min(pause_s, until - now))
        pause_s = min(POLL_MAX_S, pause_s * 2)


def result(jobs: Jobs, job: Job) -> JobAnswer | None:
    """The answer of a job that is done; None when its object is gone before its record.

    Raises:
        StoreUnavailable: the object could not be read.
    """
    data = jobs.objects.read(result_key(job.tenant, job.job_id))
    return None if data is None else load_answer(data)
