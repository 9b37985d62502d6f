"""Inputs that callers uploaded to S3, read only from below their own tenant's prefix."""

from __future__ import annotations

from typing import Any

from headrace.errors import (
    AttemptTimedOut,
    Forbidden,
    HeadraceError,
    InvalidRequest,
    NothingServed,
    PayloadTooLarge,
    UnknownTarget,
)
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client

KEY_MAX_BYTES = 1024
"""S3's own bound on a key."""
RETRY_AFTER_S = 2
"""What fails in S3 is over within seconds; callers who wait less only add load."""


class InputsBucket:
    """Reads `s3://<bucket>/tenants/<tenant>/…`."""

    def __init__(self, bucket: str, *, calls: BoundedCalls) -> None:
        self._bucket = bucket
        self._calls = calls

    def read(self, uri: str, *, tenant: str, bytes_max: int, timeout_s: float) -> bytes:
        """The object's bytes.

        Raises:
            InvalidRequest: not an S3 URI of this bucket.
            UnknownTarget: there is no such object.
            Forbidden: outside the tenant's prefix.
            PayloadTooLarge: the object exceeds `bytes_max`; it is not downloaded.
            NothingServed: S3 did not answer in time.
        """
        key = self._key(uri, tenant)

        def call() -> bytes:
            s3 = client("s3", read_timeout_s=read_timeout_step_s(timeout_s))
            answer = s3.get_object(Bucket=self._bucket, Key=key)
            if answer["ContentLength"] > bytes_max:
                answer["Body"].close()
                raise PayloadTooLarge(f"An image may have at most {bytes_max} bytes.", code="image_too_large")
            data: bytes = answer["Body"].read()
            return data

        try:
            return self._calls.run(call, timeout_s=timeout_s)
        except AttemptTimedOut:
            raise NothingServed("The object could not be read in time.", retry_after_s=RETRY_AFTER_S) from None
        except HeadraceError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            raise _translate(error) from None

    def _key(self, uri: str, tenant: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or bucket != self._bucket or not 0 < len(key.encode()) <= KEY_MAX_BYTES:
            raise InvalidRequest(
                f"image.s3 must be s3://{self._bucket}/tenants/<your tenant>/…", code="invalid_s3_uri", field="image.s3"
            )
        if not key.startswith(f"tenants/{tenant}/") or ".." in key.split("/"):
            raise Forbidden("That object is not below your tenant's prefix.", code="object_forbidden")
        return key


def _translate(error: Exception) -> HeadraceError:
    response: Any = getattr(error, "response", {})
    if response.get("Error", {}).get("Code") in {"NoSuchKey", "404", "AccessDenied"}:
        # Without ListBucket S3 answers AccessDenied for a key that does not exist.
        return UnknownTarget("There is no such object.", code="object_not_found")
    return NothingServed("The object could not be read.", retry_after_s=RETRY_AFTER_S)
