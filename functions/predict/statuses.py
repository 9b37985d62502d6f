"""The one table from the domain's errors to HTTP, and the two forms in which an error leaves."""

from __future__ import annotations

import json
from typing import Any

from headrace import errors

STATUSES: tuple[tuple[type[errors.HeadraceError], int], ...] = (
    (errors.PayloadTooLarge, 413),
    (errors.KeyReused, 422),
    (errors.InProgress, 409),
    (errors.LimitExceeded, 429),
    (errors.AnswerPending, 202),
    (errors.DeadlineTooShort, 504),
    (errors.Refused, 503),
    (errors.StoreUnavailable, 503),
    (errors.UnsupportedMedia, 415),
    (errors.InvalidRequest, 400),
    (errors.UnknownTarget, 404),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NothingServed, 503),
)
"""The first match wins; what is not here is ours, and a 500."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "server_error",
    504: "server_error",
}


def status_of(error: errors.HeadraceError) -> int:
    """The HTTP status for an error of the domain."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def error_body(
    *, status: int, code: str, message: str, request_id: str, field: str | None = None, protocol: bool = False
) -> bytes:
    """An error as callers read it.

    `/v1` speaks the shape that the OpenAI clients parse; the Open Inference Protocol (`protocol`) wants `error` to be
    the text itself, and gets the stable code beside it.
    """
    body: dict[str, Any]
    if protocol:
        body = {"error": message, "code": code, "field": field, "request_id": request_id}
    else:
        kind = _TYPES.get(status, "server_error")
        detail = {"message": message, "type": kind, "param": field, "code": code, "request_id": request_id}
        body = {"error": detail}
    return json.dumps(body, ensure_ascii=True).encode()
