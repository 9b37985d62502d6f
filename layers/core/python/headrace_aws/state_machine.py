"""The state machines that work batches off and look after rollouts: executions start by name, and a name starts once.

Step Functions keeps names for 90 days after an execution's end (API reference, StartExecution), longer than anything
asks for the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

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
        _start(self._arn, name, {"tenant": tenant, "batch_id": batch_id}, calls=self._calls)


class RolloutExecutions:
    """See `headrace.rollouts.controller.Executions`, and `headrace.rollouts.experimenting.ExperimentExecutions`.

    Args:
        arn: of the state machine whose executions are started.
        calls: what bounds each call in time.
        make_client: gives the client; the function's own, in the function's own account, where it is left out.
    """

    def __init__(self, arn: str, *, calls: BoundedCalls, make_client: Callable[[], Any] | None = None) -> None:
        self._arn = arn
        self._calls = calls
        self._make_client = make_client

    def start(self, name: str, *, endpoint: str, rollout_id: str) -> None:
        """Start the execution `name`, unless it was started before.

        Raises:
            StoreUnavailable: not started, or nobody knows.
        """
        _start(
            self._arn,
            name,
            {"asked": {"endpoint": endpoint, "rollout_id": rollout_id}},
            calls=self._calls,
            make_client=self._make_client,
        )

    def start_experiment(self, name: str, *, endpoint: str, experiment_id: str) -> None:
        """The same for an experiment.

        Raises:
            StoreUnavailable: not started, or nobody knows.
        """
        _start(
            self._arn,
            name,
            {"asked": {"endpoint": endpoint, "experiment_id": experiment_id}},
            calls=self._calls,
            make_client=self._make_client,
        )


def _start(
    arn: str,
    name: str,
    asked: Mapping[str, object],
    *,
    calls: BoundedCalls,
    make_client: Callable[[], Any] | None = None,
) -> None:
    def call() -> None:
        made = make_client or (lambda: client("stepfunctions", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S)))
        made().start_execution(stateMachineArn=arn, name=name, input=json.dumps(asked))

    try:
        calls.run(call, timeout_s=CALL_TIMEOUT_S)
    except HeadraceError:
        raise StoreUnavailable("The state machine did not answer in time.") from None
    except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
        code = error_code(error)
        if code != _STARTED:
            raise StoreUnavailable(f"The state machine failed: {code}.") from None
