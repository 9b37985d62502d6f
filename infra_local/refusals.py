"""What the gateway says by itself: the platform's words (`headrace.gateway`), else API Gateway's defaults.

API Gateway calls these "gateway responses"; each has a type (docs.aws.amazon.com/apigateway/latest/developerguide/
supported-gateway-response-types.html).
"""

import json
from collections.abc import Mapping

from headrace.gateway import GatewayRefusal
from infra_local.front_answer import HttpAnswer, Refused

_SERVER_ERROR_MIN = 500


def render(refused: Refused, *, words: Mapping[str, GatewayRefusal], request_id: str) -> HttpAnswer:
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
