"""`/v1/jobs`: what became of requests that were accepted for later, and dropping those that have not begun."""

from typing import TYPE_CHECKING

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services
from headrace.errors import UnknownTarget

if TYPE_CHECKING:
    from headrace.jobs.offers import Jobs

JOBS_PATH = "/v1/jobs"


async def get_job(call: Call, services: Services) -> Response:
    """One job of the caller's; with `Prefer: wait=N` the answer may take so many seconds."""
    jobs = _jobs(services)
    from functions.predict.deferred import tell_of_job  # noqa: PLC0415 - a cold start does not pay for jobs

    return tell_of_job(call, jobs, services)


async def list_jobs(call: Call, services: Services) -> Response:
    """The caller's jobs, newest first: `limit` of them, those older than `after`."""
    jobs = _jobs(services)
    from functions.predict.deferred import list_of_jobs  # noqa: PLC0415 - as above

    return list_of_jobs(call, jobs)


async def cancel_job(call: Call, services: Services) -> Response:
    """One job of the caller's, which is dropped if no run of it has begun."""
    jobs = _jobs(services)
    from functions.predict import deferred  # noqa: PLC0415 - as above

    return deferred.cancel_job(call, jobs)


def _jobs(services: Services) -> "Jobs":
    if services.jobs is None:
        raise UnknownTarget("Requests are not accepted for later here.", code="job_not_found")
    return services.jobs()


ROUTES = (
    ("GET", JOBS_PATH, list_jobs),
    ("GET", f"{JOBS_PATH}/{{job}}", get_job),
    ("POST", f"{JOBS_PATH}/{{job}}/cancel", cancel_job),
)
