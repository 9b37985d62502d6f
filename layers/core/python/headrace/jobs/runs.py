"""Running the job that the queue delivered: claim its record, have its request served, keep the answer, close it.

Exactly one result: the answer is an object that is written once, and never over another. A runner that dies between
writing it and moving the record leaves it for the next one, which finds it and asks nobody again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from headrace.errors import HeadraceError
from headrace.jobs.offers import JobObjects, JobRecords
from headrace.jobs.requests import (
    JobAnswer,
    JobRequest,
    answer_of,
    dump_answer,
    error_code,
    event_of,
    load_answer,
    load_request,
)
from headrace.jobs.states import (
    LOST,
    Again,
    Close,
    Job,
    Nothing,
    Start,
    Wait,
    begin,
    conclude,
    request_key,
    result_key,
)

CONTENDED_S = 5.0
"""Two runners met at one record, and this one lost."""
_UNREACHED = 503


class Server(Protocol):
    """The function that answers callers."""

    def serve(self, event: dict[str, Any]) -> dict[str, Any]:
        """The proxy answer to a REST proxy event. Raises AttemptFailed."""


@dataclass(frozen=True, slots=True)
class Later:
    """Deliver the message again after `pause_s`."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs what the queue delivers. `uniform` is chance in [0, 1)."""

    records: JobRecords
    objects: JobObjects
    server: Server
    wall: Callable[[], float]
    uniform: Callable[[], float]

    def run(self, tenant: str, job_id: str) -> Later | None:
        """Take one delivery; None when its message has done its work.

        The message of a job that failed is never done with, so that the queue gives it up to its dead letters.

        Raises:
            StoreUnavailable: a store did not answer; the message must be delivered again.
        """
        job = self.records.get(tenant, job_id)
        if job is None:
            return None
        match begin(job, now=self.wall()):
            case Nothing():
                return _done_with(job)
            case Wait(seconds):
                return Later(seconds)
            case Close(closed):
                return self._close(job, closed)
            case Start(running):
                return self._run(running) if self.records.move(job, running) else Later(CONTENDED_S)

    def _run(self, job: Job) -> Later | None:
        if job.attempts > 1 and (kept := self._result(job)) is not None:
            return self._close(job, replace(job, state="done", status=kept.status, code=""))
        data = self.objects.read(request_key(job.tenant, job.job_id))
        if data is None or (request := load_request(data)).tenant != job.tenant:
            return self._close(job, replace(job, state="failed", code=LOST))
        answer = self._answer(request, job)
        end = conclude(
            job,
            status=answer.status if answer else _UNREACHED,
            code=error_code(answer) if answer else "",
            retry_after_s=_seconds(answer.header("retry-after")) if answer else 0.0,
            now=self.wall(),
            uniform=self.uniform(),
        )
        if isinstance(end, Again):
            return Later(end.pause_s if self.records.move(job, end.job) else CONTENDED_S)
        if end.job.state != "done" or answer is None:
            return self._close(job, end.job)
        status = self._keep(job, answer)
        return self._close(job, replace(end.job, status=status))

    def _answer(self, request: JobRequest, job: Job) -> JobAnswer | None:
        with suppress(HeadraceError, KeyError, TypeError, ValueError, AttributeError):
            return answer_of(self.server.serve(event_of(request, job)))
        return None

    def _keep(self, job: Job, answer: JobAnswer) -> int:
        """Write the answer, or find the one that stands; its status."""
        kept = replace(answer, headers=tuple(pair for pair in answer.headers if pair[0] != "retry-after"))
        if self.objects.write_once(result_key(job.tenant, job.job_id), dump_answer(kept)):
            return answer.status
        first = self._result(job)
        return first.status if first else answer.status

    def _result(self, job: Job) -> JobAnswer | None:
        data = self.objects.read(result_key(job.tenant, job.job_id))
        return None if data is None else load_answer(data)

    def _close(self, before: Job, after: Job) -> Later | None:
        return _done_with(after) if self.records.move(before, after) else Later(CONTENDED_S)


def _done_with(job: Job) -> Later | None:
    return Later(0.0) if job.state == "failed" else None


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
