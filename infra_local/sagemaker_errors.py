"""The SageMaker runtime's own refusals: names, statuses and words, as unmodified SDKs parse them.

Shapes: botocore's ``sagemaker-runtime`` service model; words as the service writes them.
"""

import json
from typing import Any

from infra_local.lambda_environment import ACCOUNT, REGION

TIMED_OUT_MESSAGE = (
    "Your invocation timed out while waiting for a response from container {variant}. "
    "Review the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)


class RuntimeRefusalError(Exception):
    """The runtime answers an error in place of the model.

    Attributes:
        status: The HTTP status.
        code: The error's name.
        fields: Further members of the error document.
    """

    def __init__(self, status: int, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields

    def document(self) -> bytes:
        """Returns the error as the JSON that SDKs expect."""
        return json.dumps({"Message": str(self), **self.fields}).encode()


def unknown_operation() -> RuntimeRefusalError:
    """The runtime API has no such operation."""
    return RuntimeRefusalError(404, "UnknownOperationException", "no such operation")


def unknown_endpoint(name: str) -> RuntimeRefusalError:
    """No endpoint of this name."""
    return RuntimeRefusalError(400, "ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")


def unknown_variant(endpoint: str, variant: str) -> RuntimeRefusalError:
    """The endpoint has no such variant."""
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{endpoint}"
    return RuntimeRefusalError(400, "ValidationError", f"Variant {variant} not found for endpoint {arn}")


def no_multi_model(endpoint: str) -> RuntimeRefusalError:
    """TargetModel is for multi-model endpoints, and this is none."""
    return RuntimeRefusalError(400, "ValidationError", f"Endpoint {endpoint} does not support TargetModel header")


def too_large(size_max: int) -> RuntimeRefusalError:
    """The body is over the limit of real-time inference."""
    message = f"1 validation error detected: Value at 'body' failed to satisfy constraint: at most {size_max} bytes"
    return RuntimeRefusalError(413, "ValidationError", message)


def bad_attributes() -> RuntimeRefusalError:
    """CustomAttributes is over its length or holds more than visible ASCII."""
    message = "Value at 'customAttributes' failed to satisfy constraint: at most 1024 visible US-ASCII characters"
    return RuntimeRefusalError(400, "ValidationError", f"1 validation error detected: {message}")


def unavailable(endpoint: str) -> RuntimeRefusalError:
    """No instance of the variant can take the request now."""
    message = f"Unable to connect to any healthy instance of endpoint {endpoint}. Try your call again."
    return RuntimeRefusalError(503, "ServiceUnavailable", message)


def throttled() -> RuntimeRefusalError:
    """The account's invocation rate was exceeded."""
    return RuntimeRefusalError(400, "ThrottlingException", "Rate exceeded")


def model_error(endpoint: str, variant: str, *, status: int, message: str) -> RuntimeRefusalError:
    """The container answered an error, or none (status 0)."""
    side = "client" if 400 <= status < 500 else "server"  # noqa: PLR2004 - HTTP's own line
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    words = f'Received {side} error ({status}) from {variant} with message "{message}". See the log group {group}.'
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"
    return RuntimeRefusalError(
        424, "ModelError", words, OriginalStatusCode=status, OriginalMessage=message, LogStreamArn=arn
    )
