"""Files and parts of batches in S3: read in pieces that go on where a broken answer ended, written whole or not at all.

A write that is not known to have happened is made again: keys are deterministic, and `If-None-Match: *` (S3 user guide,
"Conditional writes") decides who was first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import sleep
from typing import Any

from headrace.batches.states import Source
from headrace.errors import HeadraceError, StoreUnavailable, UnknownTarget
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.s3_calls import THERE, Refused, S3Calls, down

PART_BYTES = 8 << 20
"""Of a multipart upload: 10,000 of them are 80 GB, more than any result."""
KEYS_PER_PAGE = 1000

_TYPES = {"json": "application/json", "jsonl": "application/jsonl"}


class SourceObjects:
    """See `headrace.batches.storage.Sources`: objects of any bucket, at the version that the source names."""

    def __init__(self, *, calls: BoundedCalls, pause: Callable[[float], None] = sleep) -> None:
        self._s3 = S3Calls(calls=calls, pause=pause)

    def chunks(self, source: Source, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end`.

        Raises:
            UnknownTarget: the object, or this version of it, is gone.
            StoreUnavailable: it could not be read to the end.
        """
        place = {"Bucket": source.bucket, "Key": source.key}
        if source.version:
            place["VersionId"] = source.version
        yield from self._s3.chunks(place, start=start, end=end)


class BatchesBucket:
    """See `headrace.batches.storage`: `Objects` and `Streams` at once."""

    def __init__(self, bucket: str, *, calls: BoundedCalls, pause: Callable[[float], None] = sleep) -> None:
        self._bucket = bucket
        self._s3 = S3Calls(calls=calls, pause=pause)

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None.

        Raises:
            StoreUnavailable: it could not be read.
        """
        try:
            return b"".join(self.chunks(key))
        except UnknownTarget:
            return None

    def write(self, key: str, body: bytes) -> None:
        """Write an object, in the place of one that is there.

        Raises:
            StoreUnavailable: not written, or nobody knows.
        """
        try:
            self._put(key, body)
        except Refused as error:
            raise down(error) from None

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object; False, and nothing written now, when there is one.

        Raises:
            StoreUnavailable: not written, or nobody knows.
        """
        try:
            self._put(key, body, IfNoneMatch="*")
        except Refused as error:
            if error.code in THERE:
                return False
            raise down(error) from None
        return True

    def chunks(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """An object's bytes from `start` up to `end`.

        Raises:
            UnknownTarget: there is none.
            StoreUnavailable: it could not be read to the end, or was replaced meanwhile.
        """
        yield from self._s3.chunks({"Bucket": self._bucket, "Key": key}, start=start, end=end)

    @contextmanager
    def writer(self, key: str) -> Iterator[_Parts]:
        """An object that exists, whole, once the block is left without an error.

        Raises:
            StoreUnavailable: it could not be written.
        """
        parts = _Parts(self._s3, {"Bucket": self._bucket, "Key": key})
        try:
            yield parts
            parts.complete()
        except BaseException:
            parts.abort()
            raise

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Key and size in bytes of every object below `prefix`, in the order of the keys.

        Raises:
            StoreUnavailable: they could not all be listed.
        """
        arguments: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": KEYS_PER_PAGE}
        while True:
            try:
                page = self._s3.call("list_objects_v2", **arguments)
            except Refused as error:
                raise down(error) from None
            yield from ((row["Key"], row["Size"]) for row in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _put(self, key: str, body: bytes, **condition: str) -> None:
        self._s3.call("put_object", Bucket=self._bucket, Key=key, Body=body, ContentType=_type_of(key), **condition)


class _Parts:
    """See `headrace.batches.storage.Sink`: a multipart upload, or one PUT when one part holds it all."""

    def __init__(self, s3: S3Calls, place: dict[str, str]) -> None:
        self._s3 = s3
        self._place = place
        self._buffer = bytearray()
        self._upload = ""
        self._done: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        """Add to it."""
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def complete(self) -> None:
        """Make it exist."""
        kind = _type_of(self._place["Key"])
        if not self._upload:
            self._call("put_object", Body=bytes(self._buffer), ContentType=kind)
            return
        if self._buffer:
            self._send(bytes(self._buffer))
        try:
            self._call("complete_multipart_upload", UploadId=self._upload, MultipartUpload={"Parts": self._done})
        except _Gone:
            # An earlier attempt was carried out, though its answer was lost: then there is an object of this size.
            self._check_there()

    def abort(self) -> None:
        """Leave nothing behind; a lifecycle rule ends what this cannot."""
        if self._upload:
            with suppress(HeadraceError):
                self._call("abort_multipart_upload", UploadId=self._upload)

    def _send(self, data: bytes) -> None:
        if not self._upload:
            answer = self._call("create_multipart_upload", ContentType=_type_of(self._place["Key"]))
            self._upload = answer["UploadId"]
        number = len(self._done) + 1
        tag = self._call("upload_part", UploadId=self._upload, PartNumber=number, Body=data)["ETag"]
        self._done.append({"PartNumber": number, "ETag": tag})

    def _check_there(self) -> None:
        tag: str = self._call("head_object")["ETag"]
        if not tag.strip('"').endswith(f"-{len(self._done)}"):
            raise StoreUnavailable("The object store lost an upload.")

    def _call(self, action: str, **arguments: Any) -> Any:
        try:
            return self._s3.call(action, **self._place, **arguments)
        except Refused as error:
            raise _Gone(error.code) if error.code == "NoSuchUpload" else down(error) from None


class _Gone(StoreUnavailable):
    """There is no such upload (any more)."""


def _type_of(key: str) -> str:
    return _TYPES.get(key.rpartition(".")[2], "application/octet-stream")
