"""The accepted request and its answer as stored objects, and the gateway's event made again from the request.

A job is served by the same code as a caller who waits: the function gets the event that API Gateway would have sent,
with the identity that was established when the request came in. Credentials are not kept, and neither is what made
the request a job (`Prefer`, its own deadline, its Idempotency-Key, under which the 202 itself is remembered).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, fields
from typing import Any

from headrace.deadline import TIMEOUT_HEADER
from headrace.gateway import IAM_PREFIX
from headrace.identity import Principal
from headrace.jobs.asynchronous import MARK, mark_of
from headrace.jobs.prefer import WEBHOOK_HEADER
from headrace.jobs.states import Job
from headrace.limits import DEADLINE_MAX_MS

KEPT_PREFIX = "x-headrace-"
REQUEST_HEADERS = frozenset(
    {"content-type", "content-encoding", "accept", "cache-control", "inference-header-content-length"}
)
"""Of the request, beside `x-headrace-…`: how to read the body, how to write the answer, and whether to keep it."""
RESULT_HEADERS = frozenset({"content-type", "inference-header-content-length", "x-request-id"})
"""Of the answer, beside `x-headrace-…`."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A request to be served later; header names are in lower case, `caller` is the authorizer's context."""

    method: str
    path: str
    query: Pairs
    headers: Pairs
    body: bytes
    tenant: str
    caller: Pairs


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """The answer to a job's request; header names are in lower case."""

    status: int
    headers: Pairs
    body: bytes

    def header(self, name: str) -> str:
        """The header's value, or an empty text."""
        return next((value for key, value in self.headers if key == name), "")


def accept(event: dict[str, Any], principal: Principal, *, path: str) -> JobRequest:
    """What is kept of a REST proxy event, less the part of `path` that names the way of authentication."""
    headers = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
    body = event.get("body") or ""
    return JobRequest(
        method=event["httpMethod"],
        path=path.removeprefix(IAM_PREFIX) if path.startswith(f"{IAM_PREFIX}/") else path,
        query=_pairs(event.get("multiValueQueryStringParameters") or {}),
        headers=_kept(_pairs(headers), REQUEST_HEADERS),
        body=b64decode(body) if event.get("isBase64Encoded") else body.encode(),
        tenant=principal.tenant,
        caller=_context(principal),
    )


def event_of(request: JobRequest, job: Job) -> dict[str, Any]:
    """The REST proxy event of a job's request: its id is the job's, its deadline the most that the endpoint grants."""
    headers = _many((*request.headers, (TIMEOUT_HEADER, str(DEADLINE_MAX_MS))))
    query = _many(request.query)
    return {
        "resource": "/{proxy+}",
        "path": request.path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": {"proxy": request.path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "httpMethod": request.method,
            "path": request.path,
            "requestId": job.job_id,
            "identity": {"sourceIp": "", "userArn": None},
            "authorizer": dict(request.caller),
            MARK: mark_of(job),
        },
        "body": b64encode(request.body).decode(),
        "isBase64Encoded": True,
    }


def answer_of(answer: dict[str, Any]) -> JobAnswer:
    """What is kept of a proxy answer.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    headers = {name: [value] for name, value in (answer.get("headers") or {}).items()}
    headers |= answer.get("multiValueHeaders") or {}
    body = answer.get("body") or ""
    return JobAnswer(
        status=int(answer["statusCode"]),
        headers=_kept(_pairs(headers), RESULT_HEADERS | {"retry-after"}),
        body=b64decode(body) if answer.get("isBase64Encoded") else body.encode(),
    )


def dump_request(request: JobRequest) -> bytes:
    """The request as an object."""
    document = {field.name: getattr(request, field.name) for field in fields(request)}
    return json.dumps({**document, "body": b64encode(request.body).decode()}).encode()


def load_request(data: bytes) -> JobRequest:
    """The request that `dump_request` wrote."""
    document = json.loads(data)
    lists = {name: tuple((key, value) for key, value in document[name]) for name in ("query", "headers", "caller")}
    return JobRequest(**{**document, **lists, "body": b64decode(document["body"])})


def dump_answer(answer: JobAnswer) -> bytes:
    """The answer as an object."""
    return json.dumps(
        {"status": answer.status, "headers": answer.headers, "body": b64encode(answer.body).decode()}
    ).encode()


def load_answer(data: bytes) -> JobAnswer:
    """The answer that `dump_answer` wrote."""
    document = json.loads(data)
    headers = tuple((name, value) for name, value in document["headers"])
    return JobAnswer(document["status"], headers, b64decode(document["body"]))


def error_code(answer: JobAnswer) -> str:
    """The stable code of an error, in either of the two forms in which errors leave; empty when there is none."""
    try:
        document = json.loads(answer.body)
        error = document.get("error")
        code = error.get("code") if isinstance(error, dict) else document.get("code")
    except (ValueError, AttributeError):
        return ""
    return code if isinstance(code, str) else ""


def _context(principal: Principal) -> Pairs:
    """As the authorizer tells it: texts, sets of texts with spaces between."""
    values = ((field.name, getattr(principal, field.name)) for field in fields(principal))
    return tuple(
        (name, value if isinstance(value, str) else " ".join(sorted(value))) for name, value in values if value
    )


def _pairs(many: dict[str, list[str]]) -> Pairs:
    return tuple((name, value) for name, values in many.items() for value in values)


def _kept(headers: Pairs, names: frozenset[str]) -> Pairs:
    lower = ((name.lower(), value) for name, value in headers)
    kept = ((name, value) for name, value in lower if name in names or name.startswith(KEPT_PREFIX))
    # The job's own, and no business of the function that serves it.
    return tuple((name, value) for name, value in kept if name != WEBHOOK_HEADER)


def _many(pairs: Pairs) -> dict[str, list[str]]:
    many: dict[str, list[str]] = {}
    for name, value in pairs:
        many.setdefault(name, []).append(value)
    return many
