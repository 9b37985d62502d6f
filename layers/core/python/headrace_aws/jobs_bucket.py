"""Requests and answers of jobs in a bucket that callers can neither read nor write: each object is written once.

A bucket of its own, because a stored request says who asked: below a prefix where its tenant may upload, a tenant could
write itself another plan. S3 decides who is first (`If-None-Match: *`, S3 user guide, "Conditional writes").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from headrace.errors import HeadraceError, PayloadTooLarge, StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client

T = TypeVar("T")

CALL_TIMEOUT_S = 5.0
"""Up to 6 MB either way."""
_ABSENT = frozenset({"NoSuchKey", "404", "AccessDenied"})
"""Without ListBucket S3 answers AccessDenied for a key that does not exist."""
_THERE = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
"""409: another write of the same key is under way, and this one was not made."""


class JobsBucket:
    """See `headrace.jobs.offers.JobObjects`."""

    def __init__(self, bucket: str, *, calls: BoundedCalls) -> None:
        self._bucket = bucket
        self._calls = calls

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object; False, and nothing written, when there is one.

        Raises:
            StoreUnavailable: no answer in time; it may have been written all the same.
        """

        def call() -> bool:
            client("s3", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S)).put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
            )
            return True

        return self._run(call, otherwise=_THERE) or False

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None.

        Raises:
            StoreUnavailable: no answer in time.
        """

        def call() -> bytes:
            s3 = client("s3", read_timeout_s=read_timeout_step_s(CALL_TIMEOUT_S))
            data: bytes = s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            return data

        return self._run(call, otherwise=_ABSENT)

    def read_within(self, key: str, *, bytes_max: int) -> bytes | None:
        """An object's bytes, or None: for objects that others write.

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

        found = self._run(call, otherwise=_ABSENT)
        if isinstance(found, PayloadTooLarge):
            raise found
        return found

    def _run(self, call: Callable[[], T], *, otherwise: frozenset[str]) -> T | None:
        """The call's result; None when S3 answers one of the codes in `otherwise`."""
        try:
            return self._calls.run(call, timeout_s=CALL_TIMEOUT_S)
        except HeadraceError:
            raise StoreUnavailable("The object store did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            if code in otherwise:
                return None
            raise StoreUnavailable(f"The object store failed: {code or type(error).__name__}.") from None
