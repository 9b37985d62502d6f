"""Where a request goes: the two data routes by one dictionary look-up, everything else by `control`.

The only place that knows which HTTP status each refusal becomes.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson

from endpoints.serving import control, log
from endpoints.serving.answers import Encoder
from endpoints.serving.batcher import Job
from endpoints.serving.concurrency import Limiter
from endpoints.serving.encodings import pack, unpack
from endpoints.serving.errors import (
    BadInput,
    ModelFailed,
    Overloaded,
    ServingError,
    TooLarge,
    UnknownModel,
    UnsupportedMedia,
)
from endpoints.serving.exchange import JSON
from endpoints.serving.lines import TIER_TOP
from endpoints.serving.metrics import Metrics
from endpoints.serving.openapi import TRITON_BINARY
from endpoints.serving.settings import BODY_BYTES_MAX
from endpoints.serving.tensors import decode_request

if TYPE_CHECKING:
    from endpoints.serving.batcher import Batcher
    from endpoints.serving.exchange import Exchange
    from endpoints.serving.runner import Outputs, Runner
    from endpoints.serving.tensors import InferenceRequest, Signature
    from endpoints.serving.warmup import Profile

STATUS: dict[type[ServingError], int] = {
    BadInput: 400,
    UnknownModel: 404,
    TooLarge: 413,
    UnsupportedMedia: 415,
    ModelFailed: 500,
    Overloaded: 503,
}
TIMEOUT_ATTRIBUTE = b"headrace-timeout-ms"
TIER_ATTRIBUTE = b"headrace-tier"
_SAGEMAKER_BINARY = TRITON_BINARY.encode()
_LENGTH_HEADER = b"inference-header-content-length"
_OCTETS = b"application/octet-stream"
_JSON_TYPES = frozenset((b"", b"application/json"))


class Model:
    """The loaded model and everything made from it.

    Args:
        runner: The engine.
        profile: What warm-up measured.
        batcher: The queue in front of it.
        limiter: How much may be under way at once; None sets no limit but the queue's.
    """

    __slots__ = ("batcher", "encoder", "limiter", "name", "profile", "runner", "signature", "version")

    def __init__(self, *, runner: Runner, profile: Profile, batcher: Batcher, limiter: Limiter | None = None) -> None:
        self.runner = runner
        self.profile = profile
        self.batcher = batcher
        self.limiter = limiter
        self.name = runner.artifact.endpoint
        self.version = runner.artifact.version
        self.signature: Signature = runner.signature
        self.encoder = Encoder(model=self.name, version=self.version)


class App:
    """Answers exchanges.

    Attributes:
        model: The model once it is warm, else None.
        draining: Whether shutdown has begun.
        metrics: Where to count.
        in_flight: Inference requests not answered yet.
    """

    __slots__ = ("_data_paths", "draining", "in_flight", "metrics", "model")

    def __init__(self, *, metrics: Metrics) -> None:
        self.metrics = metrics
        self.model: Model | None = None
        self.draining = False
        self.in_flight = 0
        self._data_paths: frozenset[bytes] = frozenset((b"/invocations",))

    @property
    def ready(self) -> bool:
        """Whether new work should be sent here."""
        return self.model is not None and not self.draining

    def open(self, model: Model) -> None:
        """Begin to serve a warm model."""
        base = f"/v2/models/{model.name}"
        paths = ("/invocations", f"{base}/infer", f"{base}/versions/{model.version}/infer")
        self._data_paths = frozenset(path.encode() for path in paths)
        self.model = model

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or when its batch has run. Never raises."""
        try:
            if exchange.refusal is not None:
                status, code, message = exchange.refusal
                self._fail(exchange, route="none", status=status, code=code, message=message)
            elif exchange.path in self._data_paths and exchange.method == b"POST":
                self._infer(exchange)
            else:
                route, reply = control.answer(self, exchange)
                self.metrics.count_response(route=route, status=reply.status)
                exchange.reply(reply.status, reply.body, content_type=reply.content_type, extra=reply.extra)
        except ServingError as error:
            self.fail(exchange, error)
        except Exception as error:  # noqa: BLE001 - the last line of defence; the log gets the kind of error
            log.write("error", "request_broke", error=type(error).__name__)
            self._fail(
                exchange,
                route="none",
                status=500,
                code="internal",
                message="The server broke on this request; report it.",
            )

    def _infer(self, exchange: Exchange) -> None:
        model = self.model
        if model is None:
            raise Overloaded("The model is still warming up: retry later.", code="not_ready")
        headers = exchange.headers
        attributes = headers.get(b"x-amzn-sagemaker-custom-attributes")
        left_s, tier = (None, TIER_TOP) if attributes is None else _attributes(attributes)
        limiter = model.limiter
        # Before the body is read: under overload most requests get no further than this.
        if limiter is not None and not limiter.admits(tier, now=perf_counter()):
            self.metrics.dropped["concurrency"] += 1
            raise Overloaded(
                "The server is busy: retry after the time in Retry-After.",
                retry_after_s=model.batcher.retry_after_s(tier),
            )
        encoding = headers.get(b"content-encoding")
        body = exchange.body
        if encoding is not None:
            body = unpack(body, encoding=encoding, bytes_max=BODY_BYTES_MAX)
        # The usual three ways of saying plain JSON are settled without parsing the header.
        plain = headers.get(b"content-type", b"") in _JSON_TYPES and _LENGTH_HEADER not in headers
        json_bytes = None if plain else _json_bytes(headers)
        request = decode_request(body, signature=model.signature, json_bytes=json_bytes)
        exchange.body = b""
        deadline = None
        if left_s is not None or request.parameters:
            deadline = _deadline(left_s, request=request)
        call = Call(self, exchange, request, deadline, tier)
        model.batcher.submit(call, tensors=request.tensors, parameters=request.parameters)
        if limiter is not None:
            limiter.began(call.rows, tier)
        self.in_flight += 1

    def fail(self, exchange: Exchange, error: ServingError, *, route: str = "infer") -> None:
        """Answer with a refusal."""
        extra = b"retry-after: %d\r\n" % error.retry_after_s if isinstance(error, Overloaded) else b""
        if isinstance(error, ModelFailed):
            cause = error.__cause__
            log.write("error", "model_failed", code=error.code, error=type(cause).__name__ if cause else None)
        status = STATUS[type(error)]
        self._fail(exchange, route=route, status=status, code=error.code, message=error.message, extra=extra)

    def _fail(
        self, exchange: Exchange, *, route: str, status: int, code: str, message: str, extra: bytes = b""
    ) -> None:
        self.metrics.count_response(route=route, status=status)
        if status == 503 and not extra:  # noqa: PLR2004
            extra = b"retry-after: 1\r\n"
        exchange.reply(status, orjson.dumps({"error": message, "code": code}), extra=extra)


class Call(Job):
    """One exchange in the queue."""

    __slots__ = ("_app", "_exchange", "_request")

    def __init__(
        self, app: App, exchange: Exchange, request: InferenceRequest, deadline: float | None, tier: int
    ) -> None:
        super().__init__(exchange, deadline, tier)
        self._app = app
        self._exchange = exchange
        self._request = request

    def deliver(self, result: Outputs | ServingError) -> None:
        """Write the answer. Guarded: a failure here must not reach the batch's other callers."""
        app, exchange = self._app, self._exchange
        app.in_flight -= 1
        model: Any = app.model
        if model.limiter is not None:
            measured_s = None if isinstance(result, ServingError) else perf_counter() - self.queued_at
            model.limiter.ended(self.rows, measured_s, self.tier)
        if exchange.gone:
            return
        try:
            if isinstance(result, ServingError):
                app.fail(exchange, result)
                return
            body, json_bytes = model.encoder.encode(self._request, result)
            content_type, extra = JSON, b""
            if json_bytes is not None:
                content_type, extra = _binary_headers(exchange, json_bytes=json_bytes)
            accepted = exchange.headers.get(b"accept-encoding")
            if accepted is not None:
                body, packed = pack(body, accepted=accepted)
                extra += packed
            app.metrics.count_response(route="infer", status=200)
            exchange.reply(200, body, content_type=content_type, extra=extra)
        except ServingError as error:
            app.fail(exchange, error)
        except Exception as error:  # noqa: BLE001 - see above
            log.write("error", "answer_broke", error=type(error).__name__)
            app.fail(exchange, ModelFailed("The answer could not be written; report this to the model's owner."))


def _json_bytes(headers: dict[bytes, bytes]) -> int | None:
    """Decide from the headers whether raw tensors follow the JSON, and where it ends."""
    declared = headers.get(b"content-type", b"")
    kind, _, options = declared.partition(b";")
    kind = kind.strip().lower()
    length = headers.get(_LENGTH_HEADER)
    if kind == _SAGEMAKER_BINARY:
        name, _, value = options.strip().partition(b"=")
        if name.strip().lower() == b"json-header-size":
            length = value.strip()
        if length is None:
            raise BadInput(f"Content-Type must be {TRITON_BINARY};json-header-size=N.", code="invalid_header_length")
    elif kind not in _JSON_TYPES and not (kind == _OCTETS and length is not None):
        raise UnsupportedMedia(f"Content-Type must be application/json or {TRITON_BINARY};json-header-size=N.")
    if length is None:
        return None
    if not length.isdigit() or len(length) > 9:  # noqa: PLR2004 - beyond any body's size
        raise BadInput("The JSON header length must be a whole number.", code="invalid_header_length")
    return int(length)


def _binary_headers(exchange: Exchange, *, json_bytes: int) -> tuple[bytes, bytes]:
    """SageMaker strips unknown headers, so there the length travels in the content type."""
    asked = exchange.headers.get(b"content-type", b"")
    if exchange.path == b"/invocations" or asked.lower().startswith(_SAGEMAKER_BINARY):
        return _SAGEMAKER_BINARY + b";json-header-size=%d" % json_bytes, b""
    return _OCTETS, b"inference-header-content-length: %d\r\n" % json_bytes


def _attributes(attributes: bytes) -> tuple[float | None, int]:
    """Read the gateway's `headrace-timeout-ms` (as seconds, None when absent) and `headrace-tier` (0 is the lowest)."""
    left_s: float | None = None
    tier = TIER_TOP
    for part in attributes.split(b","):
        name, _, value = part.partition(b"=")
        name, value = name.strip().lower(), value.strip()
        if name == TIMEOUT_ATTRIBUTE:
            if not value.isdigit() or len(value) > 9:  # noqa: PLR2004
                raise BadInput("headrace-timeout-ms must be a whole number of milliseconds.", code="invalid_timeout")
            left_s = int(value) / 1000
        elif name == TIER_ATTRIBUTE:
            if not value.isdigit() or len(value) != 1:
                raise BadInput("headrace-tier must be one digit, 0 for the lowest tier.", code="invalid_tier")
            tier = int(value)
    return left_s, tier


def _deadline(left_s: float | None, *, request: InferenceRequest) -> float | None:
    """Take the nearer of the gateway's time left and the protocol's `timeout` (microseconds)."""
    timeout_us = request.parameters.get("timeout")
    if timeout_us is not None:
        if type(timeout_us) is not int or timeout_us < 0:
            raise BadInput("parameters.timeout: must be a whole number of microseconds.", code="invalid_timeout")
        if timeout_us:  # 0 is the protocol's "no timeout"
            left_s = timeout_us / 1e6 if left_s is None else min(left_s, timeout_us / 1e6)
    return None if left_s is None else perf_counter() + left_s
