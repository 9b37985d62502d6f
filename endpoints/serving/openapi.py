"""Describes the HTTP interface of one loaded model as OpenAPI 3.1, every status included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from endpoints.serving.tensors import Port, Signature

TRITON_BINARY = "application/vnd.sagemaker-triton.binary+json"
_ERRORS = {
    400: "The request is malformed or does not fit the model.",
    404: "There is no such path, model or version here.",
    405: "The path knows other methods: see Allow.",
    408: "The request took too long to arrive.",
    413: "The body, or what it unpacks to, is too large.",
    414: "The request target is too long.",
    415: "The content type or content encoding is not read here.",
    431: "The request line and headers are too large.",
    500: "The model broke.",
    501: "The transfer encoding is not read here.",
    505: "Only HTTP/1.0 and 1.1 are read here.",
    503: "Busy, draining or still warming up: retry after Retry-After seconds.",
}
_EVERYWHERE = (400, 404, 405, 408, 413, 414, 431, 501, 503, 505)


def describe(*, model: str, version: str, signature: Signature, description: str) -> dict[str, Any]:
    """Write the document.

    Args:
        model: Model name.
        version: Model version.
        signature: Its inputs and outputs.
        description: What the model does.
    """
    infer = _operation(
        "Run the model.", answer=_reference("InferenceResponse"), errors=(*_EVERYWHERE, 415, 500), body=True
    )
    thing: dict[str, Any] = {"type": "object"}
    live = {"type": "object", "properties": {"live": {"type": "boolean"}}, "required": ["live"]}
    ready = {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]}
    named = f"/v2/models/{model}"
    paths: dict[str, Any] = {
        "/ping": {"get": _operation("Whether the server takes work (SageMaker).", answer=thing)},
        "/invocations": {"post": {**infer, "operationId": "invocations"}},
        "/v2": {"get": _operation("Server metadata.", answer=thing)},
        "/v2/health/live": {"get": _operation("Liveness.", answer=live)},
        "/v2/health/ready": {"get": _operation("Readiness.", answer=ready)},
        "/v2/models/stats": {"get": _operation("Statistics of all models.", answer=thing)},
        "/v2/repository/index": {
            "post": _operation("Models here and their state.", answer={"type": "array", "items": thing})
        },
        "/metrics": {"get": _operation("Figures for Prometheus.", answer={"type": "string"}, media="text/plain")},
        "/openapi.json": {"get": _operation("This document.", answer=thing)},
    }
    for base in (named, f"{named}/versions/{version}"):
        paths[base] = {"get": _operation("Model metadata.", answer=thing)}
        paths[f"{base}/ready"] = {"get": _operation("Model readiness.", answer=ready)}
        paths[f"{base}/config"] = {"get": _operation("Model configuration.", answer=thing)}
        paths[f"{base}/stats"] = {"get": _operation("Model statistics.", answer=thing)}
        paths[f"{base}/infer"] = {"post": infer}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Headrace serving: {model}", "version": version, "description": description},
        "paths": paths,
        "components": {"schemas": _schemas(signature)},
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(
    summary: str,
    *,
    answer: dict[str, Any],
    errors: tuple[int, ...] = _EVERYWHERE,
    media: str = "application/json",
    body: bool = False,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": {media: {"schema": answer}}}}
    for status in sorted(errors):
        responses[str(status)] = {
            "description": _ERRORS[status],
            "content": {"application/json": {"schema": _reference("Error")}},
        }
    responses["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if body:
        responses["200"]["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference("InferenceRequest")}},
        }
    return operation


def _schemas(signature: Signature) -> dict[str, Any]:
    parameters = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
    tensor_of = {"type": "array", "items": {}}
    return {
        "Error": {
            "type": "object",
            "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
            "required": ["error", "code"],
        },
        "InferenceRequest": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "maxLength": 1024},
                "parameters": parameters,
                "inputs": {
                    "type": "array",
                    "minItems": len(signature.inputs),
                    "maxItems": len(signature.inputs),
                    "items": {"oneOf": [_tensor(port, parameters=parameters) for port in signature.inputs.values()]},
                },
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"enum": list(signature.outputs)}, "parameters": parameters},
                        "required": ["name"],
                    },
                },
            },
            "required": ["inputs"],
        },
        "InferenceResponse": {
            "type": "object",
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"enum": list(signature.outputs)},
                            "datatype": {"type": "string"},
                            "shape": {"type": "array", "items": {"type": "integer"}},
                            "data": tensor_of,
                            "parameters": parameters,
                        },
                        "required": ["name", "datatype", "shape"],
                    },
                },
            },
            "required": ["model_name", "model_version", "outputs"],
        },
    }


def _tensor(port: Port, *, parameters: dict[str, Any]) -> dict[str, Any]:
    if port.datatype.name == "BYTES":
        element: dict[str, Any] = {"type": "string"}
    elif port.datatype.name == "BOOL":
        element = {"type": "boolean"}
    else:
        element = {"type": "integer" if port.datatype.dtype.kind in "iu" else "number"}
    sizes = [
        {"type": "integer", "minimum": 1, "maximum": 2**31 - 1} if size < 0 else {"const": size} for size in port.shape
    ]
    return {
        "type": "object",
        "properties": {
            "name": {"const": port.name},
            "datatype": {"const": port.datatype.name},
            "shape": {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)},
            "data": {"type": "array", "items": element, "description": "Flat, as many elements as the shape has."},
            "parameters": parameters,
        },
        "required": ["name", "datatype", "shape"],
    }
