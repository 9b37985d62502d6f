"""One request as the routes see it: who calls, until when, and what is worth recording about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from starlette.requests import Request

from functions.predict.services import Callers
from headrace.authentication.iam import is_signed
from headrace.cache.request import CacheUse
from headrace.catalog import Endpoint
from headrace.deadline import SDK_TIMEOUT_HEADER, TIMEOUT_HEADER, Deadline, decide
from headrace.errors import InvalidRequest, Unauthenticated
from headrace.identity import Principal
from headrace.jobs.prefer import WEBHOOK_HEADER, Preference, prefer
from headrace.routing.assigned import Assigned

VERSION_HEADER = "x-headrace-version"
STICKY_HEADER = "x-headrace-sticky-key"
IDEMPOTENCY_HEADER = "idempotency-key"
SDK_RETRY_HEADERS = {
    "x-stainless-retry-count": re.compile(r"[1-9]\d{0,3}"),
    "amz-sdk-request": re.compile(r".*attempt=([2-9]|\d\d).*"),
}
"""How SDKs say that they send a request again: OpenAI's and its siblings count retries, AWS's count attempts."""
_VERSION = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_STICKY_MAX_CHARS = 128
_ANSWER_HEADERS = (
    "content-type",
    "content-encoding",
    "inference-header-content-length",
    VERSION_HEADER,
    STICKY_HEADER,
    "x-headrace-hardware",
    "x-headrace-cost-class-max",
    "x-headrace-language",
    "x-headrace-group",
    WEBHOOK_HEADER,
)


@dataclass(slots=True)
class Call:
    """A request in progress. `record` is what its log line and metrics will say: never input, never output.

    `assigned` is what the routing document said about it, once a version is chosen.
    """

    request: Request
    request_id: str
    started_s: float
    callers: Callers
    record: dict[str, Any] = field(default_factory=dict)
    answer_headers: dict[str, str] = field(default_factory=dict)
    target_s: float = 0.0
    assigned: Assigned | None = None
    _deadline: Deadline | None = None
    _principal: Principal | None = None

    @property
    def principal(self) -> Principal:
        """The caller: from the authorizer's context, or from the IAM identity that API Gateway verified; nowhere else.

        Raises:
            Unauthenticated: the gateway passed no identity, so nobody was authenticated.
        """
        if self._principal is None:
            self._principal = self._identify()
        return self._principal

    def _identify(self) -> Principal:
        context = _request_context(self.request)
        if is_signed(context):
            return self.callers.principal(context.get("identity") or {})
        authorized = context.get("authorizer") or {}
        try:
            return Principal(
                tenant=authorized["tenant"],
                plan=authorized["plan"],
                scopes=frozenset(authorized["scopes"].split()),
                key_id=authorized["key_id"],
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

    @property
    def client_retry(self) -> bool:
        """Whether the caller's SDK sends this for a second time: then nothing is retried here."""
        headers = self.request.headers
        return any(again.fullmatch(headers.get(name, "")) for name, again in SDK_RETRY_HEADERS.items())

    @property
    def cache_use(self) -> CacheUse:
        """What `cache-control` asks (RFC 9111, section 5.2.1): `no-store`, `no-cache`, or nothing that matters here."""
        asked = {part.strip().lower() for part in self.request.headers.get("cache-control", "").split(",")}
        return "off" if "no-store" in asked else "refresh" if "no-cache" in asked else "normal"

    @property
    def preference(self) -> Preference:
        """What `prefer` asks (RFC 7240)."""
        return prefer(self.request.headers.get("prefer"))

    @property
    def fingerprint_headers(self) -> dict[str, str]:
        """The headers that change an answer, for telling one request from another."""
        return {name: self.request.headers[name] for name in _ANSWER_HEADERS if name in self.request.headers}

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
            sdk_asked=self.request.headers.get(SDK_TIMEOUT_HEADER),
            lambda_remaining_s=None if remaining_ms is None else remaining_ms() / 1000,
        )
        preference = self.preference
        if preference.respond_async and preference.wait_s:  # the caller waits so long for an answer, then takes a job
            self._deadline = Deadline(min(self._deadline.at_s, self.started_s + preference.wait_s))
        return self._deadline


def begin(request: Request, *, now_s: float, callers: Callers) -> Call:
    """A call for a request; its id is the gateway's, so that it is found in every log."""
    request_id = _request_context(request).get("requestId") or str(uuid4())
    return Call(request=request, request_id=request_id, started_s=now_s, callers=callers)


def _request_context(request: Request) -> dict[str, Any]:
    context: dict[str, Any] = request.scope.get("aws.event", {}).get("requestContext") or {}
    return context
