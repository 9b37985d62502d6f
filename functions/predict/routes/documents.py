"""What anyone may read without a key: that the gateway lives, its OpenAPI document, and a page of it."""

import json

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services


async def healthz(_call: Call, _services: Services) -> Response:
    """The function runs. It says nothing of endpoints: a probe must not cost a GPU call."""
    return Response(b'{"status":"ok"}', media_type="application/json")


async def openapi(call: Call, _services: Services) -> Response:
    """The OpenAPI document."""
    return Response(json.dumps(call.request.app.openapi()).encode(), media_type="application/json")


async def docs(call: Call, _services: Services) -> Response:
    """The document as a page that loads nothing from anywhere."""
    from functions.predict.openapi import page  # noqa: PLC0415 - a cold start does not pay for documentation

    html = page(call.request.app.openapi())
    return Response(
        html.encode(),
        media_type="text/html; charset=utf-8",
        headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


ROUTES = (("GET", "/healthz", healthz), ("GET", "/openapi.json", openapi), ("GET", "/docs", docs))
