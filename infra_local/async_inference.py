"""``InvokeEndpointAsync``: a queue per endpoint, and outputs and failures as objects.

Limits and fields as in SageMaker's API reference (InvokeEndpointAsync, CreateEndpointConfig's AsyncInferenceConfig): an
inline body of at most 128,000 bytes or a place in S3, the output under the caller's own path and name, a bound on the
time in the queue and one on the time at work. While an endpoint has no instance, requests wait in its queue; one that
ends badly leaves a failure object, if the configuration names a place for those.

What a failure object holds is not documented: here it is the error of InvokeEndpoint as JSON.
"""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from infra_local import sagemaker_errors
from infra_local.control_plane import ControlPlane, ControlPlaneDownError, UnknownEndpointError
from infra_local.sagemaker_errors import RuntimeRefusalError

INLINE_BYTES_MAX = 128_000
TTL_S, TTL_MIN_S, TTL_MAX_S = 21_600, 60, 21_600
TIMEOUT_S, TIMEOUT_MIN_S, TIMEOUT_MAX_S = 900, 1, 3600
CONCURRENCY = 4
"""Where the configuration names no bound, SageMaker chooses one."""
CAPACITY_PAUSE_S = 0.2
"""A request that found no instance looks again after this."""
_NO_CAPACITY = "ServiceUnavailable"
_EXPIRED = b"The request expired in the queue before an instance could begin it."
_PREFIX = "X-Amzn-SageMaker-"
_ID = re.compile(r"\S[ -~]{0,63}")
_PATH = re.compile(r"(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]{1,512}")
_NAME = re.compile(r"(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_.]{0,31}")
_LOCATION = re.compile(r"(https|s3)://[^/]+/?.{0,1000}")


class AsyncStore(Protocol):
    """Where asynchronous invocations read their input and leave their output."""

    def read(self, uri: str) -> bytes:
        """Returns an object's bytes."""

    def write(self, uri: str, body: bytes, content_type: str) -> None:
        """Writes an object."""


class Answered(Protocol):
    """What a container answered."""

    @property
    def body(self) -> bytes:
        """The bytes."""

    @property
    def content_type(self) -> str:
        """As the container said."""


Ask = Callable[[str, bytes, dict[str, str], float], Awaitable[Answered]]
"""(endpoint, body, headers, seconds at work) → the container's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One accepted request.

    Attributes:
        name: The endpoint.
        source: The body, or where it lies.
        headers: What reaches the container.
        output: Where the answer goes.
        failure: Where an error goes, if anywhere.
        expires_s: On the loop's clock: it begins by then or not at all.
        timeout_s: How long it may be worked at.
    """

    name: str
    source: str | bytes
    headers: dict[str, str]
    output: str
    failure: str | None
    expires_s: float
    timeout_s: float


class AsyncInference:
    """Accepts asynchronous invocations and works at them.

    Args:
        control: Tells what is configured.
        store: Inputs, outputs and failures.
        ask: Asks a container.
    """

    def __init__(self, control: ControlPlane, *, store: AsyncStore, ask: Ask) -> None:
        self._control = control
        self._store = store
        self._ask = ask
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Drops what is queued and what is at work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(
        self, name: str, asked: Callable[[str], str | None], body: bytes, headers: dict[str, str]
    ) -> web.Response:
        """Queues a request and says where its output and its failure will lie.

        Args:
            name: The endpoint.
            asked: The value of an ``X-Amzn-SageMaker-`` header by the rest of its name.
            body: The inline input; empty when there is a place.
            headers: What reaches the container.

        Raises:
            RuntimeRefusalError: As the service refuses.
        """
        if len(body) > INLINE_BYTES_MAX:
            raise sagemaker_errors.too_large(INLINE_BYTES_MAX)
        place = _text(asked("InputLocation"), _LOCATION, "inputLocation")
        if bool(place) == bool(body):
            raise _invalid("Provide exactly one of Body and InputLocation")
        inference_id = _text(asked("Inference-Id"), _ID, "inferenceId") or str(uuid.uuid4())
        extension = _text(asked("S3OutputPathExtension"), _PATH, "s3OutputPathExtension")
        file = _text(asked("Filename"), _NAME, "filename") or f"{inference_id}.out"
        ttl_s = _seconds(asked("RequestTTLSeconds"), "requestTTLSeconds", TTL_S, (TTL_MIN_S, TTL_MAX_S))
        limits = (TIMEOUT_MIN_S, TIMEOUT_MAX_S)
        timeout_s = _seconds(asked("InvocationTimeoutSeconds"), "invocationTimeoutSeconds", TIMEOUT_S, limits)
        settings = await self._settings(name)
        paths = settings["OutputConfig"]
        failures = paths.get("S3FailurePath")
        work = Work(
            name=name,
            source=place or body,
            headers=headers,
            output="/".join(part.strip("/") for part in (paths["S3OutputPath"], extension, file) if part),
            failure=f"{failures.rstrip('/')}/{inference_id}-error.out" if failures else None,
            expires_s=asyncio.get_running_loop().time() + ttl_s,
            timeout_s=timeout_s,
        )
        concurrency = settings.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", CONCURRENCY)
        slots = self._slots.setdefault(name, asyncio.Semaphore(concurrency))
        task = asyncio.ensure_future(self._work(work, slots))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        locations = {f"{_PREFIX}OutputLocation": work.output}
        if work.failure:
            locations[f"{_PREFIX}FailureLocation"] = work.failure
        return web.json_response({"InferenceId": inference_id}, status=202, headers=locations)

    async def _settings(self, name: str) -> dict[str, Any]:
        try:
            state = await self._control.endpoint(name)
            config = await self._control.describe_config(state.config)
        except UnknownEndpointError as error:
            raise sagemaker_errors.unknown_endpoint(name) from error
        except ControlPlaneDownError as error:
            raise sagemaker_errors.unavailable(name) from error
        settings = config.get("AsyncInferenceConfig")
        if not isinstance(settings, dict):
            raise _invalid(f"Endpoint {name} is not an asynchronous endpoint.")
        return settings

    async def _work(self, work: Work, slots: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout_at(work.expires_s):
                await slots.acquire()
        except TimeoutError:
            await self._fail(work, _EXPIRED)
            return
        try:
            source = work.source
            body = await asyncio.to_thread(self._store.read, source) if isinstance(source, str) else source
            answer = await self._answer(work, body)
        except RuntimeRefusalError as error:
            await self._fail(work, error.document())
        except TimeoutError:
            await self._fail(work, _EXPIRED)
        except Exception as error:  # noqa: BLE001 - the input cannot be read, for whatever reason
            await self._fail(work, f"The input could not be downloaded: {type(error).__name__}.".encode())
        else:
            await asyncio.to_thread(self._store.write, work.output, answer.body, answer.content_type)
        finally:
            slots.release()

    async def _answer(self, work: Work, body: bytes) -> Answered:
        """Asks, and asks again while no instance is there to be asked."""
        while True:
            try:
                return await self._ask(work.name, body, work.headers, work.timeout_s)
            except RuntimeRefusalError as error:
                if error.code != _NO_CAPACITY:
                    raise
                if asyncio.get_running_loop().time() > work.expires_s:
                    raise TimeoutError from error
                await asyncio.sleep(CAPACITY_PAUSE_S)

    async def _fail(self, work: Work, text: bytes) -> None:
        if work.failure is not None:
            await asyncio.to_thread(self._store.write, work.failure, text, "application/json")


def _text(value: str | None, pattern: re.Pattern[str], field: str) -> str:
    if value is None:
        return ""
    if not pattern.fullmatch(value):
        raise _invalid(f"Value at '{field}' failed to satisfy constraint: Member must satisfy {pattern.pattern}")
    return value


def _seconds(value: str | None, field: str, default: int, limits: tuple[int, int]) -> float:
    least, most = limits
    if value is None:
        return default
    if not value.isdigit() or not least <= int(value) <= most:
        raise _invalid(f"Value at '{field}' failed to satisfy constraint: Member must be from {least} to {most}")
    return int(value)


def _invalid(message: str) -> RuntimeRefusalError:
    return RuntimeRefusalError(400, "ValidationError", message)
