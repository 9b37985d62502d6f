"""One request as the routes see it: who calls, until when, and what is worth recording about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.requests import Request

from headrace.catalog import Endpoint
from headrace.deadline import TIMEOUT_HEADER, Deadline, decide
from headrace.errors import InvalidRequest, Unauthenticated
from headrace.identity import Principal

VERSION_HEADER = "x-headrace-version"
STICKY_HEADER = "x-headrace-sticky-key"
_VERSION = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_STICKY_MAX_CHARS = 128


@dataclass(slots=True)
class Call:
    """A request in progress. `record` is what its log line and metrics will say: never input, never output."""

    request: Request
    request_id: str
    started_s: float
    record: dict[str, Any] = field(default_factory=dict)
    answer_headers: dict[str, str] = field(default_factory=dict)
    target_s: float = 0.0
    _deadline: Deadline | None = None

    @property
    def principal(self) -> Principal:
        """The caller, from the authorizer's context and nowhere else.

        Raises:
            Unauthenticated: the gateway passed no identity, so nobody was authenticated.
        """
        context = _request_context(self.request).get("authorizer") or {}
        try:
            return Principal(
                tenant=context["tenant"],
                plan=context["plan"],
                scopes=frozenset(context["scopes"].split()),
                key_id=context["key_id"],
            )
        except (KeyError, AttributeError):
            raise Unauthenticated("Send an API key as x-api-key or as a bearer token.") from None

    @property
    def pinned(self) -> str | None:
        """The version that the caller insists on.

        Raises:
            InvalidRequest: it cannot be the name of a version.
        """
        value = self.request.headers.get(VERSION_HEADER)
        if value is not None and not _VERSION.fullmatch(value):
            raise InvalidRequest(f"{VERSION_HEADER} must name a version.", code="invalid_version", field=VERSION_HEADER)
        return value

    @property
    def sticky_key(self) -> str:
        """What the choice of a version sticks to: the declared key, else the credential; always within the tenant.

        Raises:
            InvalidRequest: the header is too long.
        """
        value = self.request.headers.get(STICKY_HEADER, "")
        if len(value) > _STICKY_MAX_CHARS:
            raise InvalidRequest(
                f"{STICKY_HEADER} may have at most {_STICKY_MAX_CHARS} characters.",
                code="invalid_sticky_key",
                field=STICKY_HEADER,
            )
        principal = self.principal
        return f"{principal.tenant}\0{value or principal.key_id}"

    def deadline(self, endpoint: Endpoint) -> Deadline:
        """When this request must be answered: decided once, for Lambda's remaining time is told as of now.

        Raises:
            InvalidRequest: the caller's own limit is not a number of milliseconds.
        """
        context = self.request.scope.get("aws.context")
        remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
        if self._deadline is not None:
            return self._deadline
        self._deadline = decide(
            now_s=self.started_s,
            default_ms=endpoint.deadline_default_ms,
            max_ms=endpoint.deadline_max_ms,
            asked=self.request.headers.get(TIMEOUT_HEADER),
            lambda_remaining_s=None if remaining_ms is None else remaining_ms() / 1000,
        )
        return self._deadline


def begin(request: Request, *, now_s: float) -> Call:
    """A call for a request; its id is the gateway's, so that it is found in every log."""
    request_id = _request_context(request).get("requestId") or str(uuid4())
    return Call(request=request, request_id=request_id, started_s=now_s)


def _request_context(request: Request) -> dict[str, Any]:
    context: dict[str, Any] = request.scope.get("aws.event", {}).get("requestContext") or {}
    return context
