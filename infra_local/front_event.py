"""The REST proxy event of one HTTP request, as API Gateway would make it.

Shape: docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html (format 1.0); which
headers are dropped: .../api-gateway-known-issues.html. Every body counts as binary (``binaryMediaTypes: */*``) and so
arrives in base64.
"""

import base64
import re
import secrets
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from infra_local.lambda_environment import ACCOUNT, REGION

API_ID = "headracelocal"
GREEDY = "{proxy+}"
"""The path parameter that takes all that is left of a path."""

_DROPPED = frozenset(
    (
        *("connection", "content-length", "expect", "keep-alive", "proxy-authenticate", "proxy-connection", "te"),
        *("trailer", "trailers", "transfer-encoding", "upgrade"),
    )
)
_TRACE = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}(;[!-~]{1,256})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """An HTTP request as it came in.

    Attributes:
        method: In capitals.
        path: Still percent-encoded, without the query.
        query: Still encoded.
        headers: In the order and the case sent.
        body: The bytes.
        source_ip: The caller's address.
        port: The port that it came in on.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    source_ip: str
    port: int

    def header(self, name: str) -> str:
        """Returns the first value of a header named in lower case, or an empty text."""
        return next((value for key, value in self.headers if key.lower() == name), "")


def proxy_event(
    request: HttpRequest, *, stage: str, resource: str, request_id: str | None = None, now_s: float | None = None
) -> dict[str, Any]:
    """Makes the event that the function gets; what is known of the caller is for the front to add.

    Args:
        request: The HTTP request.
        stage: The stage's name.
        resource: The resource that the path falls to: the path itself, or one that ends with ``{proxy+}``.
        request_id: API Gateway's id for the request; made when missing.
        now_s: Seconds since the epoch; the clock's when missing.
    """
    now_s = time.time() if now_s is None else now_s
    headers = _headers(request, now_s=now_s)
    query = _multi(parse_qsl(request.query, keep_blank_values=True))
    base = resource.removesuffix(GREEDY)
    return {
        "resource": resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None if base == resource else {"proxy": unquote(request.path.removeprefix(base))},
        "stageVariables": None,
        "requestContext": _context(
            request, stage=stage, resource=resource, request_id=request_id or str(uuid.uuid4()), now_s=now_s
        ),
        "body": base64.b64encode(request.body).decode() if request.body else None,
        "isBase64Encoded": bool(request.body),
    }


def authorizer_event(event: dict[str, Any]) -> dict[str, Any]:
    """Makes the event of a REQUEST authorizer from the proxy event: the same, less the body."""
    context = event["requestContext"]
    arn = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API_ID}/{context['stage']}/{event['httpMethod']}{event['path']}"
    kept = {name: value for name, value in event.items() if name not in ("body", "isBase64Encoded")}
    return {"type": "REQUEST", "methodArn": arn, **kept}


def _headers(request: HttpRequest, *, now_s: float) -> dict[str, list[str]]:
    kept = [
        (name, value)
        for name, value in request.headers
        if name.lower() not in _DROPPED
        and not name.lower().startswith(("x-amzn-", "x-forwarded-"))
        and not (name.lower() == "authorization" and value.startswith("AWS4-"))  # a signature is for the gateway alone
    ]
    sent_trace = request.header("x-amzn-trace-id")
    trace = sent_trace if _TRACE.fullmatch(sent_trace) else f"Root=1-{int(now_s):08x}-{secrets.token_hex(12)}"
    forwarded = request.header("x-forwarded-for")
    return _multi(
        (
            *kept,
            ("X-Amzn-Trace-Id", trace),
            ("X-Forwarded-For", f"{forwarded}, {request.source_ip}" if forwarded else request.source_ip),
            ("X-Forwarded-Port", str(request.port)),
            ("X-Forwarded-Proto", "http"),
        )
    )


def _context(request: HttpRequest, *, stage: str, resource: str, request_id: str, now_s: float) -> dict[str, Any]:
    domain = request.header("host").partition(":")[0]
    identity: dict[str, str | None] = dict.fromkeys(
        (
            *("accessKey", "accountId", "caller", "cognitoAuthenticationProvider", "cognitoAuthenticationType"),
            *("cognitoIdentityId", "cognitoIdentityPoolId", "principalOrgId", "user", "userArn"),
        )
    )
    identity |= {"sourceIp": request.source_ip, "userAgent": request.header("user-agent") or None}
    return {
        "accountId": ACCOUNT,
        "apiId": API_ID,
        "deploymentId": "local",
        "domainName": domain,
        "domainPrefix": domain.partition(".")[0],
        "extendedRequestId": secrets.token_urlsafe(11) + "=",
        "httpMethod": request.method,
        "identity": identity,
        "path": request.path,
        "protocol": "HTTP/1.1",
        "requestId": request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now_s)),
        "requestTimeEpoch": int(now_s * 1000),
        "resourceId": "local",
        "resourcePath": resource,
        "stage": stage,
    }


def _multi(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Collects the values of each name, in the order given."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values
