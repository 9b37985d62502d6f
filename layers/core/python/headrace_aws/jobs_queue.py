"""The queue of jobs to be run: a message names its tenant and its job, and holds nothing of the request."""

from __future__ import annotations

import json
from dataclasses import dataclass

from headrace.jobs.asynchronous import job_of_key
from headrace_aws.queues import Queue

DELAY_MAX_S = 900
"""Fifteen minutes (SQS API reference, SendMessage, DelaySeconds)."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a message asks for: a job's run, and see `headrace.jobs.runs.Runner.run` for what it says beside that."""

    tenant: str
    job_id: str
    after: int | None = None
    arrived: bool = False


class JobsQueue(Queue):
    """See `headrace.jobs.offers.JobQueue` and `headrace.jobs.runs.Looks`."""

    def send(self, tenant: str, job_id: str) -> None:
        """Have the job run.

        Raises:
            StoreUnavailable: not sent, or nobody knows.
        """
        self.put({"tenant": tenant, "job": job_id})

    def send_look(self, tenant: str, job_id: str, *, after: int, pause_s: float) -> None:
        """Have the job's answer looked for after `pause_s`, at most `DELAY_MAX_S`.

        Raises:
            StoreUnavailable: not sent, or nobody knows.
        """
        self.put({"tenant": tenant, "job": job_id, "after": after}, delay_s=min(DELAY_MAX_S, max(0, round(pause_s))))


def read_message(body: str) -> Delivery | None:
    """What a message asks for; None for an object whose key names no job.

    It is one of ours, or S3's event that an object was created, as EventBridge passes it on (Amazon S3 user guide,
    "Using EventBridge": Object Created).

    Raises:
        ValueError: it is neither.
    """
    try:
        document = json.loads(body)
        if document.get("source") == "aws.s3":
            found = job_of_key(document["detail"]["object"]["key"])
            return None if found is None else Delivery(*found, arrived=True)
        tenant, job_id, after = document["tenant"], document["job"], document.get("after")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("not a job's message") from None
    if not (isinstance(tenant, str) and isinstance(job_id, str) and isinstance(after, int | None)):
        raise ValueError("not a job's message")  # noqa: TRY004 - one error for every wrong message
    return Delivery(tenant, job_id, after)
