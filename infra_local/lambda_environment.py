"""One execution environment: an ``awslambdaric`` process and the Runtime API that only it talks to.

The protocol is AWS's "Lambda runtime API" (docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, version 2018-06-01).
Each environment gets a port of its own, because the runtime client takes a host and a port and nothing else: so no
environment can answer for another.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from infra_local.ports import LOOPBACK
from infra_local.process import Child, base_environment, describe_exit, start_child

if TYPE_CHECKING:
    from collections.abc import Mapping

REGION = "us-east-1"
ACCOUNT = "123456789012"
PAYLOAD_BYTES_MAX = 6_291_556
"""The largest synchronous answer (Lambda quotas, "Invocation payload")."""

INIT_TIMEOUT_S = 60.0
"""Lambda allows 10 s; a laptop that starts everything at once needs more."""

_API = "/2018-06-01/runtime/"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """A function as its template declares it.

    Attributes:
        name: The function's name.
        handler: Dotted path to the handler, as in the template.
        root: What would be ``/var/task``: the folder that the handler is imported from.
        search_path: Further folders to import from (the layers).
        environment: The function's own variables.
        timeout_s: After this an invocation fails and its environment is replaced.
        memory_mb: Shown to the function and in the log; not enforced.
        concurrency_max: Environments at most.
        provisioned: Environments kept ready, as provisioned concurrency does.
        queue_max: Invocations that may wait for an environment; beyond, Lambda's 429.
        idle_s: An environment unused for this long is ended.
        init_timeout_s: Import and wiring must be over by then.
    """

    name: str
    handler: str
    root: Path
    search_path: tuple[Path, ...] = ()
    environment: "Mapping[str, str]" = field(default_factory=dict)
    timeout_s: float = 29.0
    memory_mb: int = 1024
    concurrency_max: int = 8
    provisioned: int = 0
    queue_max: int = 256
    idle_s: float = 300.0
    init_timeout_s: float = INIT_TIMEOUT_S

    @property
    def arn(self) -> str:
        """The function's ARN."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


@dataclass(frozen=True, slots=True)
class InvocationResult:
    """What an invocation gave.

    Attributes:
        payload: The function's JSON, or Lambda's error document.
        function_error: ``None``, or ``Unhandled`` as in the header ``X-Amz-Function-Error``.
        request_id: The invocation's id.
    """

    payload: bytes
    function_error: str | None = None
    request_id: str = ""


def failed(error_type: str, message: str, *, request_id: str = "") -> InvocationResult:
    """Makes the error document with which Lambda itself reports a failed invocation."""
    document = {"errorType": error_type, "errorMessage": message}
    return InvocationResult(json.dumps(document).encode(), "Unhandled", request_id)


@dataclass(slots=True)
class Invocation:
    """One event on its way through an environment."""

    payload: bytes
    trace_id: str
    client_context: str | None = None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    result: asyncio.Future[InvocationResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, result: InvocationResult) -> None:
        """Gives the answer, unless one was given already or nobody waits any more."""
        if not self.result.done():
            self.result.set_result(result)


class Environment:
    """One process, one invocation at a time.

    Args:
        spec: The function.
        log: Its log file, which exists.
        kept_ready: Whether it counts towards the function's provisioned concurrency.
        on_ready: Called when the environment asks for work: after its start and after each answer.
        on_gone: Called once when its process has ended, with the initialisation error when it never came up.
    """

    def __init__(
        self,
        spec: FunctionSpec,
        *,
        log: Path,
        kept_ready: bool = False,
        on_ready: "Callable[[Environment], None]",
        on_gone: "Callable[[Environment, InvocationResult | None], None]",
    ) -> None:
        self.spec = spec
        self.idle_since = 0.0
        self._log = log
        self._kept_ready = kept_ready
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._stream = uuid.uuid4().hex
        self._child: Child | None = None
        self._server: asyncio.Server | None = None
        self._poll: asyncio.Future[Invocation] | None = None
        self._current: Invocation | None = None
        self._current_start = 0.0
        self._init_start = time.perf_counter()
        self._init_ms: float | None = None
        self._initialised = False
        self._init_error: InvocationResult | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, once started."""
        return self._child.pid if self._child else None

    @property
    def busy(self) -> bool:
        """Whether an invocation is under way."""
        return self._current is not None

    @property
    def initialised(self) -> bool:
        """Whether it has asked for work at least once."""
        return self._initialised

    async def start(self) -> None:
        """Starts the Runtime API and the process; readiness is told through ``on_ready``."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(web.Server(self._serve, access_log=None), LOOPBACK, 0)
        port = self._server.sockets[0].getsockname()[1]
        command = (sys.executable, "-m", "awslambdaric", self.spec.handler)
        try:
            self._child = await start_child(
                self.spec.name, command, environment=self._variables(port), folder=self.spec.root, log=self._log
            )
        except OSError as error:  # no memory, no descriptors, no such folder
            self._server.close()
            self._on_gone(self, failed("Runtime.InvalidEntrypoint", f"Error: {error.strerror}"))
            return
        self._watch = asyncio.ensure_future(self._wait_for_end(self._child))
        self._timer = loop.call_later(self.spec.init_timeout_s, self._init_timed_out)

    def give(self, invocation: Invocation) -> None:
        """Hands work to an environment that asked for it."""
        if self._poll is None or self._poll.done():
            raise RuntimeError("work given to an environment that did not ask for it")
        self._current = invocation
        self._current_start = time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(self.spec.timeout_s, self._timed_out)
        self._note(f"START RequestId: {invocation.request_id} Version: $LATEST")
        self._poll.set_result(invocation)

    async def stop(self) -> None:
        """Ends the process and its Runtime API."""
        if self._child is not None:
            await self._child.stop(grace_s=2.0)
        if self._watch is not None:
            await self._watch

    def kill(self) -> None:
        """Ends the process at once; ``on_gone`` follows."""
        if self._child is not None:
            self._child.kill()

    def last_lines(self) -> list[str]:
        """Returns the last lines that the process wrote."""
        return self._child.last_lines() if self._child else []

    def _variables(self, port: int) -> dict[str, str]:
        root = str(self.spec.root)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return {
            **base_environment(),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            **self.spec.environment,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.spec.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": self.spec.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency" if self._kept_ready else "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.spec.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": self._stream,
            "AWS_LAMBDA_RUNTIME_API": f"{LOOPBACK}:{port}",
            "AWS_REGION": REGION,
            "LAMBDA_TASK_ROOT": root,
            "PYTHONPATH": ":".join((root, *map(str, self.spec.search_path))),
            "TZ": ":UTC",
            "_HANDLER": self.spec.handler,
        }

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == _API + "invocation/next":
            return await self._next()
        if path == _API + "init/error":
            body = await request.content.read()
            self._init_error = InvocationResult(_error_document(body), "Unhandled")
            return web.Response(status=202)
        _, _, rest = path.partition(_API + "invocation/")
        request_id, _, verb = rest.partition("/")
        if self._current is None or request_id != self._current.request_id or verb not in ("response", "error"):
            return web.json_response(
                {"errorType": "InvalidRequestID", "errorMessage": "no such invocation"}, status=400
            )
        body = await request.content.read()
        self._finish(_answer(body, is_error=verb == "error", request_id=request_id))
        return web.json_response({"status": "OK"}, status=202)

    async def _next(self) -> web.Response:
        self._poll = asyncio.get_running_loop().create_future()
        if not self._initialised:
            self._initialised = True
            self._init_ms = (time.perf_counter() - self._init_start) * 1000
            self._cancel_timer()
        self.idle_since = time.monotonic()
        self._on_ready(self)
        invocation = await self._poll
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self.spec.timeout_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self.spec.arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        if invocation.client_context is not None:
            headers["Lambda-Runtime-Client-Context"] = invocation.client_context
        return web.Response(body=invocation.payload, headers=headers, content_type="application/json")

    def _finish(self, result: InvocationResult) -> None:
        invocation, self._current = self._current, None
        if invocation is None:
            return
        self._cancel_timer()
        self._report(invocation)
        invocation.settle(result)

    def _report(self, invocation: Invocation) -> None:
        duration_ms = (time.perf_counter() - self._current_start) * 1000
        line = (
            f"REPORT RequestId: {invocation.request_id}\tDuration: {duration_ms:.2f} ms\t"
            f"Memory Size: {self.spec.memory_mb} MB\tMax Memory Used: {_peak_memory_mb(self.pid)} MB"
        )
        if self._init_ms is not None:
            line += f"\tInit Duration: {self._init_ms:.2f} ms"
            self._init_ms = None
        self._note(f"END RequestId: {invocation.request_id}")
        self._note(line)

    def _timed_out(self) -> None:
        if self._current is not None:
            request_id = self._current.request_id
            message = f"RequestId: {request_id} Error: Task timed out after {self.spec.timeout_s:.2f} seconds"
            self._note(message)
            self._finish(failed("Sandbox.Timedout", message, request_id=request_id))
        self.kill()

    def _init_timed_out(self) -> None:
        message = f"Error: initialisation not over after {self.spec.init_timeout_s:.2f} seconds"
        self._init_error = failed("Sandbox.Timedout", message)
        self.kill()

    async def _wait_for_end(self, child: Child) -> None:
        status = await child.exited()
        self._cancel_timer()
        words = describe_exit(status)
        if self._current is not None:
            request_id = self._current.request_id
            message = f"RequestId: {request_id} Error: Runtime exited with error: {words}"
            self._finish(failed("Runtime.ExitError", message, request_id=request_id))
        error = None
        if not self._initialised:
            error = self._init_error or failed(
                "Runtime.ExitError", f"Error: Runtime exited before it was ready: {words}"
            )
        if self._poll is not None and not self._poll.done():
            self._poll.cancel()
        if self._server is not None:
            self._server.close()
        self._on_gone(self, error)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def _answer(body: bytes, *, is_error: bool, request_id: str) -> InvocationResult:
    if is_error:
        return InvocationResult(_error_document(body), "Unhandled", request_id)
    if len(body) > PAYLOAD_BYTES_MAX:
        message = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes)."
        return failed("Function.ResponseSizeTooLarge", message, request_id=request_id)
    return InvocationResult(body, None, request_id)


def _error_document(body: bytes) -> bytes:
    """Passes on what the runtime reported, or says that it reported nothing readable."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return failed("Runtime.Unknown", "the runtime reported an error that could not be read").payload
    return body


def _peak_memory_mb(pid: int | None) -> str:
    """Reads the peak resident size; ``?`` where the system has no /proc."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return str(int(line.split()[1]) // 1024)
    except OSError:
        pass
    return "?"
