"""The primary on SageMaker: `InvokeEndpoint` with a target variant, and SageMaker's errors as ours.

Source: SageMaker Runtime API, InvokeEndpoint, "Errors"; a container's own status arrives as `ModelError` with
`OriginalStatusCode`.
"""

from __future__ import annotations

import json
from typing import Any

from headrace.catalog import Endpoint, Version
from headrace.errors import (
    AttemptFailed,
    AttemptTimedOut,
    HeadraceError,
    InvalidRequest,
    PayloadTooLarge,
    TargetFaulted,
    TargetThrottled,
    TargetUnavailable,
    UnsupportedMedia,
)
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.oip import JSON_TYPE, read_response, write_request
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client

MODEL_MESSAGE_MAX_CHARS = 500
_REFUSALS: dict[int, type[InvalidRequest]] = {
    400: InvalidRequest,
    413: PayloadTooLarge,
    415: UnsupportedMedia,
    422: InvalidRequest,
}
_BY_CODE: dict[str, type[AttemptFailed]] = {
    "ThrottlingException": TargetThrottled,
    "Throttling": TargetThrottled,
    "ServiceUnavailable": TargetUnavailable,
    "ServiceUnavailableException": TargetUnavailable,
    "ModelNotReadyException": TargetUnavailable,
    "InternalDependencyException": TargetUnavailable,
    "InternalFailure": TargetUnavailable,
    "ValidationError": TargetUnavailable,
    "ValidationException": TargetUnavailable,
    "RequestTimeout": AttemptTimedOut,
}


class SageMakerPrimary:
    """Invokes `<prefix>-<endpoint>`; the variant is the version's name."""

    def __init__(self, *, prefix: str, calls: BoundedCalls) -> None:
        self._prefix = prefix
        self._calls = calls

    def invoke(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        binary_output: bool = False,
    ) -> InferenceResponse:
        """See `headrace.predict.Primary.invoke`."""
        content_type, body = write_request(request, binary_output=binary_output)

        def call() -> tuple[str, bytes]:
            runtime = client("sagemaker-runtime", read_timeout_s=read_timeout_step_s(timeout_s))
            answer = runtime.invoke_endpoint(
                EndpointName=f"{self._prefix}-{endpoint.name}",
                TargetVariant=version.name,
                ContentType=content_type,
                Accept=JSON_TYPE,
                CustomAttributes=f"headrace-timeout-ms={int(timeout_s * 1000)}",
                Body=body,
            )
            return answer["ContentType"], answer["Body"].read()

        try:
            return read_response(*self._calls.run(call, timeout_s=timeout_s))
        except HeadraceError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            raise translate(error) from None


def translate(error: Exception) -> HeadraceError:
    """A failed call as an error of the domain."""
    from botocore import exceptions  # noqa: PLC0415 - imported already, by the client that raised

    match error:
        case exceptions.ClientError():
            return _translate_response(error.response)
        case exceptions.ReadTimeoutError() | exceptions.ConnectTimeoutError():
            return AttemptTimedOut("The endpoint did not answer in time.")
        case exceptions.HTTPClientError() | exceptions.ConnectionError():
            return TargetUnavailable("The endpoint cannot be reached.")
        case _:
            return TargetFaulted(f"The call failed: {type(error).__name__}.")


def _translate_response(response: Any) -> HeadraceError:
    code = response.get("Error", {}).get("Code", "")
    if code != "ModelError":
        return _BY_CODE.get(code, TargetFaulted)(f"SageMaker answered {code}.")
    status = int(response.get("OriginalStatusCode", 500))
    if refusal := _REFUSALS.get(status):
        message, model_code = _model_error(response.get("OriginalMessage", ""))
        return refusal(message, code=model_code)
    failure = {429: TargetThrottled, 503: TargetUnavailable, 504: AttemptTimedOut}.get(status, TargetFaulted)
    return failure(f"The model answered {status}.")


def _model_error(text: str) -> tuple[str, str | None]:
    """What the serving program said. Only its own form is passed on: another server's text may quote the input."""
    try:
        document = json.loads(text)
        message, code = document["error"], document["code"]
    except (ValueError, KeyError, TypeError):
        return "The model refused the input.", "input_refused"
    if not isinstance(message, str) or not isinstance(code, str) or len(message) > MODEL_MESSAGE_MAX_CHARS:
        return "The model refused the input.", "input_refused"
    return f"{message[:1].upper()}{message[1:].rstrip('.')}.", code
