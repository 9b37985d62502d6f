"""The function that answers callers, invoked with the event of a job's request: one policy for both."""

from __future__ import annotations

import json
from typing import Any

from headrace.errors import (
    AttemptTimedOut,
    HeadraceError,
    InvalidAnswer,
    TargetFaulted,
    TargetThrottled,
    TargetUnavailable,
)
from headrace.jobs.states import SERVE_MAX_S
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.clients import client


class LambdaServer:
    """See `headrace.jobs.runs.Server`: invokes the function `function`, an alias' ARN or a name."""

    def __init__(self, function: str, *, calls: BoundedCalls) -> None:
        self._function = function
        self._calls = calls

    def serve(self, event: dict[str, Any]) -> dict[str, Any]:
        """The proxy answer.

        Raises:
            AttemptFailed: the function is throttled, unreachable, failed, late, or answered something else.
        """
        payload = json.dumps(event).encode()

        def call() -> tuple[bool, bytes]:
            functions = client("lambda", read_timeout_s=SERVE_MAX_S)
            answer = functions.invoke(FunctionName=self._function, Payload=payload)
            return "FunctionError" in answer, answer["Payload"].read()

        try:
            failed, data = self._calls.run(call, timeout_s=SERVE_MAX_S)
        except HeadraceError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            name = type(error).__name__
            if name == "TooManyRequestsException":
                raise TargetThrottled("The function is throttled.") from None
            if "Timeout" in name:
                raise AttemptTimedOut("The function did not answer in time.") from None
            raise TargetUnavailable(f"The function cannot be reached: {name}.") from None
        if failed:
            raise TargetFaulted("The function failed.")
        try:
            answer: Any = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise InvalidAnswer("The function's answer is not an object.")
        return answer
