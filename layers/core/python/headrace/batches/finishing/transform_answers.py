"""What a transform job answered, read back beside the list of whose requests they were.

Answers come as lines in the order of the requests, one file per shard. An answer that is none, or is missing, is an
error of its records; a file that is missing means that the job did not do its work, and the map's parts count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Protocol

from headrace import oip
from headrace.batches.finishing.merging import Merged, Tally, lines_in
from headrace.batches.layout import Shard, transform_prefix
from headrace.batches.planning.planned import Planned
from headrace.batches.planning.transform import bad_key, map_key, output_key
from headrace.batches.reading.records import Bad
from headrace.batches.scoring.answering import Asked, error_line, load_slips, reader, result_lines
from headrace.batches.scoring.asking import PROTOCOL_PREFIX
from headrace.batches.states import Batch
from headrace.batches.storage import Sink
from headrace.catalog import Catalog, Endpoint
from headrace.errors import InvalidAnswer, StoreUnavailable
from headrace.inference import InferenceRequest
from headrace.invocation.attempts import checked


class AnswerStore(Protocol):
    """Where requests and answers lie."""

    def chunks(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """An object's bytes."""

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys and sizes below a prefix."""


class TransformAnswers:
    """The answers to one batch's requests."""

    def __init__(self, store: AnswerStore, catalog: Catalog, batch: Batch, planned: Planned) -> None:
        self._store = store
        self._catalog = catalog
        self._batch = batch
        self._planned = planned

    def whole(self) -> bool:
        """Whether the job was asked for and every one of its files is there. Raises StoreUnavailable."""
        if self._planned.method != "transform":
            return False
        tenant, batch_id = self._batch.tenant, self._batch.batch_id
        there = dict(self._store.keys(transform_prefix(tenant, batch_id)))
        asked = [shard for shard in self._planned.shards if there.get(map_key(tenant, batch_id, shard.number))]
        return bad_key(tenant, batch_id) in there and all(
            output_key(tenant, batch_id, shard.number) in there for shard in asked
        )

    def merge(self, *, results: Sink, errors: Sink) -> Merged:
        """Write a line for every record.

        Raises:
            StoreUnavailable: an object could not be read.
            UnknownTarget: the model is gone.
        """
        endpoint = self._catalog.endpoint(self._batch.options.endpoint)
        good, bad, merged = Tally(results), Tally(errors), Merged()
        for chunk in self._store.chunks(bad_key(self._batch.tenant, self._batch.batch_id)):
            bad.write(chunk)
        for shard in self._planned.shards:
            self._shard(shard, endpoint, good, bad)
        good.flush()
        bad.flush()
        merged.results, merged.results_bytes = good.lines, good.size
        merged.errors, merged.errors_bytes = bad.lines, bad.size
        return merged

    def _shard(self, shard: Shard, endpoint: Endpoint, good: Tally, bad: Tally) -> None:
        tenant, batch_id = self._batch.tenant, self._batch.batch_id
        whose = lines_in(self._store.chunks(map_key(tenant, batch_id, shard.number)))
        first = next(whose, None)
        if first is None:
            return  # no record of it could be asked
        answers = lines_in(self._store.chunks(output_key(tenant, batch_id, shard.number)))
        for row, answer in zip_longest(chain((first,), whose), answers):
            if row is None:
                raise StoreUnavailable("A transform job answered more than it was asked.")
            slips = load_slips(row)
            try:
                lines = self._lines(slips, answer or b"", endpoint)
            except InvalidAnswer:
                for slip in slips:
                    found = Bad(slip.line, 0, slip.custom_id, "invalid_answer", "The model gave no usable answer.")
                    bad.write(error_line(found, batch_id=batch_id))
            else:
                good.write(b"".join(lines))

    def _lines(self, slips: Sequence[Asked], answer: bytes, endpoint: Endpoint) -> list[bytes]:
        response = oip.read_response(oip.JSON_TYPE, answer)
        request = None
        if self._batch.options.url.startswith(PROTOCOL_PREFIX):
            # Which outputs were asked for is in the request: here it is enough that each one is as promised.
            request = InferenceRequest(inputs=(), outputs=tuple({"name": each.name} for each in response.outputs))
        values = checked(response, reader(sum(slip.items for slip in slips), request, endpoint=endpoint))
        version = self._planned.version or response.model_version
        return result_lines(
            slips,
            values,
            endpoint=endpoint,
            served_by=f"{endpoint.name}/{version}",
            degraded="",
            batch_id=self._batch.batch_id,
        )
