"""`GET /v1/jobs/{id}`: what became of a request that was accepted for later."""

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services
from headrace.errors import UnknownTarget

JOBS_PATH = "/v1/jobs"


async def get_job(call: Call, services: Services) -> Response:
    """One job of the caller's; with `Prefer: wait=N` the answer may take so many seconds."""
    if services.jobs is None:
        raise UnknownTarget("Requests are not accepted for later here.", code="job_not_found")
    from functions.predict.deferred import tell_of_job  # noqa: PLC0415 - a cold start does not pay for jobs

    return tell_of_job(call, services.jobs(), services)


ROUTES = (("GET", f"{JOBS_PATH}/{{job}}", get_job),)
