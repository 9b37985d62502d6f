"""The FastAPI application: routes, and one guard around every one of them.

The guard is where a request gets its id and its record, where errors become answers, and where the record is
reported. Routes read their bodies themselves, because a gateway's JSON must be stricter than Python's.
"""

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from functions.predict.call import IDEMPOTENCY_HEADER, Call, begin
from functions.predict.lean import FastAPI, HTTPException, Match, Request, Response, Route
from functions.predict.routes import (
    batches,
    classifications,
    detections,
    documents,
    files,
    inference_protocol,
    jobs,
    models,
    outcomes,
)
from functions.predict.routes import (
    route as dry_run,
)
from functions.predict.serve import AsJob
from functions.predict.services import Services
from functions.predict.statuses import error_body, status_of
from headrace.errors import (
    DeadlineTooShort,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    NothingServed,
    Overloaded,
    StoreUnavailable,
)

Handle = Callable[[Call, Services], Awaitable[Response]]

TITLE = "Headrace"
API_VERSION = "1.0"
PROTOCOL_PREFIX = "/v2"
JSON = "application/json"
STORE_RETRY_S = 2.0
"""A table that is throttled or fails over is back in seconds."""
_METHOD_NOT_ALLOWED = 405


def create_app(services: Services) -> FastAPI:
    """The application over these services. It holds no state of its own."""
    app = FastAPI(
        title=TITLE,
        version=API_VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Lambda traces the invocation and Powertools writes the metrics: FastAPI's own would measure it all again.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    described = (classifications, detections, models, dry_run, outcomes, jobs, files, batches)
    for module in (*described, inference_protocol, documents):
        for method, path, handle in module.ROUTES:
            # Starlette's plain routes: FastAPI's own work out what to inject, for each request too, and nothing is.
            route = Route(
                path,
                _guarded(handle, services, route=f"{method} {path}"),
                methods=[method],
                name=f"{handle.__module__.rpartition('.')[2]}.{handle.__name__}",
            )
            route.methods = {method}  # without the HEAD that comes with a GET
            app.router.routes.append(route)
    app.add_exception_handler(HTTPException, partial(_no_route, services))
    # Built when first asked for: writing the document takes longer than answering a request.
    app.openapi = partial(_document, app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    from functions.predict.openapi import document  # noqa: PLC0415 - a cold start does not pay for documentation

    return document(app)


def _guarded(handle: Handle, services: Services, *, route: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        call = begin(request, now_s=services.clock(), callers=services.callers)
        call.record["route"] = route
        try:
            response = await _once(handle, call, services)
        except Exception as error:  # noqa: BLE001 - the last guard, see below
            response = _failure(call, error)
        return _finish(call, response, services)

    return endpoint


async def _once(handle: Handle, call: Call, services: Services) -> Response:
    """The answer, or under an Idempotency-Key the one that was given before."""
    if call.request.method != "POST" or IDEMPOTENCY_HEADER not in call.request.headers:
        return await _answer(handle, call, services)
    from functions.predict.idempotent import answer_once  # noqa: PLC0415 - few requests have a key

    return await answer_once(call, services, lambda: _answer(handle, call, services))


async def _answer(handle: Handle, call: Call, services: Services) -> Response:
    try:
        return await handle(call, services)
    except (AsJob, DeadlineTooShort, Overloaded, NothingServed) as error:
        if services.jobs is None or not call.preference.respond_async:
            return _failure(call, error)
        from functions.predict.deferred import take_as_job  # noqa: PLC0415 - few requests are deferred

        return take_as_job(call, services.jobs(), services)
    except Exception as error:  # noqa: BLE001 - see below
        return _failure(call, error)


def _failure(call: Call, error: Exception) -> Response:
    """The last guard: no stack trace leaves, and none is logged with input."""
    if isinstance(error, HeadraceError):
        return _refusal(call, error)
    call.record["failure"] = f"{type(error).__name__} at {_where(error)}"
    return _error(call, status=500, code="internal_error", message="Our fault: quote the request id to us.")


def _refusal(call: Call, error: HeadraceError) -> Response:
    field = error.field if isinstance(error, InvalidRequest) else None
    response = _error(call, status=status_of(error), code=error.code, message=error.message, field=field)
    retry_after_s: float = (
        STORE_RETRY_S if isinstance(error, StoreUnavailable) else getattr(error, "retry_after_s", 0.0)
    )
    if retry_after_s:
        response.headers["retry-after"] = str(math.ceil(retry_after_s))
    if isinstance(error, LimitExceeded):
        response.headers["ratelimit-limit"] = str(error.limit)
        response.headers["ratelimit-remaining"] = "0"
        response.headers["ratelimit-reset"] = str(math.ceil(retry_after_s))
    if isinstance(error, Overloaded | DeadlineTooShort):
        # SDKs that read this leave the retry to their caller: sent again at once, the request meets the same answer.
        response.headers["x-should-retry"] = "false"
    if isinstance(error, NothingServed):
        call.record["attempts"] = list(error.attempts)
    return response


def _error(call: Call, *, status: int, code: str, message: str, field: str | None = None) -> Response:
    call.record["code"] = code
    protocol = call.request.scope["path"].startswith(PROTOCOL_PREFIX)
    body = error_body(
        status=status, code=code, message=message, request_id=call.request_id, field=field, protocol=protocol
    )
    return Response(body, status_code=status, media_type=JSON)


def _finish(call: Call, response: Response, services: Services) -> Response:
    total_s = services.clock() - call.started_s
    headers = response.headers
    headers["x-request-id"] = call.request_id
    headers["server-timing"] = f"target;dur={call.target_s * 1000:.1f}, total;dur={total_s * 1000:.1f}"
    headers["x-content-type-options"] = "nosniff"
    for name, value in call.answer_headers.items():
        headers[name] = value
    call.record.update(
        request_id=call.request_id,
        status=response.status_code,
        total_ms=round(total_s * 1000, 2),
        target_ms=round(call.target_s * 1000, 2),
        bytes_out=len(response.body),
    )
    with suppress(Exception):  # an answer is not lost because nobody could be told of it
        services.report(call.record)
    return response


def _where(error: Exception) -> str:
    """The innermost frame: a place in our code, which names no input."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "unknown" if frame is None else f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"


async def _no_route(services: Services, request: Request, error: Any) -> Response:
    """No such path (404) or no such method on it (405, with `Allow`)."""
    call = begin(request, now_s=services.clock(), callers=services.callers)
    call.record["route"] = "none"
    code, message = {
        404: ("route_not_found", "There is no such path: GET /openapi.json lists them all."),
        405: ("method_not_allowed", "This path takes another method: see the Allow header."),
    }.get(error.status_code, ("invalid_request", "The request cannot be served."))
    response = _error(call, status=error.status_code, code=code, message=message)
    if error.status_code == _METHOD_NOT_ALLOWED:
        response.headers["allow"] = _methods(request)
    return _finish(call, response, services)


def _methods(request: Request) -> str:
    """What the path takes: Starlette itself names the methods of one of its routes only."""
    found = (route for route in request.app.router.routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in found for method in route.methods}))
