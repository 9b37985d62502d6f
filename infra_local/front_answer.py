"""What API Gateway makes of a function's answer, and of an authorizer's."""

import base64
import binascii
import fnmatch
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra_local.lambda_environment import InvocationResult

_REMAPPED = frozenset(("date", "server", "www-authenticate", "via"))
_DROPPED = frozenset(("connection", "content-length", "keep-alive", "transfer-encoding", "upgrade", "trailer", "te"))
_STATUS_MIN, _STATUS_MAX = 100, 599


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer.

    Attributes:
        status: The status code.
        body: The bytes.
        headers: Names and values, repeated names allowed.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """The authorizer lets the request through.

    Attributes:
        context: What the function finds under ``requestContext.authorizer``; every value a text, as on AWS.
    """

    context: Mapping[str, str] = field(default_factory=dict)


def gateway_answer(status: int, error_type: str, message: str | None, *, key: str = "message") -> HttpAnswer:
    """Makes one of API Gateway's own answers ("gateway responses"), with its default template."""
    body = json.dumps({key: message}, separators=(",", ":")).encode()
    return HttpAnswer(status, body, (("Content-Type", "application/json"), ("x-amzn-ErrorType", error_type)))


MALFORMED = gateway_answer(502, "InternalServerErrorException", "Internal server error")
TIMED_OUT = gateway_answer(504, "InternalServerErrorException", "Endpoint request timed out")
UNAUTHORIZED = gateway_answer(401, "UnauthorizedException", "Unauthorized")
FORBIDDEN = gateway_answer(
    403, "AccessDeniedException", "User is not authorized to access this resource with an explicit deny", key="Message"
)
NOT_ALLOWED = gateway_answer(
    403, "AccessDeniedException", "User is not authorized to access this resource", key="Message"
)
AUTHORIZER_BROKEN = gateway_answer(500, "AuthorizerConfigurationException", None)
INTEGRATION_FAILED = gateway_answer(500, "InternalServerErrorException", "Internal server error")
TOO_LARGE = gateway_answer(413, "RequestTooLargeException", "Request Too Long")
HEADERS_TOO_LARGE = gateway_answer(431, "RequestHeaderFieldsTooLarge", "Request Header Fields Too Large")


def from_function(result: InvocationResult) -> HttpAnswer:
    """Turns a proxy integration's answer into HTTP; anything not of its shape becomes 502, as at API Gateway."""
    if result.function_error is not None:
        return MALFORMED
    try:
        answer = json.loads(result.payload)
    except ValueError:
        return MALFORMED
    if not isinstance(answer, dict):
        return MALFORMED
    try:
        return HttpAnswer(_status(answer), _body(answer), tuple(_headers(answer)))
    except (ValueError, TypeError, binascii.Error):
        return MALFORMED


def from_authorizer(result: InvocationResult, *, method_arn: str) -> Allowed | HttpAnswer:
    """Decides what an authorizer's answer means for this request.

    Args:
        result: What the authorizer gave.
        method_arn: What the policy must allow.

    Returns:
        ``Allowed`` with the context, or the answer that the caller gets instead.
    """
    try:
        document = json.loads(result.payload)
        if result.function_error is not None:
            # The one exception text with a meaning of its own.
            return UNAUTHORIZED if document.get("errorMessage") == "Unauthorized" else AUTHORIZER_BROKEN
        statements = document["policyDocument"]["Statement"]
        context = dict(_context(document.get("context") or {}))
        principal = str(document["principalId"])
        effects = {s["Effect"] for s in _listed(statements) if _applies(s, method_arn)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return AUTHORIZER_BROKEN
    if "Deny" in effects:
        return FORBIDDEN
    if "Allow" not in effects:
        return NOT_ALLOWED
    return Allowed({**context, "principalId": principal, "integrationLatency": "0"})


def _status(answer: Mapping[str, Any]) -> int:
    status = int(answer.get("statusCode", 200))
    if not _STATUS_MIN <= status <= _STATUS_MAX:
        raise ValueError("no HTTP status")
    # API Gateway answers 502 to a proxy answer with fields that it does not know.
    if set(answer) - {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded", "cookies"}:
        raise ValueError("unknown fields")
    return status


def _body(answer: Mapping[str, Any]) -> bytes:
    body = answer.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise TypeError("the body must be a text")
    return base64.b64decode(body, validate=True) if answer.get("isBase64Encoded") else body.encode()


def _headers(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    many = answer.get("multiValueHeaders") or {}
    single = answer.get("headers") or {}
    covered = {name.lower() for name in many}
    pairs = [(name, value) for name, values in many.items() for value in values]
    pairs += [(name, value) for name, value in single.items() if name.lower() not in covered]
    if not any(name.lower() == "content-type" for name, _ in pairs):
        yield "Content-Type", "application/json"
    for name, value in pairs:
        if name.lower() in _DROPPED:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if "\r" in text or "\n" in text or "\0" in text:
            raise ValueError("no header value")
        yield (f"x-amzn-Remapped-{name}" if name.lower() in _REMAPPED else name), text


def _context(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in context.items():
        if isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, str | int | float):
            yield name, str(value)
        else:
            raise TypeError("a context value must be a text, a number or a boolean")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _applies(statement: Mapping[str, Any], arn: str) -> bool:
    actions = [action.lower() for action in _listed(statement["Action"])]
    invokes = any(fnmatch.fnmatchcase("execute-api:invoke", action) for action in actions)
    # fnmatch would read [...] as a set of characters; a policy knows only * and ?.
    patterns = [resource.replace("[", "[[]") for resource in _listed(statement["Resource"])]
    return invokes and any(fnmatch.fnmatchcase(arn, pattern) for pattern in patterns)
