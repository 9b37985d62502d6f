"""The SageMaker runtime API over the real serving processes.

``InvokeEndpoint``, ``InvokeEndpointWithResponseStream`` and ``InvokeEndpointAsync`` with SageMaker's limits and errors
(docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html): 6 MiB, 60 s, and only the content
type, Accept and the custom attributes reach the container. Weights come from the control plane; faults strike here.
"""

import asyncio
import io
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from infra_local import event_stream, sagemaker_errors
from infra_local.async_inference import AsyncInference, AsyncStore
from infra_local.control_plane import ControlPlane, ControlPlaneDownError, UnknownEndpointError
from infra_local.faults import RUBBISH, Fault, FaultBook, misshape
from infra_local.lambda_api import read_bounded
from infra_local.ports import LOOPBACK
from infra_local.sagemaker_errors import RuntimeRefusalError

BODY_BYTES_MAX = 6_291_456
MODEL_TIMEOUT_S = 60.0
ATTRIBUTES_CHARS_MAX = 1024

_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_VARIANT = "x-Amzn-Invoked-Production-Variant"
_HEADER_SIZE = "json-header-size="


class Backend(Protocol):
    """Where a variant answers."""

    @property
    def url(self) -> str | None:
        """The base URL, or ``None`` while nothing can answer."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a container answered.

    Attributes:
        body: The bytes.
        content_type: As the container said.
        attributes: The custom attributes that it set, if any.
    """

    body: bytes
    content_type: str
    attributes: str | None


class SageMakerRuntime:
    """Answers the runtime API.

    Args:
        control: The control plane.
        session: For the requests to containers; without automatic decompression.
        backend: Finds a variant's process by endpoint and variant name (endpoint names as the caller gives them).
        faults: Faults in force.
        short_name: The endpoint's short name, as faults know it, from its full name.
        store: For asynchronous invocations.
        model_timeout_s: How long a container may take.
    """

    def __init__(
        self,
        control: ControlPlane,
        session: aiohttp.ClientSession,
        *,
        backend: Callable[[str, str], Backend | None],
        faults: FaultBook,
        short_name: Callable[[str], str],
        store: AsyncStore | None = None,
        model_timeout_s: float = MODEL_TIMEOUT_S,
    ) -> None:
        self._control = control
        self._session = session
        self._backend = backend
        self._faults = faults
        self._short_name = short_name
        self._async = None if store is None else AsyncInference(control, store=store, ask=self._ask_any)
        self._model_timeout_s = model_timeout_s
        self._server: asyncio.Server | None = None
        self._web: web.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """For ``AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME``."""
        return f"http://{LOOPBACK}:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Listens on a loopback port; 0 means any free one."""
        # A caller that leaves cancels its request, which closes the connection to the container.
        self._web = web.Server(self._answer, access_log=None, handler_cancellation=True, auto_decompress=False)
        self._server = await asyncio.get_running_loop().create_server(self._web, LOOPBACK, port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends the listener, and drops asynchronous work."""
        if self._async is not None:
            await self._async.stop()
        if self._server is not None and self._web is not None:
            self._server.close()
            await self._web.shutdown(timeout=0.5)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        parts = request.raw_path.partition("?")[0].split("/")
        try:
            if request.method != "POST" or parts[:2] != ["", "endpoints"] or len(parts) != 4:  # noqa: PLR2004
                raise sagemaker_errors.unknown_operation()
            name = unquote(parts[2])
            match parts[3]:
                case "invocations":
                    response = await self._invoke(request, name)
                case "invocations-response-stream":
                    return await self._stream(request, name, request_id)
                case "async-invocations":
                    response = await self._accept(request, name)
                case _:
                    raise sagemaker_errors.unknown_operation()
        except RuntimeRefusalError as error:
            headers = {"x-amzn-ErrorType": error.code}
            response = web.Response(
                status=error.status, body=error.document(), headers=headers, content_type="application/json"
            )
        response.headers["x-amzn-RequestId"] = request_id
        return response

    async def _invoke(self, request: web.BaseRequest, name: str) -> web.Response:
        body = await _read(request)
        if "X-Amzn-SageMaker-Target-Model" in request.headers:
            raise sagemaker_errors.no_multi_model(name)
        variant = await self._choose(name, _target(request, name))
        answer = await self._ask(name, variant, body, _passed_on(request))
        headers = {"Content-Type": answer.content_type, _VARIANT: variant}
        if answer.attributes is not None:
            headers[_ATTRIBUTES] = answer.attributes
        return web.Response(body=answer.body, headers=headers)

    async def _choose(self, name: str, target: str | None) -> str:
        """Chooses the variant: the one asked for, else one by weight."""
        try:
            state = await self._control.endpoint(name)
        except UnknownEndpointError as error:
            raise sagemaker_errors.unknown_endpoint(name) from error
        except ControlPlaneDownError as error:
            raise sagemaker_errors.unavailable(name) from error
        if target is not None:
            if target not in state.weights:
                raise sagemaker_errors.unknown_variant(name, target)
            return target
        names = list(state.weights)
        weights = [state.weights[variant] for variant in names]
        if not any(weights):
            raise sagemaker_errors.unavailable(name)
        return random.choices(names, weights)[0]  # noqa: S311 - traffic shares are no secret

    async def _ask(
        self, name: str, variant: str, body: bytes, headers: dict[str, str], *, timeout_s: float | None = None
    ) -> ModelAnswer:
        """Sends one request to the container, through the faults in force."""
        struck = self._faults.strike(self._short_name(name), variant)
        try:
            async with asyncio.timeout(self._model_timeout_s if timeout_s is None else timeout_s):
                await self._suffer(name, variant, struck)
                answer = await self._post(name, variant, body, headers)
        except TimeoutError as error:
            message = sagemaker_errors.TIMED_OUT_MESSAGE.format(variant=variant)
            raise sagemaker_errors.model_error(name, variant, status=0, message=message) from error
        return _spoil(answer, struck)

    async def _suffer(self, name: str, variant: str, struck: list[Fault]) -> None:
        for fault in struck:
            match fault.kind:
                case "latency":
                    await asyncio.sleep(self._faults.delay_s(fault))
                case "hang":
                    await asyncio.Event().wait()
                case "throttle":
                    raise sagemaker_errors.throttled()
                case "unavailable":
                    raise sagemaker_errors.unavailable(name)
                case "5xx":
                    raise sagemaker_errors.model_error(name, variant, status=500, message="a fault that was asked for")

    async def _post(self, name: str, variant: str, body: bytes, headers: dict[str, str]) -> ModelAnswer:
        url = self._url_of(name, variant)
        try:
            async with self._session.post(f"{url}/invocations", data=io.BytesIO(body), headers=headers) as answer:
                content = await answer.read()
        except aiohttp.ClientConnectorError as error:
            raise sagemaker_errors.unavailable(name) from error
        except aiohttp.ClientError as error:
            message = "the container closed the connection before it had answered"
            raise sagemaker_errors.model_error(name, variant, status=0, message=message) from error
        if answer.status != 200:  # noqa: PLR2004
            message = content.decode("utf-8", "replace")
            raise sagemaker_errors.model_error(name, variant, status=answer.status, message=message)
        content_type = answer.headers.get("Content-Type", "application/octet-stream")
        return ModelAnswer(content, content_type, answer.headers.get(_ATTRIBUTES))

    def _url_of(self, name: str, variant: str) -> str:
        backend = self._backend(name, variant)
        if backend is None or backend.url is None:
            raise sagemaker_errors.unavailable(name)
        return backend.url

    async def _stream(self, request: web.BaseRequest, name: str, request_id: str) -> web.StreamResponse:
        body = await _read(request)
        variant = await self._choose(name, _target(request, name))
        struck = self._faults.strike(self._short_name(name), variant)
        await self._suffer(name, variant, [f for f in struck if f.kind not in ("hang", "garbage", "wrong_shape")])
        url = self._url_of(name, variant)
        headers = _passed_on(request, accept="X-Amzn-SageMaker-Accept")
        deadline = asyncio.get_running_loop().time() + self._model_timeout_s
        try:
            async with self._session.post(f"{url}/invocations", data=io.BytesIO(body), headers=headers) as answer:
                if answer.status != 200:  # noqa: PLR2004
                    message = (await answer.read()).decode("utf-8", "replace")
                    raise sagemaker_errors.model_error(name, variant, status=answer.status, message=message)
                response = web.StreamResponse(
                    headers={
                        "Content-Type": "application/vnd.amazon.eventstream",
                        "X-Amzn-SageMaker-Content-Type": answer.headers.get("Content-Type", "application/octet-stream"),
                        _VARIANT: variant,
                        "x-amzn-RequestId": request_id,
                    }
                )
                await response.prepare(request)
                await _relay(answer, response, hang=any(f.kind == "hang" for f in struck), deadline=deadline)
        except aiohttp.ClientError as error:
            raise sagemaker_errors.unavailable(name) from error
        await response.write_eof()
        return response

    async def _accept(self, request: web.BaseRequest, name: str) -> web.Response:
        if self._async is None:
            raise RuntimeRefusalError(500, "InternalFailure", "no object store")
        body = await _read(request)
        headers = _passed_on(request, content_type="X-Amzn-SageMaker-Content-Type", accept="X-Amzn-SageMaker-Accept")
        return await self._async.accept(
            name, lambda field: request.headers.get(f"X-Amzn-SageMaker-{field}"), body, headers
        )

    async def _ask_any(self, name: str, body: bytes, headers: dict[str, str], timeout_s: float) -> ModelAnswer:
        """Asks a variant chosen by weight; an asynchronous endpoint has one."""
        return await self._ask(name, await self._choose(name, None), body, headers, timeout_s=timeout_s)


def _target(request: web.BaseRequest, name: str) -> str | None:
    """Returns the variant that is meant, if one is; a component ``<endpoint>-<version>`` is the version's process."""
    component: str | None = request.headers.get("X-Amzn-SageMaker-Inference-Component")
    if component is None:
        return request.headers.get("X-Amzn-SageMaker-Target-Variant")
    if not component.startswith(f"{name}-"):
        raise sagemaker_errors.unknown_variant(name, component)
    return component.removeprefix(f"{name}-")


async def _read(request: web.BaseRequest) -> bytes:
    attributes = request.headers.get(_ATTRIBUTES, "")
    if len(attributes) > ATTRIBUTES_CHARS_MAX or not all("!" <= char <= "~" or char == " " for char in attributes):
        raise sagemaker_errors.bad_attributes()
    body = await read_bounded(request, BODY_BYTES_MAX)
    if len(body) > BODY_BYTES_MAX:
        raise sagemaker_errors.too_large(BODY_BYTES_MAX)
    return body


def _passed_on(
    request: web.BaseRequest, *, content_type: str = "Content-Type", accept: str = "Accept"
) -> dict[str, str]:
    """Returns the only headers that reach a container."""
    names = {"Content-Type": content_type, "Accept": accept, _ATTRIBUTES: _ATTRIBUTES}
    headers = {name: request.headers[source] for name, source in names.items() if source in request.headers}
    return {"Content-Type": "application/octet-stream", "Accept": "*/*", **headers}


async def _relay(answer: aiohttp.ClientResponse, response: web.StreamResponse, *, hang: bool, deadline: float) -> None:
    """Passes a container's answer on part by part; a failure after the first byte becomes an exception event."""
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in answer.content.iter_any():
                await response.write(event_stream.payload_part(chunk))
                if hang:
                    await asyncio.Event().wait()
    except TimeoutError:
        document = b'{"Message":"the model took too long","ErrorCode":"ModelInvocationTimeExceeded"}'
        await response.write(event_stream.stream_exception("ModelStreamError", document))
    except aiohttp.ClientError:
        document = b'{"Message":"the connection to the model was lost","ErrorCode":"StreamBroken"}'
        await response.write(event_stream.stream_exception("ModelStreamError", document))


def _spoil(answer: ModelAnswer, struck: list[Fault]) -> ModelAnswer:
    for fault in struck:
        if fault.kind == "garbage":
            return ModelAnswer(RUBBISH, answer.content_type, answer.attributes)
        if fault.kind == "wrong_shape":
            _, marked, size = answer.content_type.partition(_HEADER_SIZE)
            body, new_size = misshape(answer.body, header_bytes=int(size) if marked else None)
            content_type = answer.content_type.replace(_HEADER_SIZE + size, f"{_HEADER_SIZE}{new_size}")
            return ModelAnswer(body, content_type, answer.attributes)
    return answer
