"""Records of batches in the state table, and how far their shards are.

batch#<tenant>, batch-list#<tenant>                 see `headrace_aws.listed_records`
batch-progress#<tenant>#<batch id>      <shard>     how far one shard is
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from time import time
from typing import Any

from headrace.batches.states import KEPT_S, Batch, Counts, Options, Problem, Source
from headrace.batches.storage import ShardProgress
from headrace_aws.listed_records import Listed, ListedRecords
from headrace_aws.state_table import ConditionFailed, Item, StateTable, key


class BatchesTable:
    """See `headrace.batches.storage`: `BatchRecords`, `BatchLists` and `Progresses` at once.

    Raises (each call):
        StoreUnavailable: no answer in time; a write may have been made all the same.
    """

    def __init__(self, table: StateTable, *, wall: Callable[[], float] = time) -> None:
        self._table = table
        self._records = ListedRecords(table, kind="batch")
        self._wall = wall

    def create(self, batch: Batch) -> bool:
        """Write a new record; False, and nothing changed, when there is one of its id."""
        return self._records.create(batch.tenant, _listed(batch))

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        """The record as it is now, or None: a consistent read, for its state decides what is done."""
        text = self._records.get(tenant, batch_id)
        return None if text is None else load_batch(text)

    def move(self, before: Batch, after: Batch) -> bool:
        """Write `after` if the record still has the revision of `before`."""
        return self._records.move(after.tenant, _listed(after), revision=before.revision)

    def newest(self, tenant: str, *, limit: int, after: str = "") -> list[Batch]:
        """The newest first, those older than the batch `after`."""
        last = self.get(tenant, after) if after else None
        found: list[Batch] = []
        for text in self._records.newest(tenant, after=None if last is None else _listed(last)):
            found.append(load_batch(text))
            if len(found) == limit:
                break
        return found

    def note(self, tenant: str, batch_id: str, progress: ShardProgress) -> None:
        """Write how far one shard is, unless it is known to be further: a runner that is out of date says nothing."""
        counts = {name: {"N": str(value)} for name, value in asdict(progress.counts).items()}
        item: Item = {
            **key(_progress_pk(tenant, batch_id), f"{progress.shard:06d}"),
            **counts,
            "at": {"N": str(progress.at)},
            "done": {"BOOL": progress.done},
            "paused": {"S": progress.paused},
            "expires_at": {"N": str(int(self._wall() + KEPT_S))},
        }
        try:
            self._table.put(
                item,
                ConditionExpression="attribute_not_exists(pk) OR #at <= :at",
                ExpressionAttributeNames={"#at": "at"},
                ExpressionAttributeValues={":at": item["at"]},
            )
        except ConditionFailed:
            return

    def of(self, tenant: str, batch_id: str) -> list[ShardProgress]:
        """What is known of the batch's shards, in their order."""
        items = self._table.pages(
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": _progress_pk(tenant, batch_id)}},
        )
        return [_progress(item) for item in items]


def dump_batch(batch: Batch) -> str:
    """The record as JSON."""
    return json.dumps(asdict(batch), ensure_ascii=False, separators=(",", ":"))


def load_batch(text: str) -> Batch:
    """The record that `dump_batch` wrote, of this release or of an earlier one."""
    fields: dict[str, Any] = json.loads(text)
    options = fields["options"]
    options |= {name: _pairs(options[name]) for name in ("parameters", "metadata")}
    return Batch(
        **fields
        | {
            "source": Source(**fields["source"]),
            "options": Options(**options),
            "caller": _pairs(fields["caller"]),
            "counts": Counts(**fields["counts"]),
            "problems": tuple(Problem(**problem) for problem in fields["problems"]),
        }
    )


def _pairs(rows: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in rows)


def _progress_pk(tenant: str, batch_id: str) -> str:
    return f"batch-progress#{tenant}#{batch_id}"


def _listed(batch: Batch) -> Listed:
    return Listed(batch.batch_id, dump_batch(batch), batch.created_at, batch.expires_at, batch.revision)


def _progress(item: Item) -> ShardProgress:
    numbers = {name: int(item[name]["N"]) for name in ("total", "results", "errors", "degraded")}
    return ShardProgress(
        shard=int(item["sk"]["S"]),
        at=int(item["at"]["N"]),
        counts=Counts(**numbers),
        done=item["done"]["BOOL"],
        paused=item["paused"]["S"],
    )
