"""Transform jobs over the serving processes: what SageMaker's instances do with a prefix of S3, on this machine.

Every object below the input prefix becomes one ``<name>.out`` below the output path, its lines one request each
(SageMaker developer guide, "Batch transform"). A file with a request that fails for good gets no output and the job
fails, but the other files are still done.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

REQUESTS_AT_ONCE_MAX = 100
PAYLOAD_DEFAULT_MB, PAYLOAD_MAX_MB = 6, 100
RETRIES_DEFAULT = 3
"""Of a request that failed (API reference, ModelClientConfig); the file fails when they are used up."""

Status = Literal["InProgress", "Completed", "Failed", "Stopping", "Stopped"]


class RequestFailedError(Exception):
    """The container did not answer with what was asked for; the message says why, and quotes nothing of the input."""


class StoppedError(Exception):
    """The job was stopped."""


class Prefixes(Protocol):
    """S3, as far as a job needs it."""

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Returns the keys below a prefix, in their order."""

    def read(self, bucket: str, key: str) -> bytes:
        """Returns an object's bytes."""

    def write(self, bucket: str, key: str, body: bytes) -> None:
        """Writes an object."""


Ask = Callable[[bytes, str, str], bytes]
"""(body, content type, Accept) → the container's answer. Raises RequestFailedError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformJob:
    """A job as CreateTransformJob describes it.

    Attributes:
        source: Bucket and prefix of the input.
        target: Bucket and prefix of the output.
        by_line: Whether each line is a request of its own (``SplitType``), rather than the whole object.
        join_lines: Whether each answer ends with a line feed (``AssembleWith``).
        content_type: Of requests.
        accept: Of answers.
        at_once: Requests in flight.
        payload_max_bytes: The largest request.
        retries_max: Of one request.
    """

    source: tuple[str, str]
    target: tuple[str, str]
    by_line: bool = False
    join_lines: bool = False
    content_type: str = "application/json"
    accept: str = "application/json"
    at_once: int = 1
    payload_max_bytes: int = PAYLOAD_DEFAULT_MB << 20
    retries_max: int = RETRIES_DEFAULT


def read_job(fields: dict[str, Any]) -> TransformJob:
    """Reads the members of CreateTransformJob.

    Raises:
        ValueError: If they are such as SageMaker would refuse, or this runner does not know; the message says which.
    """
    place, out = fields["TransformInput"], fields["TransformOutput"]
    at_once = fields.get("MaxConcurrentTransforms") or 1
    payload_mb = PAYLOAD_DEFAULT_MB if fields.get("MaxPayloadInMB") is None else fields["MaxPayloadInMB"]
    if at_once > REQUESTS_AT_ONCE_MAX or at_once * payload_mb > PAYLOAD_MAX_MB:
        raise ValueError("MaxConcurrentTransforms times MaxPayloadInMB cannot exceed 100.")
    if place["DataSource"]["S3DataSource"]["S3DataType"] != "S3Prefix":
        raise ValueError("Only S3Prefix is known here.")
    if place.get("CompressionType", "None") != "None" or fields.get("BatchStrategy", "SingleRecord") != "SingleRecord":
        raise ValueError("Only uncompressed input, a record per request, is known here.")
    if place.get("SplitType", "None") not in {"None", "Line"} or out.get("AssembleWith", "None") not in {
        "None",
        "Line",
    }:
        raise ValueError("Only lines are known here.")
    client = fields.get("ModelClientConfig") or {}
    return TransformJob(
        source=_split(place["DataSource"]["S3DataSource"]["S3Uri"]),
        target=_split(out["S3OutputPath"]),
        by_line=place.get("SplitType") == "Line",
        join_lines=out.get("AssembleWith") == "Line",
        content_type=place.get("ContentType") or "application/octet-stream",
        accept=out.get("Accept") or "*/*",
        at_once=at_once,
        payload_max_bytes=payload_mb << 20,
        retries_max=client.get("InvocationsMaxRetries", RETRIES_DEFAULT),
    )


def run_job(job: TransformJob, *, objects: Prefixes, ask: Ask, stopped: Callable[[], bool]) -> str:
    """Runs a job to its end.

    Args:
        job: What to do.
        objects: S3.
        ask: One request to the container.
        stopped: Whether somebody stopped the job; asked before every request.

    Returns:
        Why the job failed, or an empty text.

    Raises:
        StoppedError: If it was stopped; files that were done keep their output.
    """
    bucket, prefix = job.source
    out_bucket, out_prefix = job.target
    folder = prefix.rpartition("/")[0]
    names = objects.keys(bucket, prefix)
    if not names:
        return "No S3 objects found under the input prefix."
    failure = ""
    with ThreadPoolExecutor(max_workers=job.at_once) as pool:

        def send(body: bytes) -> bytes:
            if stopped():
                raise StoppedError
            return _ask_again(job, ask, body)

        for name in names:
            requests = _requests(objects.read(bucket, name), by_line=job.by_line)
            try:
                body = _assemble(pool.map(send, requests), join_lines=job.join_lines)
            except RequestFailedError as error:
                failure = f"{name.rpartition('/')[2]}: {error}"
                continue
            relative = name.removeprefix(folder).lstrip("/")
            objects.write(out_bucket, f"{out_prefix.rstrip('/')}/{relative}.out".lstrip("/"), body)
    return failure


def _ask_again(job: TransformJob, ask: Ask, body: bytes) -> bytes:
    if len(body) > job.payload_max_bytes:
        raise RequestFailedError("a record is larger than MaxPayloadInMB")
    for left in range(job.retries_max, -1, -1):
        try:
            return ask(body, job.content_type, job.accept)
        except RequestFailedError:
            if not left:
                raise
    raise AssertionError


def _requests(body: bytes, *, by_line: bool) -> Iterator[bytes]:
    if not by_line:
        yield body
        return
    yield from (line for line in (raw.rstrip(b"\r\n") for raw in io.BytesIO(body)) if line)


def _assemble(answers: Iterable[bytes], *, join_lines: bool) -> bytes:
    end = b"\n" if join_lines else b""
    return b"".join(answer + end for answer in answers)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
