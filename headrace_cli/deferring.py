"""One request for later: what is sent, and the wait for its answer."""

import json
from base64 import b64decode
from pathlib import Path
from typing import BinaryIO

import typer

from headrace_cli.api import Api, Document, document_of, segment
from headrace_cli.problems import FAILED, OK, Problem, UnreachableProblem, UsageProblem, plain
from headrace_cli.showing import print_json
from headrace_cli.submitting import path_of

BODY_BYTES_MAX = 4_194_304
"""What the gateway takes (4 MiB)."""
LOOK_S = 20
"""The longest that one look at a job may last, as the service has it."""
PAUSE_S = 1.0
WAIT_MAX_S = 7_200.0
"""A job is begun within an hour or expires; twice that is a service that does not answer the question."""
OVER = frozenset({"done", "failed", "expired", "cancelled"})
JSON = "application/json"
ACCEPTED, REFUSED_FROM = 202, 400
PICTURES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
STDIN = Path("-")


def read_body(file: Path, stdin: BinaryIO) -> tuple[bytes, str]:
    """A request's body and its content type.

    Raises:
        UsageProblem: there is no such file, or it is too large for one request.
    """
    if file == STDIN:
        body = stdin.read(BODY_BYTES_MAX + 1)
    elif file.is_file():
        with file.open("rb") as stream:
            body = stream.read(BODY_BYTES_MAX + 1)
    else:
        raise UsageProblem(f"{file} is not a file.")
    if len(body) > BODY_BYTES_MAX:
        raise UsageProblem(f"{file} has more than {BODY_BYTES_MAX:,} bytes, which one request may have.")
    return body, PICTURES.get(file.suffix.lower(), JSON)


def submit(
    api: Api, body: bytes, content_type: str, *, model: str, version: str | None, webhook: str | None, once: str
) -> str:
    """Sends the request, to be answered later, and returns the job's id.

    Raises:
        UsageProblem: the body is no JSON object.
        Problem: it was refused, or no answer came.
    """
    path = path_of(api, model)
    params: dict[str, str | int] = {}
    if content_type != JSON:
        params = {"model": model}
    elif not path.startswith("/v2/"):
        body = _for_model(body, model)
    headers = {"content-type": content_type, "prefer": "respond-async"}
    headers |= {"x-headrace-version": version} if version else {}
    headers |= {"x-headrace-webhook": webhook} if webhook else {}
    response = api.send("POST", path, content=body, headers=headers, params=params, once=once)
    job_id = document_of(response).get("id")
    if response.status_code != ACCEPTED or not isinstance(job_id, str):
        raise Problem(f"The service answered at once (HTTP {response.status_code}) and made no job of it.")
    return job_id


def wait(api: Api, job_id: str) -> int:
    """Waits until a job is over, prints its answer, and returns the exit status: 0 when it is a good one.

    Raises:
        Problem: it was refused, or no answer came.
        KeyboardInterrupt: the job goes on, and how to come back has been told.
    """
    try:
        job = _over(api, job_id)
    except (KeyboardInterrupt, UnreachableProblem):
        typer.echo(f"The job goes on. Come back with: headrace jobs wait {job_id}", err=True)
        raise
    result = job.get("result")
    if not isinstance(result, dict):
        code = f" ({plain(job['code'])})" if job.get("code") else ""
        typer.echo(f"{job_id}: {plain(job.get('state'))}{code}", err=True)
        return FAILED
    if "body_base64" in result:
        typer.get_binary_stream("stdout").write(b64decode(result["body_base64"]))
    else:
        print_json(result.get("body"))
    return OK if int(result.get("status", 0)) < REFUSED_FROM else FAILED


def _over(api: Api, job_id: str) -> Document:
    path, prefer = f"/v1/jobs/{segment(job_id)}", {"prefer": f"wait={LOOK_S}"}
    until = api.world.clock() + WAIT_MAX_S
    while api.world.clock() < until:
        job = document_of(api.send("GET", path, headers=prefer))
        if job.get("state") in OVER:
            return job
        api.world.sleep(PAUSE_S)
    raise UnreachableProblem("The service does not say that the job is over, long after it must be.")


def _for_model(body: bytes, model: str) -> bytes:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise UsageProblem("The body is no JSON.") from error
    if not isinstance(document, dict):
        raise UsageProblem("The body is no JSON object.")
    return json.dumps({"model": model, **document}).encode()
