"""The HTTP API: asks, waits when it is told to, and turns every refusal into a `Problem`."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import typer

from headrace_cli.local import is_loopback
from headrace_cli.patience import Miss, pause_s, retry_after
from headrace_cli.problems import ApiProblem, Problem, UnreachableProblem, plain
from headrace_cli.settings import LOCAL, Target
from headrace_cli.world import World

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Seconds; the gateway ends every request after 29."""
NOTICE_FROM_S = 2.0
"""Pauses from here on are told."""
MESSAGE_MAX_CHARS = 1_000
IDEMPOTENCY_HEADER = "idempotency-key"

Document = dict[str, Any]


class Api:
    """One service, asked with one key. Close it, or use it as a context manager.

    Args:
        target: where, and with which key.
        world: clock, chance and network.
    """

    def __init__(self, target: Target, world: World) -> None:
        self.target = target
        self.world = world
        key = target.key
        if not key or not key.isascii() or not key.isprintable():
            raise Problem(f"The key from {target.key_source} holds signs that no key has.")
        self._http = self._client({"x-api-key": key}, base_url=target.place.url)
        self.storage = self._client({}, base_url="")
        """For addresses that were signed for us: they carry their own permission, and must not see the key."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connections."""
        self._http.close()
        self.storage.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Document | None = None,
        params: Mapping[str, str | int] | None = None,
        once: str = "",
        repeatable: bool = False,
    ) -> Document:
        """The JSON answer.

        Args:
            method: HTTP's.
            path: from `/v1` on.
            body: what is sent as JSON.
            params: the query.
            once: an Idempotency-Key, under which a request that arrives twice is served once.
            repeatable: whether the request may arrive twice without one; GET always may.

        Raises:
            ApiProblem: the API refused.
            UnreachableProblem: no answer came.
        """
        response = self.send(
            method,
            path,
            content=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"} if body is not None else {},
            params=params,
            once=once,
            repeatable=repeatable,
        )
        return document_of(response)

    def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        once: str = "",
        repeatable: bool = False,
    ) -> httpx.Response:
        """The answer, read whole; a redirect is given back, not followed. Arguments and errors as `ask`."""
        sent = {**(headers or {}), **({IDEMPOTENCY_HEADER: once} if once else {})}
        may_repeat = method == "GET" or bool(once) or repeatable
        attempt, waited_s = 0, 0.0
        while True:
            attempt += 1
            failure: Exception | None = None
            response: httpx.Response | None = None
            try:
                response = self._http.request(method, path, content=content, headers=sent, params=params)
            except (httpx.TransportError, httpx.DecodingError) as error:
                failure = error
                never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                miss = Miss(0, repeatable=may_repeat or never_sent)
            else:
                if response.status_code < httpx.codes.BAD_REQUEST:
                    return response
                miss = _miss(response, repeatable=may_repeat)
            wait_s = pause_s(miss, attempt=attempt, waited_s=waited_s, chance=self.world.chance())
            if wait_s is None:
                if response is None:
                    raise UnreachableProblem(self._unreachable(failure)) from failure
                raise _refusal(response)
            if wait_s >= NOTICE_FROM_S:
                reason = "could not be reached" if response is None else f"says {_refusal(response).code}"
                typer.echo(f"The service {reason}; asking again in {wait_s:.0f} s.", err=True)
            self.world.sleep(wait_s)
            waited_s += wait_s

    def _client(self, headers: dict[str, str], *, base_url: str) -> httpx.Client:
        return httpx.Client(
            base_url=base_url,
            headers={"user-agent": f"headrace-cli/{_version()}", **headers},
            timeout=TIMEOUT,
            transport=self.world.transport,
            # A proxy that the environment names cannot reach this machine's own loopback.
            trust_env=not is_loopback(self.target.place.url),
        )

    def _unreachable(self, error: Exception | None) -> str:
        place = self.target.place
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return f"{place.url} did not answer in time. Whether the request was served is not known."
        advice = (
            "start the platform with `make run`"
            if place.profile == LOCAL
            else "check the address with `headrace config show`, and the network"
        )
        return f"{place.url} cannot be reached ({type(error).__name__}): {advice}."


def segment(text: str) -> str:
    """A name or id as one segment of a path, whatever stands in it."""
    return quote(text, safe="")


def _miss(response: httpx.Response, *, repeatable: bool) -> Miss:
    return Miss(
        response.status_code,
        repeatable=repeatable,
        retry_after_s=retry_after(response.headers.get("retry-after")),
        may_retry=response.headers.get("x-should-retry") != "false",
    )


def document_of(response: httpx.Response) -> Document:
    """An answer's JSON object.

    Raises:
        UnreachableProblem: it is none: whatever answered is no Headrace.
    """
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        request_id = plain(response.headers.get("x-request-id", ""))
        raise UnreachableProblem(
            f"The answer (HTTP {response.status_code}) is not JSON: is this address a Headrace's?"
            + (f" (request id {request_id})" if request_id else "")
        )
    return found


def _refusal(response: httpx.Response) -> ApiProblem:
    """What the service says: its own errors, the protocol's (`error` is a text), or the gateway's (`message`)."""
    try:
        body = response.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    detail = error if isinstance(error, dict) else {**body, "message": error or body.get("message")}
    headers = response.headers
    request_id = detail.get("request_id") or headers.get("x-request-id") or headers.get("x-amzn-requestid") or ""
    message = detail.get("message") or f"The service answered HTTP {response.status_code}."
    field = detail.get("param") or detail.get("field")
    return ApiProblem(
        status=response.status_code,
        code=plain(detail.get("code") or f"http_{response.status_code}"),
        message=plain(message)[:MESSAGE_MAX_CHARS] + (f" (at {plain(field)})" if field else ""),
        request_id=plain(request_id),
    )


def _version() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "0"
