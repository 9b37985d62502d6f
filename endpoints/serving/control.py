"""The control routes: health, metadata, statistics, metrics, documentation. Off the data path, so they may be slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from endpoints.serving.errors import UnknownModel
from endpoints.serving.exchange import JSON
from endpoints.serving.openapi import describe

if TYPE_CHECKING:
    from endpoints.serving.app import App, Model
    from endpoints.serving.exchange import Exchange
    from endpoints.serving.tensors import Port

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_READ = (b"GET", b"HEAD")
_ONNX_TYPES = {"BYTES": "TYPE_STRING"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer.

    Attributes:
        status: HTTP status.
        body: The body.
        content_type: Its media type.
        extra: More header lines.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    extra: bytes = b""


def answer(app: App, exchange: Exchange) -> tuple[str, Reply]:
    """Answer a control request.

    Args:
        app: The application.
        exchange: The request.

    Returns:
        The route's name for the metrics, and the reply.

    Raises:
        UnknownModel: The path names a model or version not served here.
    """
    path = unquote(exchange.path.decode("ascii", "replace"), errors="replace").rstrip("/") or "/"
    parts = path.split("/")[1:]
    route, methods = _route(parts)
    if not methods:
        return "none", _error(404, "not_found", "There is no such path: GET /openapi.json lists them.")
    if exchange.method not in methods:
        allow = b", ".join(methods)
        body = _error(405, "method_not_allowed", f"Use {allow.decode()}.").body
        return route, Reply(405, body, extra=b"allow: " + allow + b"\r\n")
    if route == "live":
        return route, _json({"live": True})
    if route in ("ping", "ready"):
        return route, _health(app)
    if route == "metrics":
        return route, Reply(200, _metrics(app), content_type=_PROMETHEUS)
    if route == "server":
        return route, _json({"name": "headrace-serving", "version": "1", "extensions": EXTENSIONS})
    if route == "optional":
        return route, _error(404, "unsupported_extension", "This extension is not supported.")
    model = app.model
    if model is None:
        if route == "index":
            return route, _json([])
        return route, _not_ready("The model is still warming up: retry later.")
    return route, _of_model(app, model=model, route=route, parts=parts)


def _route(parts: list[str]) -> tuple[str, tuple[bytes, ...]]:
    """Name the route of a path and its methods; no methods where there is no such path."""
    match parts:
        case ["ping"]:
            return "ping", _READ
        case ["invocations"]:
            return "infer", (b"POST",)
        case ["metrics"]:
            return "metrics", _READ
        case ["openapi.json"]:
            return "openapi", _READ
        case ["v2"]:
            return "server", _READ
        case ["v2", "health", ("live" | "ready") as what]:
            return what, _READ
        case ["v2", "models", "stats"]:
            return "all_stats", _READ
        case ["v2", "repository", "index"]:
            return "index", (b"POST",)
        case ["v2", "models", _] | ["v2", "models", _, "versions", _]:
            return "metadata", _READ
        case ["v2", "models", _, what] | ["v2", "models", _, "versions", _, what] if what in (
            "ready",
            "config",
            "stats",
        ):
            return f"model_{what}", _READ
        case ["v2", "models", _, "infer"] | ["v2", "models", _, "versions", _, "infer"]:
            return "infer", (b"POST",)
        case ["v2", "trace", "setting"] | ["v2", "logging"] | ["v2", "systemsharedmemory", "status"]:
            return "optional", _READ
    return "none", ()


def _of_model(app: App, *, model: Model, route: str, parts: list[str]) -> Reply:
    if route == "openapi":
        task = model.runner.artifact.task
        return _json(
            describe(model=model.name, version=model.version, signature=model.signature, description=f"Task: {task}.")
        )
    if route == "index":
        state = "READY" if app.ready else "UNAVAILABLE"
        return _json([{"name": model.name, "version": model.version, "state": state, "reason": ""}])
    statistics = {"model_stats": [app.metrics.statistics(model=model.name, version=model.version)]}
    if route == "all_stats":
        return _json(statistics)
    if parts[2] != model.name or (len(parts) > 4 and parts[4] != model.version):  # noqa: PLR2004
        raise UnknownModel(f"This server serves {model.name} version {model.version}.")
    if route == "model_ready":
        return _health(app)
    if route == "model_stats":
        return _json(statistics)
    if route == "model_config":
        return _json(_configuration(model))
    return _json(_metadata(model))


def _metadata(model: Model) -> dict[str, Any]:
    def tensor(port: Port) -> dict[str, Any]:
        return {"name": port.name, "datatype": port.datatype.name, "shape": port.shape}

    artifact = model.runner.artifact
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [tensor(port) for port in model.signature.inputs.values()],
        "outputs": [tensor(port) for port in model.signature.outputs.values()],
        "parameters": {"task": artifact.task, "artifact": artifact.digest, **model.runner.metadata},
    }


def _configuration(model: Model) -> dict[str, Any]:
    """Give the configuration in Triton's words; there a batch size of 0 means "never batched"."""
    batched = model.runner.batchable

    def tensor(port: Port) -> dict[str, Any]:
        kind = _ONNX_TYPES.get(port.datatype.name, f"TYPE_{port.datatype.name}")
        return {"name": port.name, "data_type": kind, "dims": port.shape[1:] if batched else port.shape}

    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [model.version]}},
        "max_batch_size": model.profile.batch_rows_max if batched else 0,
        "input": [tensor(port) for port in model.signature.inputs.values()],
        "output": [tensor(port) for port in model.signature.outputs.values()],
        "dynamic_batching": {"max_queue_delay_microseconds": 0} if batched else {},
    }


def _metrics(app: App) -> bytes:
    batcher = app.model.batcher if app.model is not None else None
    limiter = app.model.limiter if app.model is not None else None
    return app.metrics.render(
        gauges={
            "headrace_ready": ("Whether new work is taken.", float(app.ready)),
            "headrace_queue_rows": ("Rows waiting.", batcher.waiting_rows if batcher else 0),
            "headrace_rows_limit": ("Rows that may be under way at once.", limiter.limit if limiter else 0),
            "headrace_in_flight": ("Inference requests not answered yet.", app.in_flight),
        }
    )


def _health(app: App) -> Reply:
    if app.ready:
        return _json({"ready": True})
    return _not_ready("The server is draining." if app.draining else "The model is still warming up.")


def _not_ready(message: str) -> Reply:
    body = orjson.dumps({"ready": False, "error": message, "code": "not_ready"})
    return Reply(503, body, extra=b"retry-after: 1\r\n")


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, orjson.dumps({"error": message, "code": code}))


def _json(document: object) -> Reply:
    return Reply(200, orjson.dumps(document))
