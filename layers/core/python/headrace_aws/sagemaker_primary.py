"""The primary on SageMaker: `InvokeEndpoint` with a target variant or component, and SageMaker's errors as ours.

Source: SageMaker Runtime API, InvokeEndpoint: request syntax and "Errors"; a container's own status arrives as
`ModelError` with `OriginalStatusCode`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from headrace.catalog import Endpoint, Version, component_name
from headrace.errors import (
    AttemptFailed,
    AttemptTimedOut,
    HeadraceError,
    InvalidRequest,
    PayloadTooLarge,
    TargetFaulted,
    TargetSaturated,
    TargetThrottled,
    TargetUnavailable,
    UnsupportedMedia,
)
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.steps import Outcomes, Target
from headrace.oip import JSON_TYPE, read_response, write_request
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.races import race
from headrace_aws.signed_calls import SignedCalls

MODEL_MESSAGE_MAX_CHARS = 500
PATIENCE_OF_OBJECTIVE = 0.9
"""The share of the latency objective within which the endpoint must answer."""
_OK, _UNAVAILABLE = 200, 503
_SATURATED = frozenset({"overloaded", "deadline_exceeded"})
"""Why the serving program refuses work: its queue is full, or the deadline would pass in it."""
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
    """Invokes `<prefix>-<endpoint>`; a variant has its version's name, a component that of `component_name`."""

    def __init__(self, *, prefix: str, calls: BoundedCalls) -> None:
        self._prefix = prefix
        self._calls = calls

    @cached_property
    def _runtime(self) -> SignedCalls:
        return SignedCalls("sagemaker-runtime")

    def warm(self) -> None:
        """Make what the first call would have to make: before its deadline starts to run, not within it."""
        _ = self._runtime

    def invoke(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        tier: int,
        binary_output: bool = False,
    ) -> InferenceResponse:
        """See `headrace.invocation.targets.Primary.invoke`."""
        post = self._post(endpoint, version, request, timeout_s=timeout_s, tier=tier, binary_output=binary_output)
        try:
            return _read(self._calls.run(lambda: post(timeout_s), timeout_s=timeout_s))
        except HeadraceError:
            raise
        except Exception as error:  # noqa: BLE001 - urllib3's errors share no base that is free to import
            raise failure_of_call(error) from None

    def race(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        after_s: float,
        may_start: Callable[[], bool],
        tier: int,
        binary_output: bool = False,
    ) -> Outcomes:
        """See `headrace.invocation.targets.Primary.race`.

        The slower call is abandoned, not ended: its thread lives until its own time-out, and the endpoint drops what it
        has not begun by then.
        """
        post = self._post(endpoint, version, request, timeout_s=timeout_s, tier=tier, binary_output=binary_output)
        return race(
            lambda limit_s: self._calls.start(lambda: _read(post(limit_s))),
            target=Target(endpoint.name, "primary", version.name),
            timeout_s=timeout_s,
            after_s=after_s,
            may_start=may_start,
            failure_of=failure_of_call,
        )

    def _post(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        tier: int,
        binary_output: bool,
    ) -> Callable[[float], tuple[int, dict[str, str], bytes]]:
        content_type, body = write_request(request, binary_output=binary_output)
        # What could only be ready beyond the objective is refused by the endpoint at once: a queue longer than that
        # serves nobody in time. The rest of the objective is for the way there and back.
        patience_ms = min(int(timeout_s * 1000), int(endpoint.slo_latency_p99_ms * PATIENCE_OF_OBJECTIVE))
        path = ("endpoints", f"{self._prefix}-{endpoint.name}", "invocations")
        headers = {
            "content-type": content_type,
            "accept": JSON_TYPE,
            **self._target(endpoint, version),
            "x-amzn-sagemaker-custom-attributes": f"headrace-timeout-ms={patience_ms},headrace-tier={tier}",
        }

        def post(limit_s: float) -> tuple[int, dict[str, str], bytes]:
            return self._runtime.post(path, body, headers=headers, timeout_s=limit_s)

        return post

    def _target(self, endpoint: Endpoint, version: Version) -> dict[str, str]:
        if endpoint.components:
            return {"x-amzn-sagemaker-inference-component": component_name(self._prefix, endpoint.name, version.name)}
        return {"x-amzn-sagemaker-target-variant": version.name}


def _read(answered: tuple[int, dict[str, str], bytes]) -> InferenceResponse:
    status, headers, body = answered
    if status != _OK:
        raise failure_of_answer(headers.get("x-amzn-errortype", ""), body)
    return read_response(headers.get("content-type", ""), body)


def failure_of_call(error: Exception) -> HeadraceError:
    """A call that brought no answer, as an error of the domain."""
    from urllib3 import exceptions  # noqa: PLC0415 - imported already, by the call that raised

    match error:
        case exceptions.NewConnectionError():  # urllib3 counts it among its time-outs
            return TargetUnavailable("The endpoint cannot be reached.")
        case exceptions.TimeoutError():
            return AttemptTimedOut("The endpoint did not answer in time.")
        case exceptions.HTTPError():
            return TargetUnavailable("The endpoint cannot be reached.")
        case _:
            return TargetFaulted(f"The call failed: {type(error).__name__}.")


def failure_of_answer(error_type: str, body: bytes) -> HeadraceError:
    """SageMaker's error as one of the domain.

    Args:
        error_type: the header `x-amzn-errortype`, perhaps with a namespace behind a colon.
        body: the error's document.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    code = (error_type or str(document.get("__type") or document.get("Code", ""))).partition(":")[0].rpartition("#")[2]
    if code != "ModelError":
        return _BY_CODE.get(code, TargetFaulted)(f"SageMaker answered {code}.")
    status = document.get("OriginalStatusCode", 500)
    if refusal := _REFUSALS.get(status):
        message, model_code = _model_error(document.get("OriginalMessage", ""))
        return refusal(message, code=model_code)
    if status == _UNAVAILABLE and _model_error(document.get("OriginalMessage", ""))[1] in _SATURATED:
        return TargetSaturated("The endpoint has more work than it can do in time.")
    failure = {429: TargetThrottled, _UNAVAILABLE: TargetUnavailable, 504: AttemptTimedOut}.get(status, TargetFaulted)
    return failure(f"The model answered {status}.")


def _model_error(text: Any) -> tuple[str, str | None]:
    """What the serving program said. Only its own form is passed on: another server's text may quote the input."""
    try:
        document = json.loads(text)
        message, code = document["error"], document["code"]
    except (ValueError, KeyError, TypeError):
        return "The model refused the input.", "input_refused"
    if not isinstance(message, str) or not isinstance(code, str) or len(message) > MODEL_MESSAGE_MAX_CHARS:
        return "The model refused the input.", "input_refused"
    return f"{message[:1].upper()}{message[1:].rstrip('.')}.", code
