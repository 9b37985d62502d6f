"""Requests accepted for later, as callers meet them: offered, looked at, cancelled, and fetched when they are done.

`headrace.jobs.states` decides what a job may become, `headrace.jobs.runs` runs the ones that the queue delivers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol
from zlib import crc32

from headrace.admission.shelf import SlotStore, shelves
from headrace.errors import InvalidRequest, LimitExceeded, StoreUnavailable, UnknownTarget
from headrace.identity import Principal
from headrace.jobs.requests import JobAnswer, JobRequest, dump_request, load_answer
from headrace.jobs.states import (
    OVER,
    Job,
    accepted,
    cancelled,
    counted_until,
    is_id,
    may_see,
    place_of,
    request_key,
    result_key,
    state_at,
    waiting_room,
)

WAIT_MAX_S = 20.0
"""The longest that one look waits for the end; the gateway's 29 s end every request."""
POLL_FIRST_S = 0.2
POLL_MAX_S = 1.0
SHELVES_TRIED_MAX = 4
"""Each try is a write. A bound of up to 400 jobs is exact; beyond that a tenant may be refused a little before it."""
FULL_RETRY_S = 10.0
"""When a tenant whose jobs are too many may try again: about the time of a few answers."""
CANCEL_TRIES_MAX = 4
"""A record that moves under the canceller's hands this often is being run."""
LIST_MAX, LIST_DEFAULT = 100, 20
LIST_PAGES_MAX = 10
"""Pages that one look at the list reads to find jobs that a narrow key may see."""
NOT_QUEUED = "not_queued"


class JobRecords(Protocol):
    """Records of jobs."""

    def create(self, job: Job) -> None:
        """Write a new record. Raises StoreUnavailable."""

    def get(self, tenant: str, job_id: str) -> Job | None:
        """The record as it is now, or None. Raises StoreUnavailable."""

    def move(self, before: Job, after: Job) -> bool:
        """Write `after` if the record still has the state and attempts of `before`. Raises StoreUnavailable."""


class JobLists(Protocol):
    """A tenant's jobs."""

    def newest(self, tenant: str, *, limit: int, after: str = "") -> list[Job]:
        """The newest first, those older than the job `after`, whether or not it exists. Raises StoreUnavailable."""


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
    """What accepting and looking at jobs needs. `wall` is seconds since the epoch; `sleep` waits for seconds.

    `places` counts the jobs that are not over: each holds a slot, which ends by itself when the job must have.
    `loopback` lets ends be told to programs on this machine: for the laptop.
    """

    records: JobRecords
    lists: JobLists
    objects: JobObjects
    queue: JobQueue
    places: SlotStore
    wall: Callable[[], float]
    sleep: Callable[[float], None]
    random_bytes: Callable[[int], bytes]
    loopback: bool = False


def offer(jobs: Jobs, request: JobRequest, *, waiting_max: int, webhook: str = "") -> Job:
    """Accept a request for later; once this returns, it will be run or said to have failed.

    Args:
        jobs: stores, queue and clock.
        request: what is to be served.
        waiting_max: how many jobs that are not over its tenant may have.
        webhook: where the end is told, checked already; or empty.

    Raises:
        LimitExceeded: the tenant has as many as it may have.
        StoreUnavailable: it could not be written down, so it was not accepted.
    """
    key_id = dict(request.caller).get("key_id", "")
    job = accepted(request.tenant, key_id=key_id, webhook=webhook, now=jobs.wall(), random_bytes=jobs.random_bytes)
    job = _counted(jobs, job, waiting_max)
    try:
        jobs.objects.write_once(request_key(job.tenant, job.job_id), dump_request(request))
        jobs.records.create(job)
        jobs.queue.send(job.tenant, job.job_id)
    except StoreUnavailable:
        # The caller is told that it was not accepted. A record or a message that came through all the same must not
        # say otherwise.
        with suppress(StoreUnavailable):
            jobs.records.move(job, replace(job, state="failed", code=NOT_QUEUED, ended_at=jobs.wall(), told=True))
        free_place(jobs.places, job)
        raise
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
        job = _find(jobs, principal, job_id)
        now = jobs.wall()
        job = replace(job, state=state_at(job, now=now))
        if now >= until or job.state in OVER:
            return job
        jobs.sleep(min(pause_s, until - now))
        pause_s = min(POLL_MAX_S, pause_s * 2)


def cancel(jobs: Jobs, principal: Principal, job_id: str) -> Job:
    """Drop the caller's job if no run of it has begun; the job as it is then, cancelled or not.

    A job that is being run is left alone, and so is one that is over: the state says so.

    Raises:
        UnknownTarget: this caller has no such job.
        StoreUnavailable: the state store did not answer; it may be cancelled all the same.
    """
    for _ in range(CANCEL_TRIES_MAX):
        job = _find(jobs, principal, job_id)
        after = cancelled(job, now=jobs.wall())
        if after is None:
            break
        if jobs.records.move(job, after):
            # Its end is told by the runner that finds its message: one place tells.
            free_place(jobs.places, after)
            return after
    return look(jobs, principal, job_id)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `after` is where the next one begins, or empty when this is the last."""

    jobs: tuple[Job, ...]
    after: str


def newest(jobs: Jobs, principal: Principal, *, limit: int = LIST_DEFAULT, after: str = "") -> Page:
    """The caller's jobs, newest first, as callers are told. A page may hold fewer than `limit` and not be the last.

    Args:
        jobs: the stores.
        principal: who asks.
        limit: from 1 to `LIST_MAX`.
        after: the job behind which the page begins, or empty.

    Raises:
        InvalidRequest: the limit or `after` cannot be used.
        StoreUnavailable: the state store did not answer.
    """
    if not 1 <= limit <= LIST_MAX:
        raise InvalidRequest(f"limit must be a number from 1 to {LIST_MAX}.", code="invalid_limit", field="limit")
    if after and not is_id(after):
        raise InvalidRequest("after must be the id of a job.", code="invalid_after", field="after")
    found: list[Job] = []
    now = jobs.wall()
    for _ in range(LIST_PAGES_MAX):
        page = jobs.lists.newest(principal.tenant, limit=LIST_MAX, after=after)
        for job in page:
            if now >= job.expires_at:
                return Page(tuple(found), "")
            if not may_see(job, principal):
                continue
            if len(found) == limit:
                return Page(tuple(found), found[-1].job_id)
            found.append(replace(job, state=state_at(job, now=now)))
        if len(page) < LIST_MAX:
            return Page(tuple(found), "")
        after = page[-1].job_id
    return Page(tuple(found), after)


def result(jobs: Jobs, job: Job) -> JobAnswer | None:
    """The answer of a job that is done; None when its object is gone before its record.

    Raises:
        StoreUnavailable: the object could not be read.
    """
    data = jobs.objects.read(result_key(job.tenant, job.job_id))
    return None if data is None else load_answer(data)


def free_place(places: SlotStore, job: Job) -> None:
    """The job counts no more. Without an answer it counts until `counted_until`."""
    with suppress(StoreUnavailable):
        places.release(place_of(job), job.job_id)


def _find(jobs: Jobs, principal: Principal, job_id: str) -> Job:
    job = jobs.records.get(principal.tenant, job_id) if is_id(job_id) else None
    if job is None or not may_see(job, principal) or jobs.wall() >= job.expires_at:
        raise UnknownTarget("There is no such job, or it is too old to be kept.", code="job_not_found")
    return job


def _counted(jobs: Jobs, job: Job, waiting_max: int) -> Job:
    """The job with a place of its own: no two of a tenant share one, whoever else accepts at the same time."""
    rooms = shelves(waiting_room(job.tenant), waiting_max)
    first = crc32(job.job_id.encode())
    for step in range(min(SHELVES_TRIED_MAX, len(rooms))):
        shelf = rooms[(first + step) % len(rooms)]
        if jobs.places.acquire(shelf, job.job_id, until=ceil(counted_until(job)), now=job.created_at).taken:
            return replace(job, place=shelf.shard)
    full = LimitExceeded(
        "Too many jobs of yours wait or run: offer more when some are done, or use a batch.",
        code="jobs_exceeded",
        retry_after_s=FULL_RETRY_S,
    )
    full.limit = waiting_max
    raise full
