"""Running the job that the queue delivered: claim its record, have its request served, keep the answer, close it.

Exactly one result: the answer is an object that is written once, and never over another. A runner that dies between
writing it and moving the record leaves it for the next one, which finds it and asks nobody again.

A request that was sent to an asynchronous endpoint occupies nobody: the next look for its answer is a message of its
own, sent before the record says so. Of several messages of such a job only that one looks, and an event of the answer's
arrival, so that repeated deliveries do not multiply.

Whoever finds a job over, by its own hand or another's, frees its place and has its end told once: the message is done
with when both are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from headrace.admission.shelf import SlotStore
from headrace.errors import AnswerPending, HeadraceError
from headrace.jobs.asynchronous import OVER_NOW, WAITS_HEADER
from headrace.jobs.looks import Look, Looks, look_again
from headrace.jobs.offers import JobObjects, JobRecords, free_place
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
from headrace.notices import Notices

CONTENDED_S = 5.0
"""Two runners met at one record, and this one lost."""
ARRIVED_AGAIN_S = 10.0
"""An answer arrived while the job was being run, perhaps by the one that is just about to say that it was sent."""
LATE = "answer_late"
_UNREACHED, _LATE, _PENDING = 503, 504, 202


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
    """Runs what the queue delivers. `uniform` is chance in [0, 1). Without `looks` no answer is waited for."""

    records: JobRecords
    objects: JobObjects
    server: Server
    places: SlotStore
    notices: Notices
    wall: Callable[[], float]
    uniform: Callable[[], float]
    looks: Looks | None = None

    def run(self, tenant: str, job_id: str, *, after: int | None = None, arrived: bool = False) -> Later | None:
        """Take one delivery; None when its message has done its work.

        A look says `after` which run it was sent, an event that something has `arrived` from an asynchronous endpoint.
        The message of a job that failed is never done with, so that the queue gives it up to its dead letters.

        Raises:
            StoreUnavailable: a store did not answer; the message must be delivered again.
        """
        job = self.records.get(tenant, job_id)
        if job is None or (job.state == "sent" and not arrived and after != job.attempts):
            return None
        match begin(job, now=self.wall()):
            case Nothing():
                return self._settle(job)
            case Wait(seconds):
                return Later(min(ARRIVED_AGAIN_S, seconds) if arrived else seconds)
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
        status, code = (answer.status, error_code(answer)) if answer else (_UNREACHED, "")
        round_over = answer is not None and answer.header(WAITS_HEADER) == OVER_NOW
        if answer is not None and (status, code) == (_PENDING, AnswerPending.code):
            look = look_again(job, waits_s=_seconds(answer.header(WAITS_HEADER)), now=self.wall())
            if look is not None and self.looks is not None:
                return self._look_later(job, look, self.looks)
            status, code, round_over = _LATE, LATE, True
        end = conclude(
            job,
            status=status,
            code=code,
            retry_after_s=_seconds(answer.header("retry-after")) if answer else 0.0,
            round_over=round_over,
            now=self.wall(),
            uniform=self.uniform(),
        )
        if isinstance(end, Again):
            return Later(end.pause_s if self.records.move(job, end.job) else CONTENDED_S)
        if end.job.state != "done" or answer is None:
            return self._close(job, end.job)
        status = self._keep(job, answer)
        return self._close(job, replace(end.job, status=status))

    def _look_later(self, job: Job, look: Look, looks: Looks) -> Later | None:
        """The message first: were it the record, a runner that died between would leave a job that nobody looks at."""
        looks.send_look(job.tenant, job.job_id, after=job.attempts, pause_s=look.pause_s)
        return None if self.records.move(job, look.job) else Later(CONTENDED_S)

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
        over = replace(after, lease_until=0.0, ended_at=self.wall())
        return self._settle(over) if self.records.move(before, over) else Later(CONTENDED_S)

    def _settle(self, job: Job) -> Later | None:
        """What is left to do for a job that is over."""
        free_place(self.places, job)
        if job.webhook and not job.told:
            self.notices.send(job.tenant, "job", job.job_id)
            self.records.move(job, replace(job, told=True))
        return Later(0.0) if job.state == "failed" else None


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
