"""Transform jobs in moto: it knows their names but does nothing, and its Step Functions cannot wait for them.

Contract tests: ``tests/contract/test_moto_batches.py``. See ``infra_local.moto_mends`` for how mends are made.
"""

import json
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import requests
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.s3.models import s3_backends
from moto.sagemaker.exceptions import AWSValidationException, MissingModel, ResourceInUseException
from moto.sagemaker.models import SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from infra_local.moto_mends import mend
from infra_local.transform import RequestFailedError, StoppedError, read_job, run_job

MODEL_TIMEOUT_S = 600.0
"""InvocationsTimeoutInSeconds, when nothing else is said."""
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_OVER = frozenset(("Completed", "Failed", "Stopped"))
_MEMBERS = {
    "MaxConcurrentTransforms": "max_concurrent_transforms",
    "ModelClientConfig": "model_client_config",
    "MaxPayloadInMB": "max_payload_in_mb",
    "BatchStrategy": "batch_strategy",
    "TransformInput": "transform_input",
    "TransformOutput": "transform_output",
}

Infer = Callable[[str, str, bytes, str, str], bytes]
"""(endpoint, variant, body, content type, Accept) → the container's answer. Raises RequestFailedError."""


def infer_over_http(url: str) -> Infer:
    """Makes the way to the serving processes: the SageMaker runtime's own, each request to a named variant.

    Args:
        url: The runtime's base URL.
    """

    def infer(endpoint: str, variant: str, body: bytes, content_type: str, accept: str) -> bytes:
        headers = {"Content-Type": content_type, "Accept": accept, "X-Amzn-SageMaker-Target-Variant": variant}
        try:
            answer = requests.post(
                f"{url}/endpoints/{quote(endpoint)}/invocations", data=body, headers=headers, timeout=MODEL_TIMEOUT_S
            )
        except requests.RequestException as error:
            raise RequestFailedError("the container did not answer") from error
        if answer.status_code != requests.codes.ok:
            raise RequestFailedError(f"the container answered {answer.status_code}")
        return answer.content

    return infer


def mend_transform_jobs(infer: Infer) -> None:
    """Puts these mends in place; once per process, before moto serves.

    Args:
        infer: How to reach the serving processes.
    """
    run_transform_jobs(infer)
    wait_for_transform_jobs()


def run_transform_jobs(infer: Infer) -> None:
    """A transform job really runs, over the serving process of its model, and says truthfully how it is.

    moto calls each of them completed at once, and has no StopTransformJob. The instances are those of the endpoint
    that serves the model: on AWS a job has its own.
    """
    original = SageMakerModelBackend.create_transform_job

    def create(self: SageMakerModelBackend, **fields: Any) -> Any:
        name, model = fields["transform_job_name"], fields["model_name"]
        if not _NAME.fullmatch(name):
            raise AWSValidationException(f"Value at 'transformJobName' failed to satisfy constraint: {_NAME.pattern}")
        if name in self.transform_jobs:
            raise ResourceInUseException(f"Job name must be unique within an AWS account and region: {name}")
        if model not in self._models:
            raise MissingModel(model)
        try:
            job = read_job({member: fields[field] for member, field in _MEMBERS.items() if fields[field] is not None})
        except ValueError as error:
            raise AWSValidationException(str(error)) from error
        made: Any = original(self, **fields)
        made.transform_job_status, made.transform_end_time = "InProgress", None

        def work() -> None:
            def ask(body: bytes, content_type: str, accept: str) -> bytes:
                return infer(*_place(self, model), body, content_type, accept)

            try:
                reason = run_job(
                    job,
                    objects=_Buckets(self.account_id),
                    ask=ask,
                    stopped=lambda: made.transform_job_status == "Stopping",
                )
                status = "Failed" if reason else "Completed"
            except StoppedError:
                status, reason = "Stopped", ""
            except Exception as error:  # noqa: BLE001 - whatever it was, the job must come to an end
                status, reason = "Failed", type(error).__name__
            made.failure_reason = reason
            made.transform_end_time = made.last_modified_time = utcnow()
            made.transform_job_status = status

        threading.Thread(target=work, name=f"transform-{name}", daemon=True).start()
        return made

    def stop(self: SageMakerResponse) -> Any:
        job = self.sagemaker_backend.transform_jobs.get(self._get_param("TransformJobName"))
        if job is None:
            raise AWSValidationException("Could not find the transform job.")
        if job.transform_job_status in _OVER:
            raise AWSValidationException(f"The request was rejected because the job is {job.transform_job_status}.")
        job.transform_job_status = "Stopping"
        return ActionResult({})

    mend(SageMakerModelBackend, "create_transform_job", create)
    mend(SageMakerResponse, "stop_transform_job", stop)


def wait_for_transform_jobs() -> None:
    """``sagemaker:createTransformJob.sync`` waits for the job's end, and fails when the job did.

    moto refuses the pattern for SageMaker. What it waits with is what it has for AWS Batch.
    """
    from moto.stepfunctions.parser.api import HistoryEventType  # noqa: PLC0415 - the engine is slow to import
    from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (  # noqa: PLC0415
        FailureEvent,
        FailureEventException,
    )
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (  # noqa: PLC0415
        StatesErrorName,
    )
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (  # noqa: PLC0415
        StatesErrorNameType,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (  # noqa: PLC0415
        state_task_service_unsupported as hooks,
    )
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import (  # noqa: PLC0415
        ResourceCondition,
    )
    from moto.stepfunctions.parser.asl.utils.boto_client import boto_client_for  # noqa: PLC0415

    patterns: Any = hooks._SUPPORTED_INTEGRATION_PATTERNS  # noqa: SLF001 - the hook
    patterns.add(ResourceCondition.Sync)
    service = hooks.StateTaskServiceUnsupported
    original = service._build_sync_resolver  # noqa: SLF001 - the hook

    def failure(self: Any, env: Any, job: dict[str, Any]) -> Exception:
        error = StatesErrorNameType.StatesTaskFailed
        told = {name: job.get(name) for name in ("TransformJobName", "TransformJobStatus", "FailureReason")}
        details: Any = {
            "taskFailedEventDetails": {
                "resource": self._get_sfn_resource(),
                "resourceType": self._get_sfn_resource_type(),
                "error": error.to_name(),
                "cause": json.dumps(told),
            }
        }
        return FailureEventException(
            FailureEvent(
                env=env,
                error_name=StatesErrorName(typ=error),
                event_type=HistoryEventType.TaskFailed,
                event_details=details,
            )
        )

    def build(
        self: Any, env: Any, resource_runtime_part: Any, normalised_parameters: Any, state_credentials: Any
    ) -> Callable[[], Any] | None:
        if self.resource.api_action != "createTransformJob":
            found: Callable[[], Any] | None = original(
                self, env, resource_runtime_part, normalised_parameters, state_credentials
            )
            return found
        env.stack.pop()
        control: Any = boto_client_for(
            service="sagemaker", region=resource_runtime_part.region, state_credentials=state_credentials
        )

        def resolve() -> dict[str, Any] | None:
            job = control.describe_transform_job(TransformJobName=normalised_parameters["TransformJobName"])
            if job["TransformJobStatus"] not in _OVER:
                return None
            if job["TransformJobStatus"] != "Completed":
                raise failure(self, env, job)
            return {name: job[name] for name in ("TransformJobName", "TransformJobArn", "TransformJobStatus")}

        return resolve

    mend(service, "_build_sync_resolver", build)
    mend(service, "_log_unsupported_warning", lambda _self: None)  # it is supported now


class _Buckets:
    """moto's own S3, from within."""

    def __init__(self, account: str) -> None:
        self._backend = s3_backends[account]["aws"]

    def keys(self, bucket: str, prefix: str) -> list[str]:
        return sorted(key for key in self._backend.get_bucket(bucket).keys if key.startswith(prefix))

    def read(self, bucket: str, key: str) -> bytes:
        found: Any = self._backend.get_object(bucket, key)
        body: bytes = found.value
        return body

    def write(self, bucket: str, key: str, body: bytes) -> None:
        self._backend.put_object(bucket, key, body)


def _place(backend: SageMakerModelBackend, model: str) -> tuple[str, str]:
    """Finds an endpoint and its variant that serve a model."""
    for name, endpoint in backend.endpoints.items():
        config = backend.endpoint_configs[endpoint.endpoint_config_name]
        if config.async_inference_config:
            continue
        for variant in config.production_variants:
            if variant["ModelName"] == model:
                return name, variant["VariantName"]
    raise RequestFailedError("no process serves this model here")
