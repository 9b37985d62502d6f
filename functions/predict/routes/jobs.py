"""`GET /v1/jobs/{id}`: what became of a request that was accepted for later."""

import json
from base64 import b64encode
from typing import Any

from functions.predict.call import Call
from functions.predict.deferred import JOBS_PATH, document
from functions.predict.lean import Response
from functions.predict.services import Services
from headrace.deadline import LAMBDA_MARGIN_S
from headrace.errors import UnknownTarget
from headrace.job_requests import JobAnswer
from headrace.job_states import POLL_AFTER_S
from headrace.jobs import look, result

JSON = "application/json"


async def get_job(call: Call, services: Services) -> Response:
    """One job of the caller's; with `Prefer: wait=N` the answer may take so many seconds."""
    principal = call.principal
    if services.jobs is None:
        raise UnknownTarget("Requests are not accepted for later here.", code="job_not_found")
    asked_s = call.preference.wait_s
    job = look(
        services.jobs, principal, call.request.path_params["job"], wait_s=min(asked_s or 0.0, _seconds_left(call))
    )
    call.record.update(job=job.job_id, tenant=principal.tenant)
    answer = result(services.jobs, job) if job.state == "done" else None
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


ROUTES = (("GET", f"{JOBS_PATH}/{{job}}", get_job),)
