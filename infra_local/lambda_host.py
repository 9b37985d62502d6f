"""Which environment runs which invocation: one at a time each, cold starts on demand, a bound on both.

Where Lambda answers 429 as soon as the concurrency is used up, a laptop with eight environments lets a bounded number
of invocations wait: the account that this stands in for would have a thousand.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from infra_local.lambda_environment import Environment, FunctionSpec, Invocation, InvocationResult
from infra_local.logs import open_log

REQUEST_BYTES_MAX = 6_291_456
"""The largest synchronous event (Lambda quotas, "Invocation payload")."""

ASYNC_REQUEST_BYTES_MAX = 1_048_576
CRASH_LOOP_FAILURES = 3
_REAP_PERIOD_S = 5.0
_ASYNC_ATTEMPTS = 3
_ASYNC_PAUSE_S = 1.0


class InvokeRefusedError(Exception):
    """Lambda would not accept the invocation.

    Attributes:
        status: The HTTP status of the Invoke API.
        code: The error's name in the Invoke API.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(slots=True)
class _Function:
    spec: FunctionSpec
    log: Path
    environments: set[Environment] = field(default_factory=set)
    idle: list[Environment] = field(default_factory=list)
    pending: deque[Invocation] = field(default_factory=deque)
    init_failures: int = 0
    first_start: asyncio.Event = field(default_factory=asyncio.Event)


class LambdaHost:
    """A pool of environments per function.

    Args:
        functions: What can be invoked.
        log_folder: Each function writes to ``lambda-<name>.log`` in it.
        report: Told, in words, when a function fails to start again and again.
    """

    def __init__(
        self, functions: list[FunctionSpec], *, log_folder: Path, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self._functions = {
            spec.name: _Function(spec, open_log(log_folder, f"lambda-{spec.name}")) for spec in functions
        }
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._reaper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to start the environments that are kept ready; all others start on demand and are reaped when idle."""
        self._reaper = asyncio.ensure_future(self._reap())
        for function in self._functions.values():
            self._scale_out(function)

    async def first_starts(self) -> None:
        """Waits until each function that has environments kept ready was ready once, or failed once."""
        for function in self._functions.values():
            if function.spec.provisioned:
                await function.first_start.wait()

    async def stop(self, *, grace_s: float = 5.0) -> None:
        """Lets running invocations end within the grace period, then ends every environment."""
        self._stopping = True
        if self._reaper is not None:
            self._reaper.cancel()
        deadline = time.monotonic() + grace_s
        while self._busy() and time.monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.02)
        for task in self._tasks:
            if task.get_name() == "async-invocation":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # a start under way first becomes a process to end
        await asyncio.gather(*(e.stop() for f in self._functions.values() for e in list(f.environments)))

    def _busy(self) -> bool:
        return any(environment.busy for f in self._functions.values() for environment in f.environments)

    def names(self) -> list[str]:
        """Returns the names of all functions."""
        return list(self._functions)

    def process_ids(self, name: str) -> list[int]:
        """Returns the process ids of a function's environments."""
        return [e.pid for e in self._functions[name].environments if e.pid is not None]

    def check(self, name: str) -> None:
        """Does nothing when the function could be invoked (the Invoke API's dry run).

        Raises:
            InvokeRefusedError: If it could not.
        """
        self._find(name)

    async def invoke(
        self, name: str, payload: bytes, *, trace_id: str = "", client_context: str | None = None
    ) -> InvocationResult:
        """Runs one event and returns what the function, or Lambda in its stead, answered.

        Args:
            name: The function's name.
            payload: A JSON text.
            trace_id: Passed on as the invocation's X-Ray header.
            client_context: Base64 text of the Invoke API, passed on.

        Raises:
            InvokeRefusedError: If there is no such function, the event is too large, or too many wait.
        """
        function = self._find(name)
        _check_size(payload, REQUEST_BYTES_MAX, "InvokeFunction")
        waiting = sum(1 for invocation in function.pending if not invocation.result.done())
        busy = sum(1 for e in function.environments if e.busy)
        if waiting >= function.spec.queue_max + function.spec.concurrency_max - busy:
            raise InvokeRefusedError(429, "TooManyRequestsException", "Rate Exceeded.")
        invocation = Invocation(
            payload, trace_id or "Root=1-00000000-000000000000000000000000;Sampled=0", client_context
        )
        if function.idle:
            function.idle.pop().give(invocation)
        else:
            function.pending.append(invocation)
            self._scale_out(function)
        return await invocation.result

    def invoke_later(self, name: str, payload: bytes) -> str:
        """Accepts an event for asynchronous invocation: tried three times, as on Lambda, then dropped with a report.

        Returns:
            A request id.

        Raises:
            InvokeRefusedError: As ``invoke``, but for an answer there is none to give.
        """
        function = self._find(name)
        _check_size(payload, ASYNC_REQUEST_BYTES_MAX, "InvokeAsync")
        self._spawn(self._attempt_later(function, payload), name="async-invocation")
        return Invocation(payload, "").request_id

    async def _attempt_later(self, function: _Function, payload: bytes) -> None:
        for attempt in range(_ASYNC_ATTEMPTS):
            await asyncio.sleep(_ASYNC_PAUSE_S * attempt)
            try:
                result = await self.invoke(function.spec.name, payload)
            except InvokeRefusedError:
                continue
            if result.function_error is None:
                return
        self._report(f"{function.spec.name}: an asynchronous event failed {_ASYNC_ATTEMPTS} times and was dropped")

    def _find(self, name: str) -> _Function:
        # A name, a partial ARN or a full one, each perhaps with a qualifier.
        plain = name.rpartition(":function:")[2].partition(":")[0]
        function = self._functions.get(plain)
        if function is None:
            message = f"Function not found: arn:aws:lambda:us-east-1:123456789012:function:{plain}"
            raise InvokeRefusedError(404, "ResourceNotFoundException", message)
        if self._stopping:
            raise InvokeRefusedError(500, "ServiceException", "the local platform is stopping")
        return function

    def _scale_out(self, function: _Function) -> None:
        spec = function.spec
        starting = sum(1 for e in function.environments if not e.initialised)
        waiting = sum(1 for invocation in function.pending if not invocation.result.done())
        wanted = max(0, waiting - starting)
        if function.init_failures < CRASH_LOOP_FAILURES:  # what never starts is not kept ready, only tried on demand
            wanted = max(wanted, spec.provisioned - len(function.environments))
        for _ in range(min(wanted, spec.concurrency_max - len(function.environments))):
            environment = Environment(
                spec,
                log=function.log,
                kept_ready=len(function.environments) < spec.provisioned,
                on_ready=lambda ready: self._ready(function, ready),
                on_gone=lambda gone, error: self._gone(function, gone, error),
            )
            function.environments.add(environment)
            self._spawn(environment.start(), name="environment-start")

    def _ready(self, function: _Function, environment: Environment) -> None:
        function.init_failures = 0
        function.first_start.set()
        while function.pending:
            invocation = function.pending.popleft()
            if not invocation.result.done():
                environment.give(invocation)
                return
        function.idle.append(environment)

    def _gone(self, function: _Function, environment: Environment, error: InvocationResult | None) -> None:
        function.environments.discard(environment)
        if environment in function.idle:
            function.idle.remove(environment)
        if error is not None:
            function.init_failures += 1
            function.first_start.set()
            # On Lambda the invocation that caused the cold start gets its error; here, the one that waited longest.
            while function.pending:
                invocation = function.pending.popleft()
                if not invocation.result.done():
                    invocation.settle(error)
                    break
            if function.init_failures == CRASH_LOOP_FAILURES:
                lines = "\n    ".join(environment.last_lines())
                self._report(f"{function.spec.name} fails at every start; {function.log} ends with:\n    {lines}")
        if not self._stopping:
            self._scale_out(function)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_PERIOD_S)
            for function in self._functions.values():
                expired = [e for e in function.idle if time.monotonic() - e.idle_since > function.spec.idle_s]
                spare = max(0, len(function.environments) - function.spec.provisioned)
                for environment in expired[:spare]:
                    function.idle.remove(environment)
                    self._spawn(environment.stop(), name="environment-stop")

    def _spawn(self, work: Coroutine[None, None, None], *, name: str) -> None:
        task = asyncio.ensure_future(work)
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _check_size(payload: bytes, size_max: int, operation: str) -> None:
    if len(payload) > size_max:
        message = f"Request must be smaller than {size_max} bytes for the {operation} operation"
        raise InvokeRefusedError(413, "RequestTooLargeException", message)
