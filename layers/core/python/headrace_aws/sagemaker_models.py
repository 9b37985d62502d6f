"""What the endpoints run on, as SageMaker tells it: a transform job runs the same model on instances of its own."""

from __future__ import annotations

from typing import Any

from headrace.batches.planning.transform import Hosted
from headrace.errors import StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client, error_code

CALL_TIMEOUT_S = 10.0
_ABSENT = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
"""SageMaker's answers for a name that it does not know."""


class SageMakerModels:
    """See `headrace.batches.planning.transform.Hosting`.

    Endpoints are called `<prefix>-<name>`, variants as versions are.
    """

    def __init__(self, *, prefix: str, calls: BoundedCalls) -> None:
        self._prefix = prefix
        self._calls = calls

    def hosted(self, endpoint: str, version: str) -> Hosted | None:
        """What a version runs on, or None when its endpoint is not there.

        Raises:
            StoreUnavailable: SageMaker did not say.
        """

        def call() -> dict[str, Any]:
            control = client("sagemaker", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S))
            now = control.describe_endpoint(EndpointName=f"{self._prefix}-{endpoint}")
            config: dict[str, Any] = control.describe_endpoint_config(EndpointConfigName=now["EndpointConfigName"])
            return config

        try:
            config = self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            if error_code(error) in _ABSENT:
                return None
            raise StoreUnavailable("SageMaker did not say what the endpoint runs on.") from None
        for variant in config["ProductionVariants"]:
            if variant["VariantName"] == version:
                pools = variant.get("InstancePools") or [variant]
                return Hosted(variant["ModelName"], pools[0]["InstanceType"])
        return None
