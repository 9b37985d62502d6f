"""What the endpoints run on, as SageMaker tells it: a transform job runs the same model on instances of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.batches.planning.transform import Hosted
from headrace.catalog import component_name
from headrace.errors import StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client, error_code

CALL_TIMEOUT_S = 10.0
_ABSENT = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
"""SageMaker's answers for a name that it does not know."""


class SageMakerModels:
    """See `headrace.batches.planning.transform.Hosting`.

    Endpoints are called `<prefix>-<name>`, variants as versions are, components `<prefix>-<name>-<version>`.

    Args:
        prefix: begins the name of every endpoint.
        calls: what bounds each call in time.
        make_client: gives the client; the function's own, in the function's own account, where it is left out.
    """

    def __init__(self, *, prefix: str, calls: BoundedCalls, make_client: Callable[[], Any] | None = None) -> None:
        self._prefix = prefix
        self._calls = calls
        self._make_client = make_client

    def hosted(self, endpoint: str, version: str) -> Hosted | None:
        """What a version runs on, or None when its endpoint is not there.

        Raises:
            StoreUnavailable: SageMaker did not say.
        """

        def call() -> list[dict[str, Any]]:
            control = self._client()
            now = control.describe_endpoint(EndpointName=f"{self._prefix}-{endpoint}")
            config = control.describe_endpoint_config(EndpointConfigName=now["EndpointConfigName"])
            variants: list[dict[str, Any]] = config["ProductionVariants"]
            if "ModelName" in variants[0]:
                return variants
            # The instances have no model of their own: versions are components on them.
            name = component_name(self._prefix, endpoint, version)
            found = control.describe_inference_component(InferenceComponentName=name)
            return [{**variants[0], "VariantName": version, "ModelName": found["Specification"]["ModelName"]}]

        try:
            variants = self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            if error_code(error) in _ABSENT:
                return None
            raise StoreUnavailable("SageMaker did not say what the endpoint runs on.") from None
        for variant in variants:
            if variant["VariantName"] == version:
                pools = variant.get("InstancePools") or [variant]
                return Hosted(variant["ModelName"], pools[0]["InstanceType"])
        return None

    def _client(self) -> Any:
        if self._make_client is not None:
            return self._make_client()
        return client("sagemaker", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S))
