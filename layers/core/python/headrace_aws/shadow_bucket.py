"""Copies of requests in the bucket of jobs, below `shadow/`: encrypted as the bucket does by itself, gone within a day.

Nothing is made again: a copy that is lost is a comparison less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from headrace.errors import HeadraceError, PayloadTooLarge, StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client, error_code

T = TypeVar("T")

CALL_TIMEOUT_S = 5.0
"""Up to 8 MB either way."""
_ABSENT = frozenset({"NoSuchKey", "404", "AccessDenied"})
"""Without ListBucket S3 answers AccessDenied for a key that does not exist."""


class ShadowBucket:
    """See `headrace.rollouts.copies.ShadowObjects`."""

    def __init__(self, bucket: str, *, calls: BoundedCalls) -> None:
        self._bucket = bucket
        self._calls = calls

    def write(self, key: str, body: bytes) -> None:
        """Write an object.

        Raises:
            StoreUnavailable: no answer in time; it may have been written all the same.
        """

        def call() -> None:
            client("s3", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S)).put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/octet-stream"
            )

        self._run(call)

    def read_within(self, key: str, *, bytes_max: int) -> bytes | None:
        """An object's bytes, or None.

        Raises:
            PayloadTooLarge: it has more than `bytes_max`, and was not downloaded.
            StoreUnavailable: no answer in time.
        """

        def call() -> bytes | PayloadTooLarge:
            s3 = client("s3", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S))
            answer = s3.get_object(Bucket=self._bucket, Key=key)
            if answer["ContentLength"] > bytes_max:
                answer["Body"].close()
                return PayloadTooLarge(f"The object has more than {bytes_max} bytes.")
            data: bytes = answer["Body"].read()
            return data

        found = self._run(call)
        if isinstance(found, PayloadTooLarge):
            raise found
        return found

    def delete(self, key: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StoreUnavailable: no answer in time; it may be gone all the same.
        """

        def call() -> None:
            client("s3", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S)).delete_object(Bucket=self._bucket, Key=key)

        self._run(call)

    def _run(self, call: Callable[[], T]) -> T | None:
        """The call's result; None for an object that is not there."""
        try:
            return self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except HeadraceError:
            raise StoreUnavailable("The object store did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            code = error_code(error)
            if code in _ABSENT:
                return None
            raise StoreUnavailable(f"The object store failed: {code}.") from None
