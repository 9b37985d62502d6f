"""Requests accepted for later: what state a job may go to, when it runs again, and when it is given up.

    queued ──► running ──► done        an answer exists, whatever its status
      ▲           │  └───► failed      no answer could be had; `code` is the last one's
      └── again ──┘        expired     too old to be begun
                           cancelled   its caller wanted it no more before a run of it began

    running ──► sent ──► running       an asynchronous endpoint has it, and nobody runs it until its answer is there

A record moves only from the very state that the mover has read (`state` and `attempts` together are unique on the way),
so that of two runners one goes on. The queue delivers at least once: a message of a job that is over changes nothing,
one of a job whose runner died is run again when its lease has passed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from headrace.admission.shelf import Shelf
from headrace.identity import Principal
from headrace.plans import Plan

JobState = Literal["queued", "running", "sent", "done", "failed", "expired", "cancelled"]
OVER: frozenset[JobState] = frozenset({"done", "failed", "expired", "cancelled"})

TIME_BYTES = 6
"""Milliseconds since the epoch begin an id, so that ids sort as their jobs were accepted (as in RFC 9562, UUIDv7)."""
ID_BYTES = 10
"""80 random bits follow: an id cannot be guessed, and it is looked up below its tenant alone all the same."""
AGE_MAX_S = 3600.0
"""Who has waited an hour for one answer no longer waits for it."""
KEPT_S = 86_400.0
"""How long record, request and result can be read, from acceptance."""
RUN_MAX_S = 45.0
"""The time that a run gets as a whole: `job_run`'s timeout."""
SERVE_MAX_S = 32.0
"""What one call of the serving function gets: its own timeout (29 s) and the way there."""
LEASE_S = 60.0
"""Longer than `RUN_MAX_S`, so that no run is taken over while it lives."""
ATTEMPTS_MAX = 8
"""With the pauses below, a quarter of an hour: an outage that lasts longer is told to the caller."""
RECEIVES_MAX = ATTEMPTS_MAX + 4
"""Deliveries before the queue gives a message up; some find the job in another runner's hands."""
BATCH_MAX = 1
"""Messages per invocation: a job may run for half a minute, and another one must not wait behind it."""
VISIBILITY_S = 6 * RUN_MAX_S
"""Six times the function's timeout (AWS Lambda developer guide, "Configuring a queue to use with Lambda")."""
PAUSE_MIN_S = 10.0
PAUSE_MAX_S = 300.0
POLL_AFTER_S = 2
"""When a caller may look again."""
WAITING_PER_PLACE = 16
"""A tenant may have so many jobs that are not over for each request that its plan lets it have at work: what those
places do in a minute of slow answers, and far less than the hour that a job may wait."""
WAITING_MAX = 1_000
"""And no more than this, whatever the plan."""

TRANSIENT = frozenset({429, 503, 504})
"""Statuses that say "not now": the job goes back to the queue."""
LOST = "request_lost"
CRASHED = "internal_error"

_ID = re.compile(r"job_[A-Za-z0-9_-]{22}")
_DIGITS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""base64url's characters in the order in which texts are sorted."""
_DIGIT_BITS = 6


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted request. Times are seconds since the epoch; `status` and `code` are those of the last answer.

    `key_id` names the credential that it was accepted from. `webhook` is where its end is told, or empty, and `told`
    says that this is under way. `place` is the number of the shelf on which the job counts against its tenant's bound.
    `rounds` counts what came to nothing at an asynchronous endpoint, `waits` the runs that found its answer
    not there yet, and `sent_until` is how long that may still come.
    """

    tenant: str
    job_id: str
    created_at: float
    state: JobState = "queued"
    attempts: int = 0
    lease_until: float = 0.0
    status: int = 0
    code: str = ""
    key_id: str = ""
    ended_at: float = 0.0
    webhook: str = ""
    told: bool = False
    place: int = 0
    rounds: int = 0
    waits: int = 0
    sent_until: float = 0.0

    @property
    def tries(self) -> int:
        """Runs that count: one that only looked for an answer has tried nothing."""
        return self.attempts - self.waits

    @property
    def due_at(self) -> float:
        """Who has not begun by then begins no more; an answer that is on its way may still be fetched."""
        return max(self.created_at + AGE_MAX_S, self.sent_until + LEASE_S)

    @property
    def expires_at(self) -> float:
        """When the record and its objects may be forgotten."""
        return self.created_at + KEPT_S


@dataclass(frozen=True, slots=True)
class Start:
    """Move the record to `job`, then run it."""

    job: Job


@dataclass(frozen=True, slots=True)
class Close:
    """Move the record to `job`, which is over."""

    job: Job


@dataclass(frozen=True, slots=True)
class Again:
    """Move the record to `job`, which is queued again, and deliver it after `pause_s`."""

    job: Job
    pause_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody else runs it: look again after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Nothing:
    """It is over already."""


def accepted(
    tenant: str, *, key_id: str = "", webhook: str = "", now: float, random_bytes: Callable[[int], bytes]
) -> Job:
    """A new job of a tenant."""
    data = round(now * 1000).to_bytes(TIME_BYTES, "big") + random_bytes(ID_BYTES)
    return Job(tenant, f"job_{_sortable(data)}", now, key_id=key_id, webhook=webhook)


def cancelled(job: Job, *, now: float) -> Job | None:
    """The job once it is cancelled; None when it is over, or at work somewhere: what has begun is not interrupted."""
    if state_at(job, now=now) in OVER or job.state == "sent" or now < job.lease_until:
        return None
    return replace(job, state="cancelled", code="", lease_until=0.0, ended_at=now)


def waiting_max(plan: Plan) -> int:
    """How many jobs that are not over a tenant of this plan may have."""
    return min(WAITING_MAX, WAITING_PER_PLACE * plan.concurrency)


def waiting_room(tenant: str) -> str:
    """The name under which a tenant's jobs are counted: no tenant can have it as its own."""
    return f"{tenant}~jobs"


def place_of(job: Job) -> Shelf:
    """Where the job is counted; only good for giving the place back."""
    return Shelf(waiting_room(job.tenant), job.place, 0)


def counted_until(job: Job) -> float:
    """When a job counts no more, whether or not anybody has said that it is over."""
    return job.created_at + AGE_MAX_S + LEASE_S


def may_see(job: Job, principal: Principal) -> bool:
    """Whether a caller may know of the job: its tenant's keys for every model, and the very key that it came from.

    Another key of the tenant may be for one model, or for reading only, and the answer is a model's.
    """
    return job.tenant == principal.tenant and principal.owns(job.key_id)


def is_id(text: str) -> bool:
    """Whether it can be a job's id: anything else is not looked up."""
    return _ID.fullmatch(text) is not None


def begin(job: Job, *, now: float) -> Start | Close | Wait | Nothing:
    """What to do with a job that the queue delivered."""
    if job.state in OVER:
        return Nothing()
    if job.state == "running" and now < job.lease_until:
        return Wait(job.lease_until - now)
    if job.state != "sent" and now > job.due_at:
        return Close(replace(job, state="expired"))
    if job.state != "sent" and job.tries >= ATTEMPTS_MAX:
        return Close(replace(job, state="failed", code=job.code or CRASHED))
    return Start(replace(job, state="running", attempts=job.attempts + 1, lease_until=now + LEASE_S))


def conclude(
    job: Job,
    *,
    status: int,
    code: str = "",
    retry_after_s: float = 0.0,
    round_over: bool = False,
    now: float,
    uniform: float,
) -> Close | Again:
    """What becomes of a running job with this answer.

    Args:
        job: as it runs.
        status: of the answer; a call that failed altogether counts as 503.
        code: the answer's stable error code, if it is an error.
        retry_after_s: when the answer says that trying again makes sense.
        round_over: whether what was sent to an asynchronous endpoint has come to nothing, so that it is sent again.
        now: seconds since the epoch.
        uniform: chance in [0, 1), which spreads the jobs that one outage has sent back.
    """
    if status not in TRANSIENT:
        return Close(replace(job, state="done", status=status, code=""))
    after = replace(job, status=status, code=code or CRASHED, lease_until=0.0)
    if round_over:
        after = replace(after, rounds=job.rounds + 1, sent_until=0.0)
    pause_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0 ** (job.tries - 1)) * (0.5 + uniform)
    pause_s = min(PAUSE_MAX_S, max(pause_s, retry_after_s))
    if job.tries >= ATTEMPTS_MAX or now + pause_s > after.due_at:
        return Close(replace(after, state="failed"))
    return Again(replace(after, state="queued"), pause_s)


def state_at(job: Job, *, now: float) -> JobState:
    """The state that callers are told: a job that nobody runs, and that is too old to be begun, has expired.

    What an asynchronous endpoint has is running, wherever that is.
    """
    if job.state not in OVER and now >= job.lease_until and now > job.due_at:
        return "expired"
    return "running" if job.state == "sent" else job.state


def _sortable(data: bytes) -> str:
    """Bytes as text that sorts as they do: base64 with its digits in order, the last one filled up with zeros."""
    digits = -(-len(data) * 8 // _DIGIT_BITS)
    number = int.from_bytes(data, "big") << (digits * _DIGIT_BITS - len(data) * 8)
    return "".join(_DIGITS[number >> _DIGIT_BITS * place & 63] for place in reversed(range(digits)))


def request_key(tenant: str, job_id: str) -> str:
    """Where the accepted request lies."""
    return f"tenants/{tenant}/jobs/{job_id}.request.json"


def result_key(tenant: str, job_id: str) -> str:
    """Where the answer lies."""
    return f"tenants/{tenant}/jobs/{job_id}.json"
