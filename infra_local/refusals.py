"""What the gateway says by itself: API Gateway's defaults, and the platform's own words over them.

API Gateway calls these "gateway responses"; each has a type (docs.aws.amazon.com/apigateway/latest/developerguide/
supported-gateway-response-types.html). The deployed API replaces the defaults, so that a refusal at the gateway looks
like one of the function's own; ``OUR_WORDS`` says the same as the CDK app's table, and a test compares them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra_local.front_answer import HttpAnswer, Refused

_SERVER_ERROR_MIN = 500


@dataclass(frozen=True, slots=True)
class Words:
    """A replaced gateway response.

    Attributes:
        status: The status, or ``None`` to keep the gateway's.
        code: The stable error code.
        type: The error's family.
        message: What to do.
        retry_s: For ``retry-after``; 0 for none.
    """

    status: int | None
    code: str
    type: str
    message: str
    retry_s: int = 0


_BAD, _DOWN = "invalid_request_error", "server_error"
_TRY_AGAIN = "Temporarily unavailable: try again."
OUR_WORDS: dict[str, Words] = {
    "UNAUTHORIZED": Words(
        *(401, "unauthenticated", "authentication_error"),
        "Send a valid API key in x-api-key, or as Authorization: Bearer.",
    ),
    "ACCESS_DENIED": Words(403, "forbidden", "permission_error", "This key may not do that."),
    "THROTTLED": Words(429, "throttled", "rate_limit_error", "Wait and try again.", retry_s=1),
    "REQUEST_TOO_LARGE": Words(413, "payload_too_large", _BAD, "Send a smaller body."),
    "MISSING_AUTHENTICATION_TOKEN": Words(404, "not_found", "not_found_error", "No such path: see /openapi.json."),
    "INTEGRATION_TIMEOUT": Words(504, "timeout", _DOWN, "No answer in time: try again.", retry_s=1),
    "INTEGRATION_FAILURE": Words(503, "unavailable", _DOWN, _TRY_AGAIN, retry_s=1),
    "AUTHORIZER_FAILURE": Words(503, "unavailable", _DOWN, _TRY_AGAIN, retry_s=1),
    "DEFAULT_4XX": Words(None, "invalid_request", _BAD, "See /openapi.json for what is taken."),
    "DEFAULT_5XX": Words(None, "unavailable", _DOWN, _TRY_AGAIN),
}


def render(refused: Refused, *, words: Mapping[str, Words], request_id: str) -> HttpAnswer:
    """Turns a refusal into HTTP: the words for its type, else those for its class, else the gateway's default.

    Args:
        refused: What the gateway refuses with.
        words: The replaced gateway responses, by type.
        request_id: The gateway's id of the request.
    """
    whole_class = "DEFAULT_5XX" if refused.status >= _SERVER_ERROR_MIN else "DEFAULT_4XX"
    ours = words.get(refused.type) or words.get(whole_class)
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", "application/json"),
        ("x-amzn-ErrorType", refused.error_type),
    )
    if ours is None:
        body = json.dumps({refused.key: refused.message}, separators=(",", ":"))
        return HttpAnswer(refused.status, body.encode(), headers)
    error = {"message": ours.message, "type": ours.type, "param": None, "code": ours.code, "request_id": request_id}
    headers = (*headers, ("x-request-id", request_id))
    if ours.retry_s:
        headers = (*headers, ("retry-after", str(ours.retry_s)))
    return HttpAnswer(ours.status or refused.status, json.dumps({"error": error}).encode(), headers)
