"""The Host that the application sees: the API's own name, never what a caller sent.

API Gateway knows the name under which it was reached and says so in the request's context. The header is the caller's:
frameworks build addresses from it, and parse it in ways that a caller can break.
"""

from typing import Any

FALLBACK_HOST = "gateway"


def trust_host(event: dict[str, Any]) -> dict[str, Any]:
    """The event with the gateway's own name as its one Host header."""
    host = (event.get("requestContext") or {}).get("domainName") or FALLBACK_HOST
    many = _without_host(event.get("multiValueHeaders"))
    return {
        **event,
        "headers": {**_without_host(event.get("headers")), "host": host},
        "multiValueHeaders": {**many, "host": [host]} if many else None,
    }


def _without_host(headers: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (headers or {}).items() if name.lower() != "host"}
