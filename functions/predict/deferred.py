"""Requests that are in order and are answered later, as their callers prefer (RFC 7240, `respond-async`).

Imported when the first of them comes: few are.
"""

import json
from base64 import b64encode
from contextlib import nullcontext
from typing import Any

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.routes.jobs import JOBS_PATH
from functions.predict.serve import within_limits
from functions.predict.services import Services
from headrace.deadline import LAMBDA_MARGIN_S
from headrace.jobs.offers import WAIT_MAX_S, Jobs, look, offer, result
from headrace.jobs.requests import JobAnswer, accept
from headrace.jobs.states import POLL_AFTER_S, Job

JSON = "application/json"


def take_as_job(call: Call, jobs: Jobs) -> Response:
    """Accept the request for later and say where its answer will be: 202.

    Raises:
        StoreUnavailable: it could not be written down, so it was not accepted.
    """
    event = call.request.scope["aws.event"]
    job = offer(jobs, accept(event, call.principal, path=call.request.url.path))
    call.record["job"] = job.job_id
    call.answer_headers.clear()
    return Response(
        json.dumps(document(job)).encode(),
        status_code=202,
        media_type=JSON,
        headers={
            "location": f"{JOBS_PATH}/{job.job_id}",
            "preference-applied": "respond-async",
            "retry-after": str(POLL_AFTER_S),
        },
    )


def document(job: Job) -> dict[str, Any]:
    """A job as its caller reads it, but for its result."""
    return {
        "id": job.job_id,
        "object": "job",
        "state": job.state,
        "created_at": int(job.created_at),
        "expires_at": int(job.expires_at),
        "code": job.code or None,
        "result": None,
    }


def tell_of_job(call: Call, jobs: Jobs, services: Services) -> Response:
    """What became of one job of the caller's.

    Raises:
        LimitExceeded: it was to be waited for, and the tenant has no place for that.
        UnknownTarget: this caller has no such job.
        StoreUnavailable: nobody can say.
    """
    principal, asked_s = call.principal, call.preference.wait_s
    wait_s = min(asked_s or 0.0, _seconds_left(call), WAIT_MAX_S)
    # A look that waits keeps a function busy, as an inference does; one that does not is answered in milliseconds.
    with within_limits(call, services, seconds=wait_s) if wait_s else nullcontext():
        job = look(jobs, principal, call.request.path_params["job"], wait_s=wait_s)
    call.record.update(job=job.job_id, tenant=principal.tenant)
    answer = result(jobs, job) if job.state == "done" else None
    body = document(job) if answer is None else {**document(job), "result": _result(answer)}
    headers = {"cache-control": "no-store"}
    if job.state in {"queued", "running"}:
        headers["retry-after"] = str(POLL_AFTER_S)
    if asked_s is not None:
        headers["preference-applied"] = f"wait={asked_s}"
    return Response(json.dumps(body, ensure_ascii=False).encode(), media_type=JSON, headers=headers)


def _seconds_left(call: Call) -> float:
    """How long a look may last: Lambda ends the request whatever the caller prefers."""
    remaining_ms = getattr(call.request.scope.get("aws.context"), "get_remaining_time_in_millis", None)
    return float("inf") if remaining_ms is None else max(0.0, remaining_ms() / 1000 - LAMBDA_MARGIN_S)


def _result(answer: JobAnswer) -> dict[str, Any]:
    """What the caller would have got: JSON as it is, anything else in base64."""
    found: dict[str, Any] = {"status": answer.status, "headers": dict(answer.headers), "body": None}
    if answer.header("content-type").partition(";")[0] == JSON:
        return {**found, "body": json.loads(answer.body)}
    return {**found, "body_base64": b64encode(answer.body).decode()}
