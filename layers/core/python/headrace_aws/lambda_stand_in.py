"""The stand-in on Lambda: the `fallback` function, invoked only when the endpoint did not answer.

The function receives exactly the bytes that the endpoint would have, in base64: 4 MiB of body become 5.6 MB, within
Lambda's 6 MB.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from headrace.catalog import Endpoint, Rung
from headrace.errors import (
    AttemptTimedOut,
    HeadraceError,
    InvalidAnswer,
    InvalidRequest,
    PayloadTooLarge,
    TargetFaulted,
    TargetThrottled,
    TargetUnavailable,
    UnsupportedMedia,
)
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.oip import read_response, write_request
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client

_REFUSALS: dict[str, type[InvalidRequest]] = {"TooLarge": PayloadTooLarge, "UnsupportedMedia": UnsupportedMedia}
"""The serving program's refusals that are more than a wrong request, by their names in the function's answer."""


class LambdaStandIn:
    """Invokes the function called `function`."""

    def __init__(self, *, function: str, calls: BoundedCalls) -> None:
        self._function = function
        self._calls = calls

    def invoke(
        self, endpoint: Endpoint, rung: Rung, request: InferenceRequest, *, timeout_s: float
    ) -> InferenceResponse:
        """See `headrace.invocation.targets.StandIn.invoke`."""
        content_type, body = write_request(request)
        event = {
            "endpoint": endpoint.name,
            "kind": rung.kind,
            "content_type": content_type,
            "body": b64encode(body).decode(),
        }

        def call() -> tuple[bool, bytes]:
            functions = client("lambda", read_timeout_s=read_timeout_step_s(timeout_s))
            answer = functions.invoke(FunctionName=self._function, Payload=json.dumps(event).encode())
            return "FunctionError" in answer, answer["Payload"].read()

        try:
            failed, payload = self._calls.run(call, timeout_s=timeout_s)
        except HeadraceError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            name = type(error).__name__
            if name == "TooManyRequestsException":
                raise TargetThrottled("The stand-in is throttled.") from None
            if "Timeout" in name:
                raise AttemptTimedOut("The stand-in did not answer in time.") from None
            raise TargetUnavailable(f"The stand-in cannot be reached: {name}.") from None
        if failed:
            raise TargetFaulted("The stand-in failed.")
        return _read(payload)


def _read(payload: bytes) -> InferenceResponse:
    try:
        answer = json.loads(payload)
        if refusal := answer.get("refused"):
            raise _REFUSALS.get(refusal["kind"], InvalidRequest)(refusal["message"], code=refusal["code"])
        return read_response(answer["content_type"], b64decode(answer["body"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidAnswer("The stand-in's answer is malformed.") from None
