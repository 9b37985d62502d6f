"""The OpenAPI document: FastAPI lists the routes, this module says what goes in and comes out of each.

Nothing here runs before the document is asked for.
"""

from html import escape
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from functions.predict.batch_operations import BATCH_OPERATIONS, BATCH_SCHEMAS
from functions.predict.lean import FastAPI, Route
from functions.predict.operations import OPERATIONS, PROTOCOL_SCHEMAS, SCHEMAS, Operation
from functions.predict.outcome_operations import OUTCOME_OPERATIONS, OUTCOME_SCHEMAS
from headrace.gateway import PUBLIC_PATHS

_REF = "#/components/schemas/{model}"
_DESCRIPTION = (
    "AI endpoints behind one stable API. Every answer names what served it (`x-headrace-served-by`) and says when it "
    "is degraded (`x-headrace-degraded`). A caller sets its own limit with `x-request-timeout-ms` and may pin a "
    "version with `x-headrace-version`."
)
_ERRORS = {
    "307": "Too large for an answer: `Location` has it for a while.",
    "400": "The request must be changed; `code` says how.",
    "401": "No usable credential.",
    "403": "The caller lacks a scope, or the object is not the tenant's.",
    "404": "No such model, version, file, batch, job or path.",
    "405": "The path takes another method.",
    "409": "The same `Idempotency-Key` is being answered: see `Retry-After`.",
    "413": "Too large.",
    "415": "Another content type or encoding is wanted.",
    "422": "The `Idempotency-Key` came with another request before, or its answer was too large to keep.",
    "429": "The plan's concurrency, rate or budget is used up: see `code` and `Retry-After`.",
    "503": "Nothing could serve in time: try again after `Retry-After` seconds.",
    "504": "No answer is to be had in the time allowed, or the gateway gave up waiting.",
}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, version 3.1."""
    # What FastAPI can list are routes of its own.
    routes = [
        APIRoute(route.path, route.endpoint, methods=[*(route.methods or ())], name=route.name, response_model=None)
        for route in app.routes
        if isinstance(route, Route)
    ]
    base = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=routes)
    _, definitions = models_json_schema(
        [(schema, "validation") for schema in SCHEMAS + BATCH_SCHEMAS + OUTCOME_SCHEMAS], ref_template=_REF
    )
    base["components"] = {
        "schemas": {**definitions.get("$defs", {}), **PROTOCOL_SCHEMAS},
        "securitySchemes": {
            "ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "Bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key, or a token of a configured issuer.",
            },
        },
    }
    base["security"] = [{"ApiKey": []}, {"Bearer": []}]
    operations = OPERATIONS | BATCH_OPERATIONS | OUTCOME_OPERATIONS
    for path, methods in base["paths"].items():
        for method in methods:
            methods[method] = _operation(path, operations[method.upper(), path])
    return base


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    protocol = path.startswith("/v2")
    public = path in PUBLIC_PATHS
    error = {"$ref": f"#/components/schemas/{'ProtocolError' if protocol else 'Error'}"}
    statuses = operation.errors if public else ("401", "403", "429", "504", *operation.errors)
    responses: dict[str, Any] = {
        operation.status: {
            "description": operation.answer,
            "headers": _answer_headers(inference=operation.deferrable),
            "content": {media: {"schema": schema} for media, schema in operation.response.items()},
        }
    }
    if operation.deferrable:
        responses["202"] = {
            "description": "Accepted for later, as the caller prefers: see `Location`.",
            "headers": {
                "location": {"description": "Where the job is.", "schema": {"type": "string"}},
                **_retry_headers(),
            },
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
        }
    for status in sorted(statuses):
        # The gateway refuses before any route is known, in one form for all of them.
        schema = {"anyOf": [error, {"$ref": "#/components/schemas/Error"}]} if protocol else error
        responses[status] = {
            "description": _ERRORS[status],
            "headers": _retry_headers() if status in {"409", "429", "503"} else {},
            "content": {"application/json": {"schema": schema}},
        }
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.id,
        "tags": [operation.tag],
        "parameters": list(operation.parameters),
        "responses": responses,
    }
    if operation.request:
        content = {media: {"schema": schema} for media, schema in operation.request.items()}
        described["requestBody"] = {"required": True, "content": content}
    if public:
        described["security"] = []
    return described


def _answer_headers(*, inference: bool) -> dict[str, Any]:
    names = {"x-request-id": "Names this request in every log.", "server-timing": "Where the time went."}
    if inference:
        names |= {
            "x-headrace-served-by": "The model and what of it served.",
            "x-headrace-degraded": "Why the primary did not serve; absent when it did.",
            "x-headrace-outcome-token": "For POST /v1/outcomes, where what comes of this answer is counted.",
            "cache-status": "RFC 9211: whether the answer came from the cache; absent where there is none.",
            "age": "Seconds since an answer from the cache was computed.",
            "ratelimit-limit": "Requests at once that the plan allows.",
            "ratelimit-remaining": "Requests of them that are left now.",
            "ratelimit-reset": "Seconds until all of them are there again.",
            "idempotent-replayed": "`true` when the answer was given before, to the same key.",
        }
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in names.items()}


def _retry_headers() -> dict[str, Any]:
    return {"retry-after": {"description": "Seconds.", "schema": {"type": "string"}}}


def page(document: dict[str, Any]) -> str:
    """The document as one plain page, without scripts."""
    rows = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            statuses = ", ".join(operation["responses"])
            media = ", ".join(operation.get("requestBody", {}).get("content", {}))
            rows.append(
                f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
                f"<td>{escape(operation['summary'])}</td><td>{escape(media)}</td><td>{statuses}</td></tr>"
            )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Headrace</title>"
        "<style>body{font:16px/1.5 system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.4rem;text-align:left}"
        "</style>"
        f"<h1>{escape(document['info']['title'])} {escape(document['info']['version'])}</h1>"
        f"<p>{escape(document['info']['description'])}</p>"
        "<p>The whole contract, for your client generator: <a href='openapi.json'>openapi.json</a></p>"
        "<table><tr><th>Method<th>Path<th>What it does<th>Takes<th>Answers</tr>"
        f"{''.join(rows)}</table></html>"
    )
