"""What API Gateway itself decides: which paths need no credential, and the words in which it refuses.

The CDK app and the local front are fed from these tables, so that a caller meets the same gateway on both.
"""

from __future__ import annotations

from dataclasses import dataclass

PUBLIC_PATHS: tuple[str, ...] = ("/healthz", "/openapi.json", "/docs")
"""Paths that API Gateway hands to `predict`, whatever the method, without asking the authorizer.

Every method, so that a wrong one gets the function's 405 with `Allow` and not the gateway's "no such path".
"""

IAM_PREFIX = "/aws"
"""Below it the same API takes requests signed with AWS credentials (`AWS_IAM`), and API Gateway checks the signature.

A path of its own, because a method has one way to authorize. What follows the prefix is the path of the API.
"""


@dataclass(frozen=True, slots=True)
class GatewayRefusal:
    """A "gateway response" in the shape of the function's own errors.

    `kind` is API Gateway's name for it; `status` None keeps the gateway's; `retry_s` 0 says nothing about trying again.
    The message is fixed, because `$context.error` may quote the caller's input.
    """

    kind: str
    status: int | None
    code: str
    type: str
    message: str
    retry_s: int = 0


_BAD, _DOWN = "invalid_request_error", "server_error"
_TRY_AGAIN = "Temporarily unavailable: try again."
GATEWAY_REFUSALS: dict[str, GatewayRefusal] = {
    refusal.kind: refusal
    for refusal in (
        GatewayRefusal(
            "UNAUTHORIZED",
            401,
            "unauthenticated",
            "authentication_error",
            "Send a valid API key in x-api-key, or a key or token as Authorization: Bearer.",
        ),
        GatewayRefusal("ACCESS_DENIED", 403, "forbidden", "permission_error", "This caller may not do that."),
        GatewayRefusal(
            "INVALID_SIGNATURE",
            403,
            "invalid_signature",
            "authentication_error",
            "Sign the request again (SigV4, service execute-api) with valid AWS credentials and a right clock.",
        ),
        GatewayRefusal(
            "EXPIRED_TOKEN",
            403,
            "credentials_expired",
            "authentication_error",
            "Get new AWS credentials: the session token has expired.",
        ),
        GatewayRefusal("THROTTLED", 429, "throttled", "rate_limit_error", "Wait and try again.", retry_s=1),
        GatewayRefusal("REQUEST_TOO_LARGE", 413, "payload_too_large", _BAD, "Send a smaller body."),
        GatewayRefusal(
            # API Gateway's one answer to two things: no such path, and no signature where one is required.
            "MISSING_AUTHENTICATION_TOKEN",
            403,
            "route_not_found_or_unsigned",
            "authentication_error",
            f"No such path, or a path below {IAM_PREFIX}/ without an AWS signature: see /openapi.json.",
        ),
        GatewayRefusal("INTEGRATION_TIMEOUT", 504, "timeout", _DOWN, "No answer in time: try again.", retry_s=1),
        GatewayRefusal("INTEGRATION_FAILURE", 503, "unavailable", _DOWN, _TRY_AGAIN, retry_s=1),
        GatewayRefusal("AUTHORIZER_FAILURE", 503, "unavailable", _DOWN, _TRY_AGAIN, retry_s=1),
        GatewayRefusal("DEFAULT_4XX", None, "invalid_request", _BAD, "See /openapi.json for what is taken."),
        GatewayRefusal("DEFAULT_5XX", 503, "unavailable", _DOWN, _TRY_AGAIN, retry_s=1),
    )
}
