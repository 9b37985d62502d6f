"""`GET /v1/models`: what can be asked, within which limits."""

import json
from dataclasses import asdict
from typing import Any

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services
from headrace.catalog import Endpoint


async def list_models(call: Call, services: Services) -> Response:
    """Every model."""
    call.principal.require_read()
    rows = [_describe(endpoint) for endpoint in services.catalog.endpoints.values()]
    return _json({"object": "list", "data": rows})


async def get_model(call: Call, services: Services) -> Response:
    """One model."""
    call.principal.require_read()
    return _json(_describe(services.catalog.endpoint(call.request.path_params["model"])))


def _describe(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.name,
        "object": "model",
        "created": 0,
        "owned_by": "headrace",
        "task": endpoint.task,
        "description": endpoint.description,
        "labels": list(endpoint.labels),
        "versions": [version.name for version in endpoint.hosted],
        "limits": asdict(endpoint.limits),
    }


def _json(document: dict[str, Any]) -> Response:
    return Response(json.dumps(document, ensure_ascii=False).encode(), media_type="application/json")


ROUTES = (("GET", "/v1/models", list_models), ("GET", "/v1/models/{model}", get_model))
