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


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway itself refuses; ``refusals.render`` makes HTTP of it.

    Attributes:
        type: The gateway response's type.
        status: Its default status.
        error_type: What ``x-amzn-ErrorType`` says.
        message: The default message.
        key: The member of the default body that holds the message.
    """

    type: str
    status: int
    error_type: str
    message: str | None
    key: str = "message"


_INTERNAL = "InternalServerErrorException"
_NOT_AUTHORIZED = "User is not authorized to access this resource"
MALFORMED = Refused("DEFAULT_5XX", 502, _INTERNAL, "Internal server error")
TIMED_OUT = Refused("INTEGRATION_TIMEOUT", 504, _INTERNAL, "Endpoint request timed out")
INTEGRATION_FAILED = Refused("INTEGRATION_FAILURE", 500, _INTERNAL, "Internal server error")
UNAUTHORIZED = Refused("UNAUTHORIZED", 401, "UnauthorizedException", "Unauthorized")
DENIED = Refused("ACCESS_DENIED", 403, "AccessDeniedException", f"{_NOT_AUTHORIZED} with an explicit deny", "Message")
NOT_ALLOWED = Refused("ACCESS_DENIED", 403, "AccessDeniedException", _NOT_AUTHORIZED, "Message")
AUTHORIZER_FAILED = Refused("AUTHORIZER_FAILURE", 500, "AuthorizerFailureException", None)
AUTHORIZER_MISCONFIGURED = Refused("AUTHORIZER_CONFIGURATION_ERROR", 500, "AuthorizerConfigurationException", None)
TOO_LARGE = Refused("REQUEST_TOO_LARGE", 413, "RequestTooLargeException", "Request Too Long")
BAD_REQUEST = Refused("DEFAULT_4XX", 400, "BadRequestException", "Bad Request")
HEADERS_TOO_LARGE = Refused("DEFAULT_4XX", 431, "BadRequestException", "Request Header Fields Too Large")
NO_SUCH_PATH = Refused(
    "MISSING_AUTHENTICATION_TOKEN", 403, "MissingAuthenticationTokenException", "Missing Authentication Token"
)


def from_function(result: InvocationResult) -> HttpAnswer | Refused:
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


def from_authorizer(result: InvocationResult, *, method_arn: str) -> Allowed | Refused:
    """Decides what an authorizer's answer means for this request.

    Args:
        result: What the authorizer gave.
        method_arn: What the policy must allow.

    Returns:
        ``Allowed`` with the context, or the refusal that the caller gets instead.
    """
    try:
        document = json.loads(result.payload)
        if result.function_error is not None:
            # The one exception text with a meaning of its own.
            return UNAUTHORIZED if document.get("errorMessage") == "Unauthorized" else AUTHORIZER_FAILED
        statements = document["policyDocument"]["Statement"]
        context = dict(_context(document.get("context") or {}))
        principal = str(document["principalId"])
        effects = {s["Effect"] for s in _listed(statements) if _applies(s, method_arn)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return AUTHORIZER_MISCONFIGURED
    if "Deny" in effects:
        return DENIED
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
