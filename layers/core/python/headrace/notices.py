"""What a webhook is told of the end of a job or a batch, how that is signed, and when it is tried again.

A notice says what has ended, how, and where to fetch the rest: never input, never output. It is signed as the Standard
Webhooks specification says (https://www.standardwebhooks.com, "Verifying webhook authenticity"): a receiver checks it
with any library of that scheme and its tenant's secret.

A notice comes at least once. The same end always has the same `webhook-id`, by which a receiver knows that it has heard
of it. The queue holds ids alone; what is said is read from the record when it is said.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, Protocol

from headrace.batches.bounds import NOTIFY_TIMEOUT_S
from headrace.batches.states import OVER as BATCH_OVER
from headrace.batches.states import Batch
from headrace.errors import AttemptFailed, InvalidRequest
from headrace.jobs.states import OVER as JOB_OVER
from headrace.jobs.states import Job
from headrace.webhooks import Webhook, parse_webhook

Kind = Literal["job", "batch"]

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0)
"""Between tries: together some eight hours, within the day that a job's answer is kept."""
SPREAD = 0.2
"""Receivers that one outage has taken down are not all told again at the same moment."""
TRIES_MAX = len(PAUSES_S) + 1
"""The queue gives a message up after so many deliveries."""
POST_TIMEOUT_S = 10.0
"""For all of one try: looking the name up, connecting, sending, and the answer."""
BATCH_MAX = 4
"""Messages per invocation: all of them may take their whole time."""
VISIBILITY_S = 6 * NOTIFY_TIMEOUT_S
"""Six times the function's timeout (AWS Lambda developer guide, "Configuring a queue to use with Lambda")."""
KEPT_S = 86_400.0
"""How long a notice may wait in its queue; all tries together are well within that."""
GONE = 410
"""The receiver wants to hear no more of this (Standard Webhooks, "Response status codes")."""
_OK = range(200, 300)
_PURPOSE = b"headrace-webhook\0"


class Notices(Protocol):
    """Ends that are to be told."""

    def send(self, tenant: str, kind: Kind, target_id: str) -> None:
        """Have the end of a job or batch told, if it names a webhook. Raises StoreUnavailable."""


class JobReader(Protocol):
    """Records of jobs."""

    def get(self, tenant: str, job_id: str) -> Job | None:
        """The record as it is now, or None. Raises StoreUnavailable."""


class BatchReader(Protocol):
    """Records of batches."""

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        """The record as it is now, or None. Raises StoreUnavailable."""


class Poster(Protocol):
    """Sends one request to a receiver, and follows nothing."""

    def post(self, webhook: Webhook, body: bytes, *, headers: dict[str, str]) -> int:
        """The answer's status. Raises AttemptFailed: there was none in time, or the address must not be asked."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One end to be told. `notice_id` is the same whenever this end is told; `at` is when it came, in epoch seconds."""

    notice_id: str
    type: str
    at: float
    data: dict[str, Any]

    @property
    def body(self) -> bytes:
        """The message, byte for byte the same each time."""
        at = datetime.fromtimestamp(self.at, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps({"type": self.type, "timestamp": at, "data": self.data}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one try: `outcome` is for the log, `pause_s` when to try again, None when that is over."""

    outcome: str
    pause_s: float | None = None


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells what the queue delivers. `pepper` is the platform's; `wall` epoch seconds; `uniform` chance in [0, 1)."""

    jobs: JobReader
    batches: BatchReader
    poster: Poster
    pepper: Callable[[], bytes]
    wall: Callable[[], float]
    uniform: Callable[[], float]
    loopback: bool = False

    def tell(self, tenant: str, kind: Kind, target_id: str, *, tries: int) -> Told:
        """Take one delivery, the `tries`-th of its message, counted from 1.

        Raises:
            StoreUnavailable: the record or the secret could not be read; the message must be delivered again.
        """
        found = self._notice(tenant, kind, target_id)
        if found is None:
            return Told("nothing_to_tell")
        notice, url = found
        try:
            webhook = parse_webhook(url, loopback=self.loopback)
        except InvalidRequest:
            return Told("refused_address")
        body = notice.body
        headers = signed_headers(secret_of(self.pepper(), tenant), notice.notice_id, body, now=self.wall())
        try:
            status = self.poster.post(webhook, body, headers=headers)
        except AttemptFailed as failed:
            return Told(failed.reason, pause_s(tries, uniform=self.uniform()))
        if status in _OK or status == GONE:
            return Told("gone" if status == GONE else "told")
        return Told(f"status_{status}", pause_s(tries, uniform=self.uniform()))

    def _notice(self, tenant: str, kind: Kind, target_id: str) -> tuple[Notice, str] | None:
        if kind == "job":
            job = self.jobs.get(tenant, target_id)
            return None if job is None or job.state not in JOB_OVER or not job.webhook else (of_job(job), job.webhook)
        batch = self.batches.get(tenant, target_id)
        if batch is None or batch.state not in BATCH_OVER or not batch.options.webhook:
            return None
        return of_batch(batch), batch.options.webhook


def of_job(job: Job) -> Notice:
    """The end of a job. `status` is that of the answer, where there is one."""
    data = {
        "id": job.job_id,
        "object": "job",
        "state": job.state,
        "code": job.code or None,
        "status": job.status if job.state == "done" else None,
        "created_at": int(job.created_at),
        "ended_at": int(job.ended_at),
        "expires_at": int(job.expires_at),
        "url": f"/v1/jobs/{job.job_id}",
    }
    return Notice(f"{job.job_id}-{job.state}", f"job.{job.state}", job.ended_at, data)


def of_batch(batch: Batch) -> Notice:
    """The end of a batch, or of a run of it: one that was begun again ends again."""
    data = {
        "id": batch.batch_id,
        "object": "batch",
        "status": batch.state,
        "request_counts": {
            "total": batch.counts.total,
            "completed": batch.counts.results,
            "failed": batch.counts.errors,
            "degraded": batch.counts.degraded,
        },
        "input_file_id": batch.input_file_id or None,
        "output_file_id": batch.output_file_id or None,
        "error_file_id": batch.error_file_id or None,
        "problems": [problem.code for problem in batch.problems],
        "created_at": int(batch.created_at),
        "ended_at": int(batch.ended_at),
        "expires_at": int(batch.expires_at),
        "url": f"/v1/batches/{batch.batch_id}",
    }
    return Notice(f"{batch.execution}-{batch.state}", f"batch.{batch.state}", batch.ended_at, data)


def secret_of(pepper: bytes, tenant: str) -> bytes:
    """A tenant's secret, 32 bytes: derived, so that nothing is stored; it changes when the pepper does."""
    return hmac.digest(pepper, _PURPOSE + tenant.encode(), "sha256")


def show_secret(secret: bytes) -> str:
    """The secret as receivers' libraries take it."""
    return SECRET_PREFIX + b64encode(secret).decode()


def signed_headers(secret: bytes, notice_id: str, body: bytes, *, now: float) -> dict[str, str]:
    """The three headers of the scheme: HMAC-SHA256 over id, timestamp (whole seconds) and body, with dots between."""
    timestamp = str(int(now))
    digest = hmac.new(secret, f"{notice_id}.{timestamp}.".encode() + body, sha256).digest()
    return {
        "webhook-id": notice_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }


def pause_s(tries: int, *, uniform: float) -> float:
    """How long to wait after so many tries; 0 after the last, so that the queue gives the message up."""
    if tries > len(PAUSES_S):
        return 0.0
    return PAUSES_S[max(1, tries) - 1] * (1 - SPREAD + 2 * SPREAD * uniform)
