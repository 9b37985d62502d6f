"""The host and path that the application sees: API Gateway's word, never what a caller sent.

The gateway knows the name under which it was reached and says so in the request's context. The Host header is the
caller's: frameworks build addresses from it, and parse it in ways that a caller can break. Paths below `IAM_PREFIX` are
the same routes for callers who sign with AWS credentials: the gateway has checked that, on a method of its own, and the
prefix has done its work.
"""

from typing import Any

from headrace.authentication.iam import is_signed
from headrace.gateway import IAM_PREFIX

FALLBACK_HOST = "gateway"


def trust_path(event: dict[str, Any]) -> dict[str, Any]:
    """The event with the gateway's own name as its one Host header, and the route's own path."""
    context = event.get("requestContext") or {}
    host = context.get("domainName") or FALLBACK_HOST
    many = _without_host(event.get("multiValueHeaders"))
    path = event.get("path") or "/"
    return {
        **event,
        "path": path.removeprefix(IAM_PREFIX) if is_signed(context) else path,
        "headers": {**_without_host(event.get("headers")), "host": host},
        "multiValueHeaders": {**many, "host": [host]} if many else None,
    }


def _without_host(headers: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (headers or {}).items() if name.lower() != "host"}
