"""UpdateEndpoint in moto: an endpoint moves to another configuration once its processes are well, or not at all.

moto answers 500. On AWS an endpoint that is updated is ``Updating``, serves as before, and tells of what is to come in
``PendingDeploymentSummary``; then it is ``InService`` with the new configuration, or with the old one and a
``FailureReason`` (API reference, DescribeEndpoint). Who runs the processes says which, at an address beside moto's own.
"""

import json
from collections.abc import Iterable
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import FakeEndpoint, SageMakerModelBackend, sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse

from infra_local.control_plane import CONCLUDE_PATH
from infra_local.lambda_environment import ACCOUNT, REGION

UPDATING, IN_SERVICE = "Updating", "InService"


def mend_updates(*, held: bool) -> None:
    """Puts UpdateEndpoint in place; once per process, before moto serves.

    Args:
        held: Whether an update waits for ``CONCLUDE_PATH``; otherwise it is done at once.
    """

    def update_endpoint(self: SageMakerResponse) -> Any:
        name, config_name = self._get_param("EndpointName"), self._get_param("EndpointConfigName")
        endpoint = _find(self.sagemaker_backend, name)
        if config_name not in self.sagemaker_backend.endpoint_configs:
            raise AWSValidationException(f'Could not find endpoint configuration "{config_name}".')
        if endpoint.endpoint_status == UPDATING:
            raise AWSValidationException(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        retain = bool(self._get_param("RetainAllVariantProperties"))
        variants = _variants(self.sagemaker_backend, endpoint, config_name, retain=retain)
        endpoint.pending_deployment_summary = {
            "EndpointConfigName": config_name,
            "ProductionVariants": variants,
            "StartTime": utcnow(),
        }
        endpoint.failure_reason = None
        endpoint.endpoint_status = UPDATING
        if not held:
            _conclude(endpoint, failure="")
        return ActionResult({"EndpointArn": endpoint.arn})

    setattr(SageMakerResponse, "update_endpoint", update_endpoint)  # noqa: B010 - types do not follow: moto has none


class Conclusions:
    """Answers ``CONCLUDE_PATH``, and passes all else on to moto.

    Args:
        application: moto, as WSGI (PEP 3333).
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers one request; an endpoint that is unknown or not being updated is left alone."""
        if environ["PATH_INFO"] != CONCLUDE_PATH:
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        endpoint = sagemaker_backends[ACCOUNT][REGION].endpoints.get(asked["EndpointName"])
        if endpoint is not None and endpoint.endpoint_status == UPDATING:
            _conclude(endpoint, failure=asked["FailureReason"])
        start_response("204 No Content", [])
        return []


def _find(backend: SageMakerModelBackend, name: str) -> Any:
    if name not in backend.endpoints:
        raise AWSValidationException(f'Could not find endpoint "{name}".')
    return backend.endpoints[name]


def _variants(
    backend: SageMakerModelBackend, endpoint: FakeEndpoint, config_name: str, *, retain: bool
) -> list[dict[str, Any]]:
    """The variants to come; weights and counts of those that stay are retained on request, as on AWS."""
    config = backend.describe_endpoint_config(config_name)
    before = {v["VariantName"]: v for v in endpoint.production_variants}
    after = endpoint._process_production_variants(config["ProductionVariants"])  # noqa: SLF001 - moto's own way
    return [{**v, **before.get(v["VariantName"], {})} for v in after] if retain else after


def _conclude(endpoint: Any, *, failure: str) -> None:
    pending = endpoint.pending_deployment_summary
    endpoint.pending_deployment_summary = None
    endpoint.endpoint_status = IN_SERVICE
    endpoint.failure_reason = failure or None
    endpoint.last_modified_time = utcnow()
    if not failure:
        endpoint.production_variants = pending["ProductionVariants"]
        endpoint.endpoint_config_name = pending["EndpointConfigName"]
