"""Transform jobs of batches: the one thing that is done to them from outside the state machine is to end them."""

from __future__ import annotations

from headrace.batches.planning.transform import job_name
from headrace.batches.states import Batch
from headrace.errors import HeadraceError, StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client, error_code

CALL_TIMEOUT_S = 5.0
_OVER = frozenset({"ValidationException", "ResourceNotFound"})
"""There is no such job, or it is over: SageMaker refuses to stop what does not run."""


class TransformJobsOfBatches:
    """See `headrace.batches.ordering.offers.TransformJobs`: jobs are called `<prefix>-<execution>`."""

    def __init__(self, prefix: str, *, calls: BoundedCalls) -> None:
        self._prefix = prefix
        self._calls = calls

    def stop(self, batch: Batch) -> None:
        """End the job of the batch's present run, if there is one and it runs.

        Raises:
            StoreUnavailable: nobody knows whether it ends.
        """

        def call() -> None:
            sagemaker = client("sagemaker", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S))
            sagemaker.stop_transform_job(TransformJobName=job_name(batch, self._prefix))

        try:
            self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except HeadraceError:
            raise StoreUnavailable("SageMaker did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            code = error_code(error)
            if code not in _OVER:
                raise StoreUnavailable(f"SageMaker failed: {code}.") from None
