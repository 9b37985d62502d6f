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
from functions.predict.serve import plan_of, within_limits
from functions.predict.services import Services
from headrace.deadline import LAMBDA_MARGIN_S
from headrace.errors import InvalidRequest
from headrace.jobs.offers import LIST_DEFAULT, LIST_MAX, WAIT_MAX_S, Jobs, cancel, look, newest, offer, result
from headrace.jobs.prefer import WEBHOOK_HEADER
from headrace.jobs.requests import JobAnswer, accept
from headrace.jobs.states import OVER, POLL_AFTER_S, Job, waiting_max
from headrace.webhooks import parse_webhook

JSON = "application/json"
_DIGITS_MAX = 4


def check_webhook(call: Call, jobs: Jobs) -> str:
    """Where the caller wants to be told of the end, or an empty text.

    Raises:
        InvalidRequest: nothing can be sent there.
    """
    url = call.request.headers.get(WEBHOOK_HEADER, "")
    if url:
        parse_webhook(url, loopback=jobs.loopback, field=WEBHOOK_HEADER)
    return url


def take_as_job(call: Call, jobs: Jobs, services: Services) -> Response:
    """Accept the request for later and say where its answer will be: 202.

    Raises:
        InvalidRequest: nothing can be sent to its webhook.
        LimitExceeded: the tenant has too many jobs that are not over.
        StoreUnavailable: it could not be written down, so it was not accepted.
    """
    event = call.request.scope["aws.event"]
    job = offer(
        jobs,
        accept(event, call.principal, path=call.request.url.path),
        waiting_max=waiting_max(plan_of(call, services)),
        webhook=check_webhook(call, jobs),
    )
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


def summary(job: Job) -> dict[str, Any]:
    """A job as a list of them shows it."""
    return {
        "id": job.job_id,
        "object": "job",
        "state": job.state,
        "created_at": int(job.created_at),
        "expires_at": int(job.expires_at),
        "code": job.code or None,
    }


def document(job: Job) -> dict[str, Any]:
    """A job as its caller reads it, but for its result."""
    return {**summary(job), "result": None}


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
    if job.state not in OVER:
        headers["retry-after"] = str(POLL_AFTER_S)
    if asked_s is not None:
        headers["preference-applied"] = f"wait={asked_s}"
    return Response(json.dumps(body, ensure_ascii=False).encode(), media_type=JSON, headers=headers)


def list_of_jobs(call: Call, jobs: Jobs) -> Response:
    """The caller's jobs, newest first, without their results.

    Raises:
        InvalidRequest: `limit` or `after` cannot be used.
        StoreUnavailable: nobody can say.
    """
    query = call.request.query_params
    text = query.get("limit", str(LIST_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise InvalidRequest(f"limit must be a number from 1 to {LIST_MAX}.", code="invalid_limit", field="limit")
    page = newest(jobs, call.principal, limit=int(text), after=query.get("after", ""))
    call.record.update(tenant=call.principal.tenant)
    data = [summary(job) for job in page.jobs]
    body = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": page.after or (data[-1]["id"] if data else None),
        "has_more": bool(page.after),
    }
    return Response(json.dumps(body).encode(), media_type=JSON, headers={"cache-control": "no-store"})


def cancel_job(call: Call, jobs: Jobs) -> Response:
    """One job of the caller's, dropped if no run of it has begun; its state says whether it was.

    Raises:
        UnknownTarget: this caller has no such job.
        StoreUnavailable: nobody can say.
    """
    job = cancel(jobs, call.principal, call.request.path_params["job"])
    call.record.update(job=job.job_id, tenant=call.principal.tenant)
    return Response(json.dumps(document(job)).encode(), media_type=JSON, headers={"cache-control": "no-store"})


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
