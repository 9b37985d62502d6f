"""Calls of S3 that end in time and are made again while they fail for a reason that passes.

A large object is one GET, whose body is read a chunk at a time; when it breaks, the next GET begins at the first byte
that is missing, of the same version (or entity tag).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import sleep
from typing import Any, TypeVar

from headrace.batches.storage import CHUNK_BYTES
from headrace.errors import HeadraceError, StoreUnavailable, UnknownTarget
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client, error_code

T = TypeVar("T")

CALL_TIMEOUT_S = 30.0
"""One part either way, on a bad day."""
ATTEMPTS_MAX = 4
"""In a row without a byte gained; S3's own troubles pass within a second (S3 user guide, "Best practices")."""
PAUSE_FIRST_S = 0.2

_ABSENT = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchBucket", "404", "AccessDenied", "403", "MethodNotAllowed"})
"""Without ListBucket S3 answers AccessDenied for a key that does not exist; 405 is a delete marker."""
THERE = frozenset({"PreconditionFailed", "412"})
_NO_BYTES = frozenset({"InvalidRange", "416"})
_FINAL = _ABSENT | THERE | _NO_BYTES | {"405", "InvalidArgument", "InvalidRequest", "EntityTooLarge", "NoSuchUpload"}


class Refused(Exception):
    """S3 answered, and will not answer otherwise. `code` is its own."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    @property
    def absent(self) -> bool:
        """Whether there is no such object, or none that we may know of."""
        return self.code in _ABSENT


class S3Calls:
    """Calls of S3, each bound in time, made again a few times while they fail for a reason that passes."""

    def __init__(
        self, *, calls: BoundedCalls, pause: Callable[[float], None] = sleep, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        self._calls = calls
        self._pause = pause
        self._timeout_s = timeout_s

    def once(self, call: Callable[[], T]) -> T:
        """The call's result. Raises StoreUnavailable for a time-out, and whatever else S3 answers as it is."""
        try:
            return self._calls.run(call, timeout_s=self._timeout_s)
        except HeadraceError:
            raise StoreUnavailable("The object store did not answer in time.") from None

    def call(self, action: str, **arguments: Any) -> Any:
        """The answer of one action. Raises Refused for a final answer, StoreUnavailable."""

        def run() -> Any:
            return getattr(client("s3", read_timeout_s=read_timeout_step_s(self._timeout_s)), action)(**arguments)

        for attempt in range(ATTEMPTS_MAX):
            try:
                return self.once(run)
            except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
                failure = _translated(error)
            if isinstance(failure, Refused) or attempt == ATTEMPTS_MAX - 1:
                break
            self.wait(attempt)
        raise failure

    def wait(self, attempt: int) -> None:
        """Let a trouble pass."""
        self._pause(PAUSE_FIRST_S * 2.0**attempt)

    def chunks(self, place: dict[str, str], *, start: int, end: int | None) -> Iterator[bytes]:
        """The bytes of an object from `start` up to `end`, over as many GETs as it takes."""
        at, failures = start, 0
        tag: dict[str, str] = {}
        while end is None or at < end:
            try:
                answer = self._get(place | tag, start=at, end=end)
            except Refused as error:
                if error.code in _NO_BYTES:
                    return
                if error.absent:
                    raise UnknownTarget("The object is gone.", code="object_not_found") from None
                raise down(error) from None
            if not tag and "VersionId" not in place:
                tag = {"IfMatch": answer["ETag"]}
            body = answer["Body"]
            until = at + answer["ContentLength"]
            try:
                while at < until:
                    data: bytes = self.once(lambda body=body: body.read(CHUNK_BYTES))  # type: ignore[misc]
                    if not data:
                        break
                    at, failures = at + len(data), 0
                    yield data
            except Exception:  # noqa: BLE001, S110 - whatever broke the body, the rest of it can be asked for
                pass
            finally:
                with suppress(Exception):
                    body.close()
            if at >= until:
                return
            failures += 1
            if failures >= ATTEMPTS_MAX:
                raise StoreUnavailable("The object could not be read to its end.")
            self.wait(failures)

    def _get(self, place: dict[str, str], *, start: int, end: int | None) -> Any:
        arguments = dict(place)
        if start or end is not None:
            arguments["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        return self.call("get_object", **arguments)


def down(error: Refused) -> StoreUnavailable:
    """What S3 should never have answered."""
    return StoreUnavailable(f"The object store refused: {error.code}.")


def _translated(error: Exception) -> Exception:
    if isinstance(error, StoreUnavailable):
        return error
    code = error_code(error)
    return Refused(code) if code in _FINAL else StoreUnavailable(f"The object store failed: {code}.")
