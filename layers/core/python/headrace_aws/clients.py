"""boto3 clients: made on first use, never retrying, each bound in time.

Retries have one owner, the invocation policy, so botocore makes one attempt. `boto3.resource` is never used: it costs
more to import than everything the functions do with it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boto3.session import Session

CONNECT_TIMEOUT_S = 1.0
CONNECTIONS_MAX = 16


@cache
def _session() -> Session:
    from boto3.session import Session  # noqa: PLC0415 - 200 ms that only the first call needs to pay

    return Session()


@cache
def credentials() -> Any:
    """Who calls; botocore renews what expires."""
    return _session().get_credentials()


@cache
def client(service: str, *, read_timeout_s: float) -> Any:
    """The client of a service with this read timeout; the same one for the same arguments."""
    from botocore.config import Config  # noqa: PLC0415 - as above

    return _session().client(  # type: ignore[call-overload]
        service,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            max_pool_connections=CONNECTIONS_MAX,
            tcp_keepalive=True,
            # Our own code makes every call: holding its arguments against the service's model again, and describing
            # the machine in each request, would cost a tenth of the gateway's time.
            parameter_validation=False,
            user_agent="headrace",
            retries={"total_max_attempts": 1, "mode": "standard"},
        ),
    )


@cache
def presigner() -> Any:
    """A client of S3 that signs addresses and forms for others to use.

    By itself botocore signs these in the old way, which S3 refuses for objects under KMS, and for the global host,
    which answers for a young bucket of another region with a redirect that breaks the signature.
    """
    from botocore.config import Config  # noqa: PLC0415 - as above

    return _session().client(
        "s3",
        endpoint_url=client("s3", read_timeout_s=1.0).meta.endpoint_url,
        config=Config(signature_version="s3v4", parameter_validation=False),
    )


def error_code(error: Exception) -> str:
    """The service's own code in what botocore raised, or the name of the failure; neither quotes what was sent."""
    code: str = (getattr(error, "response", None) or {}).get("Error", {}).get("Code", type(error).__name__)
    return code
