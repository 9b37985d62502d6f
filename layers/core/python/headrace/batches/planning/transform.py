"""Requests for a transform job: each line of its input is one request of the Open Inference Protocol.

    transform/input/<shard>.jsonl    a request each, of several records where the task lets them travel together
    transform/map/<shard>.jsonl      beside each request, whose records it holds, in the order of its items
    transform/errors.jsonl           records that cannot be asked: they never reach the job
    transform/output/…               what SageMaker writes: `<shard>.jsonl.out`, an answer per line, in the same order

One input file per shard: SageMaker shares files out between instances, and the lines of one among its workers.

Source: SageMaker API reference, CreateTransformJob; developer guide, "Batch transform for inference with SageMaker AI".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.batches.layout import Shard, duplicates_key, staged_key, transform_prefix
from headrace.batches.planning.planned import Planned
from headrace.batches.reading.records import Bad, read_records
from headrace.batches.scoring.answering import dump_slips, error_line
from headrace.batches.scoring.asking import Ask, as_text, ask_of, joined
from headrace.batches.states import Batch
from headrace.batches.storage import CHUNK_BYTES, Objects, Sink, Sources, Streams
from headrace.catalog import BatchRules, Endpoint
from headrace.errors import InvalidRequest, StoreUnavailable

REQUEST_BYTES_MAX = 1 << 20
"""About what one request of several records may hold."""
PAYLOAD_MB_MAX = 6
"""SageMaker's bound on one request; one record has at most 4 MiB."""
WORKERS = 4
"""Requests in flight per instance."""
TIMEOUT_S = 600
RETRIES = 3
"""SageMaker's most."""
JOB_NAME_MAX_CHARS = 63
DUPLICATE = "An earlier record has the same custom_id."


@dataclass(frozen=True, slots=True)
class Hosted:
    """What a version runs on: the name of its SageMaker model, and the type of its instances."""

    model: str
    instance_type: str


class Hosting(Protocol):
    """What the endpoints are made of."""

    def hosted(self, endpoint: str, version: str) -> Hosted | None:
        """What a version runs on, or None when its endpoint is not there. Raises StoreUnavailable."""


def input_key(tenant: str, batch_id: str, shard: int) -> str:
    """The requests of one shard."""
    return f"{transform_prefix(tenant, batch_id)}input/{shard:06d}.jsonl"


def map_key(tenant: str, batch_id: str, shard: int) -> str:
    """Whose records they are."""
    return f"{transform_prefix(tenant, batch_id)}map/{shard:06d}.jsonl"


def output_key(tenant: str, batch_id: str, shard: int) -> str:
    """The answers to them, as SageMaker names them."""
    return f"{transform_prefix(tenant, batch_id)}output/{shard:06d}.jsonl.out"


def bad_key(tenant: str, batch_id: str) -> str:
    """Records that cannot be asked, in the order of the input."""
    return f"{transform_prefix(tenant, batch_id)}errors.jsonl"


@dataclass(frozen=True, slots=True)
class Preparation:
    """Writes a transform job's input."""

    sources: Sources
    objects: Objects
    streams: Streams

    def write(self, batch: Batch, endpoint: Endpoint, planned: Planned) -> int:
        """Write everything; how many requests there are. Doing it again writes the same.

        Raises:
            UnknownTarget: the file is gone.
            StoreUnavailable: it could not be read, or nothing could be written.
        """
        tenant, batch_id = batch.tenant, batch.batch_id
        requests = 0
        with _buffered(self.streams, bad_key(tenant, batch_id)) as errors:
            for shard in planned.shards:
                with (
                    _buffered(self.streams, input_key(tenant, batch_id, shard.number)) as asked,
                    _buffered(self.streams, map_key(tenant, batch_id, shard.number)) as whose,
                ):
                    for asks in packed(self._asks(batch, endpoint, planned, shard, errors), endpoint=endpoint):
                        asked.write(as_text(joined(asks)) + b"\n")
                        whose.write(dump_slips(asks))
                        requests += 1
        return requests

    def _asks(
        self, batch: Batch, endpoint: Endpoint, planned: Planned, shard: Shard, errors: Buffered
    ) -> Iterator[Ask]:
        before = self._duplicates(batch, shard)
        chunks = self._bytes(batch, planned, shard)
        for record in read_records(chunks, lines=planned.lines, start=shard.start, line=shard.line):
            asked: Ask | Bad
            if isinstance(record, Bad):
                asked = record
            elif record.line in before:
                asked = Bad(record.line, record.end, record.custom_id, "duplicate_custom_id", DUPLICATE, "custom_id")
            else:
                asked = ask_of(record, endpoint=endpoint, options=batch.options, image=_no_image)
            if isinstance(asked, Ask):
                yield asked
            else:
                errors.write(error_line(asked, batch_id=batch.batch_id))

    def _bytes(self, batch: Batch, planned: Planned, shard: Shard) -> Iterator[bytes]:
        if planned.lines.staged:
            return self.streams.chunks(staged_key(batch.tenant, batch.batch_id), start=shard.start, end=shard.end)
        return self.sources.chunks(batch.source, start=shard.start, end=shard.end)

    def _duplicates(self, batch: Batch, shard: Shard) -> frozenset[int]:
        if not shard.duplicates:
            return frozenset()
        body = self.objects.read(duplicates_key(batch.tenant, batch.batch_id, shard.number))
        if body is None:
            raise StoreUnavailable("The list of a shard's duplicates could not be read.")
        return frozenset(json.loads(body)["lines"])


def packed(asks: Iterable[Ask], *, endpoint: Endpoint) -> Iterator[list[Ask]]:
    """The records that travel together: texts up to the endpoint's items and `REQUEST_BYTES_MAX`, all else alone."""
    own = endpoint.batch.items_per_request_max if endpoint.batch is not None else 0
    items_max = min(own or endpoint.limits.max_items, endpoint.limits.max_items)
    held: list[Ask] = []
    items = size = 0
    for ask in asks:
        full = items + ask.items > items_max or size + ask.size > REQUEST_BYTES_MAX
        if held and (full or ask.texts is None):
            yield held
            held, items, size = [], 0, 0
        if ask.texts is None:
            yield [ask]
            continue
        held.append(ask)
        items += ask.items
        size += ask.size
    if held:
        yield held


def job_name(batch: Batch, name_prefix: str) -> str:
    """What the transform job of the batch's present run is called, whether there is one or not."""
    return f"{name_prefix}-{batch.execution}".replace("_", "-")[:JOB_NAME_MAX_CHARS].rstrip("-")


def job_of(batch: Batch, hosted: Hosted, *, bucket: str, rules: BatchRules | None, name_prefix: str) -> dict[str, Any]:
    """The request for the transform job; it has its execution's name, so that the same run starts it once.

    No key for the volumes of its instances: those of the GPU families are local disks, which are encrypted by hardware
    and for which SageMaker refuses one (API reference, TransformResources).
    """
    prefix = f"s3://{bucket}/{transform_prefix(batch.tenant, batch.batch_id)}"
    rules = rules or BatchRules()
    return {
        "TransformJobName": job_name(batch, name_prefix),
        "ModelName": hosted.model,
        "BatchStrategy": "SingleRecord",
        "MaxConcurrentTransforms": WORKERS,
        "MaxPayloadInMB": PAYLOAD_MB_MAX,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": TIMEOUT_S, "InvocationsMaxRetries": RETRIES},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{prefix}input/"}},
            "ContentType": "application/json",
            "SplitType": "Line",
            "CompressionType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": f"{prefix}output/",
            "Accept": "application/json",
            "AssembleWith": "Line",
        },
        "TransformResources": {
            "InstanceType": rules.transform_instance_type or hosted.instance_type,
            "InstanceCount": rules.transform_instances,
        },
    }


class Buffered:
    """Lines on their way into an object, some at a time."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held: list[bytes] = []
        self._size = 0

    def write(self, line: bytes) -> None:
        """Add a line. Raises StoreUnavailable."""
        self._held.append(line)
        self._size += len(line)
        if self._size >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand on what is held. Raises StoreUnavailable."""
        if self._held:
            self._sink.write(b"".join(self._held))
        self._held, self._size = [], 0


@contextmanager
def _buffered(streams: Streams, key: str) -> Iterator[Buffered]:
    with streams.writer(key) as sink:
        lines = Buffered(sink)
        yield lines
        lines.flush()


def _no_image(_: str) -> bytes:
    raise InvalidRequest("A transform job reads no images.", code="no_images")
