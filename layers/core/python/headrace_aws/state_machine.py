"""The state machine that works a batch off: executions are started by name, and a name starts once.

Step Functions keeps names for 90 days after an execution's end (API reference, StartExecution), longer than anything
asks for the same one.
"""

from __future__ import annotations

import json

from headrace.errors import HeadraceError, StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client, error_code

CALL_TIMEOUT_S = 5.0
_STARTED = "ExecutionAlreadyExists"


class Machine:
    """See `headrace.batches.ordering.offers.Machine`: starts executions of the state machine `arn`."""

    def __init__(self, arn: str, *, calls: BoundedCalls) -> None:
        self._arn = arn
        self._calls = calls

    def start(self, name: str, *, tenant: str, batch_id: str) -> None:
        """Start the execution `name` for a batch, unless it was started before.

        Raises:
            StoreUnavailable: not started, or nobody knows.
        """
        asked = json.dumps({"tenant": tenant, "batch_id": batch_id})

        def call() -> None:
            states = client("stepfunctions", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S))
            states.start_execution(stateMachineArn=self._arn, name=name, input=asked)

        try:
            self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except HeadraceError:
            raise StoreUnavailable("The state machine did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            code = error_code(error)
            if code != _STARTED:
                raise StoreUnavailable(f"The state machine failed: {code}.") from None
