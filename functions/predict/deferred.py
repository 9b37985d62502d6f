"""202: a request that is in order and is answered later, as its caller prefers (RFC 7240, `respond-async`)."""

import json
from typing import Any

from functions.predict.call import Call
from functions.predict.lean import Response
from headrace.job_requests import accept
from headrace.job_states import POLL_AFTER_S, Job
from headrace.jobs import Jobs, offer

JOBS_PATH = "/v1/jobs"


def take_as_job(call: Call, jobs: Jobs) -> Response:
    """Accept the request for later and say where its answer will be.

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
        media_type="application/json",
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
