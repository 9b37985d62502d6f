"""The front door: HTTP in, the path that API Gateway would take, HTTP out.

One request: read within the limits → proxy event → who calls → function → answer. Public routes ask for nobody, those
below ``/aws/`` for an AWS signature (``front_signature``), all others the REQUEST authorizer. What events and answers
look like is decided in ``front_event`` and ``front_answer``; here is the order and the limits.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from headrace.gateway import IAM_PREFIX, GatewayRefusal
from infra_local import front_answer
from infra_local.front_answer import Allowed, HttpAnswer, Refused
from infra_local.front_event import GREEDY, HttpRequest, authorizer_event, proxy_event
from infra_local.front_protocol import FrontServer
from infra_local.front_signature import AccessKey, SignatureCheck
from infra_local.lambda_api import read_bounded
from infra_local.lambda_environment import InvocationResult
from infra_local.lambda_host import InvokeRefusedError
from infra_local.ports import LOOPBACK
from infra_local.refusals import render

BODY_BYTES_MAX = 10 * 1024 * 1024
HEADERS_BYTES_MAX = 10_240
"""Request line and headers together (API Gateway quotas for REST APIs)."""

INTEGRATION_TIMEOUT_S = 29.0
_SERVER_ERROR_MIN = 500
_SIGNED, _KEYED = f"{IAM_PREFIX}/{GREEDY}", f"/{GREEDY}"


class Functions(Protocol):
    """Where functions are invoked."""

    async def invoke(
        self, name: str, payload: bytes, *, trace_id: str = "", client_context: str | None = None
    ) -> InvocationResult:
        """Runs one event."""


class Front:
    """A Regional REST API with one proxy integration, one REQUEST authorizer, and methods that take AWS signatures.

    Args:
        functions: Where both functions run.
        predict: The integration's function.
        authorizer: The authorizer's function.
        public_paths: Paths that need no authorizer, whatever the method: resources of their own, beside ``/{proxy+}``.
        access_keys: Who may sign requests below ``/aws/``.
        words: Replaced gateway responses by type; without them, API Gateway's defaults.
        stage: The stage's name, as functions see it.
        timeout_s: The integration timeout.
    """

    def __init__(
        self,
        functions: Functions,
        *,
        predict: str,
        authorizer: str,
        public_paths: frozenset[str],
        access_keys: tuple[AccessKey, ...] = (),
        words: Mapping[str, GatewayRefusal] | None = None,
        stage: str = "local",
        timeout_s: float = INTEGRATION_TIMEOUT_S,
    ) -> None:
        self._functions = functions
        self._predict = predict
        self._authorizer = authorizer
        self._public = public_paths
        self._signatures = SignatureCheck(access_keys)
        self._words = words or {}
        self._stage = stage
        self._timeout_s = timeout_s
        self._port = 0
        self._in_flight = 0
        self._server: asyncio.Server | None = None
        self._web: web.Server | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{LOOPBACK}:{self._port}"

    async def start(self, port: int) -> None:
        """Listens on a loopback port; 0 means any free one."""
        loop = asyncio.get_running_loop()
        # Lines may be longer than the limit, so that it is this program that refuses them and not the parser.
        self._web = FrontServer(
            self._answer,
            refuse=self._refuse,
            access_log=None,
            max_line_size=65_536,
            max_field_size=65_536,
            auto_decompress=False,
        )
        self._server = await loop.create_server(self._web, LOOPBACK, port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self, *, grace_s: float = 5.0) -> None:
        """Takes no more connections and lets those in flight end within the grace period."""
        if self._server is not None and self._web is not None:
            self._server.close()
            deadline = asyncio.get_running_loop().time() + grace_s
            while self._in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - once, at the end
                await asyncio.sleep(0.02)
            await self._web.shutdown(timeout=0.5)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        self._in_flight += 1
        try:
            answer = await self._pass_through(request, request_id)
        finally:
            self._in_flight -= 1
        return self._finished(answer, request_id)

    def _refuse(self, status: int) -> web.Response:
        """Answers what is no HTTP request, or what this program itself failed on."""
        refused = front_answer.BAD_REQUEST if status < _SERVER_ERROR_MIN else front_answer.INTEGRATION_FAILED
        return self._finished(refused, str(uuid.uuid4()))

    def _finished(self, answer: HttpAnswer | Refused, request_id: str) -> web.Response:
        if isinstance(answer, Refused):
            answer = render(answer, words=self._words, request_id=request_id)
        response = web.Response(status=answer.status, body=answer.body)
        for name, value in answer.headers:
            response.headers.add(name, value)
        response.headers["x-amzn-RequestId"] = request_id
        response.headers["x-amz-apigw-id"] = request_id.replace("-", "")[:16]
        return response

    async def _pass_through(self, request: web.BaseRequest, request_id: str) -> HttpAnswer | Refused:
        headers = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in request.raw_headers)
        line = len(request.method) + len(request.raw_path)
        if line + sum(len(name) + len(value) for name, value in headers) > HEADERS_BYTES_MAX:
            return front_answer.HEADERS_TOO_LARGE
        body = await read_bounded(request, BODY_BYTES_MAX)
        if len(body) > BODY_BYTES_MAX:
            return front_answer.TOO_LARGE
        path, _, query = request.raw_path.partition("?")
        if path in {"/", IAM_PREFIX, f"{IAM_PREFIX}/"}:
            return front_answer.NO_SUCH_PATH
        http = HttpRequest(
            method=request.method,
            path=path,
            query=query,
            headers=headers,
            body=body,
            source_ip=request.remote or LOOPBACK,
            port=self._port,
        )
        resource = self._resource(path)
        event = proxy_event(http, stage=self._stage, resource=resource, request_id=request_id)
        if resource == _SIGNED:
            # In a thread: the first one imports botocore.
            caller = await asyncio.to_thread(self._signatures.caller, http)
            if isinstance(caller, Refused):
                return caller
            event["requestContext"]["identity"] |= caller.identity
        elif resource == _KEYED:
            verdict = await self._authorize(event)
            if isinstance(verdict, Refused):
                return verdict
            event["requestContext"]["authorizer"] = dict(verdict.context)
        return await self._integrate(event)

    def _resource(self, path: str) -> str:
        if path in self._public:
            return path
        return _SIGNED if path.startswith(f"{IAM_PREFIX}/") else _KEYED

    async def _authorize(self, event: dict[str, object]) -> Allowed | Refused:
        asked = authorizer_event(event)
        try:
            result = await self._call(self._authorizer, asked)
        except (InvokeRefusedError, TimeoutError):
            return front_answer.AUTHORIZER_FAILED
        return front_answer.from_authorizer(result, method_arn=asked["methodArn"])

    async def _integrate(self, event: dict[str, object]) -> HttpAnswer | Refused:
        try:
            result = await self._call(self._predict, event)
        except TimeoutError:
            return front_answer.TIMED_OUT
        except InvokeRefusedError as error:
            return front_answer.TOO_LARGE if error.status == 413 else front_answer.INTEGRATION_FAILED  # noqa: PLR2004
        if result.function_error is not None and b"Sandbox.Timedout" in result.payload:
            return front_answer.TIMED_OUT
        return front_answer.from_function(result)

    async def _call(self, function: str, event: dict[str, object]) -> InvocationResult:
        headers = event["headers"]
        trace_id = headers["X-Amzn-Trace-Id"] if isinstance(headers, dict) else ""
        payload = json.dumps(event, separators=(",", ":")).encode()
        work = asyncio.ensure_future(self._functions.invoke(function, payload, trace_id=trace_id))
        # API Gateway stops waiting; the function itself runs on, as on AWS.
        async with asyncio.timeout(self._timeout_s):
            return await asyncio.shield(work)
