"""Finishing: parts become files, the numbers are held against the plan, and the batch's record says how it ended.

Everything here may run twice, and twice at once, for whoever runs it may be killed between any two steps: the same
files are written in the place of the same files, the record moves only from what was read, and the end may be told
again. A run that comes late leaves alone what was redriven since: that is another run's to end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from headrace.batches import layout
from headrace.batches.finishing.estimate import estimate
from headrace.batches.finishing.merging import Merged, ends, merge
from headrace.batches.finishing.report import event_of, report_of
from headrace.batches.finishing.transform_answers import TransformAnswers
from headrace.batches.planning.planned import Planned, load_plan
from headrace.batches.scoring.posing import items_max_of
from headrace.batches.states import OVER, PROBLEMS_MAX, Batch, BatchState, Counts, Problem, ended, moved
from headrace.batches.storage import BatchRecords, Objects, Streams
from headrace.catalog import Catalog
from headrace.errors import StoreUnavailable, UnknownTarget
from headrace.files.files import File, FileRecords, OutputKind, output_id

NOT_PLANNED = Problem("not_planned", "The file could not be planned, which is our fault: start a new batch.")
MOVES_MAX = 5
"""A record that is moved by somebody else so often at the very end is left to the next try."""


class Notices(Protocol):
    """Ends that are to be told."""

    def send(self, tenant: str, kind: Any, target_id: str) -> None:
        """Have the end told, if the batch names a webhook. Raises StoreUnavailable."""


class Store(Objects, Streams, Protocol):
    """The bucket of batches."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a batch ended, and what the account is told of it.

    `incomplete`: shards are missing that a redrive would do, which is the operator's business; a file that cannot be
    used is its owner's.
    """

    state: BatchState
    event: dict[str, Any]
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Finisher:
    """Ends batches.

    Args:
        catalog: for labels, limits and prices.
        records: the batches.
        files: where results and errors become files of the tenant.
        notices: who is told.
        store: the bucket of batches, called `bucket`.
        wall: seconds since the epoch.
    """

    catalog: Catalog
    records: BatchRecords
    files: FileRecords
    notices: Notices
    store: Store
    bucket: str
    wall: Callable[[], float]

    def run(self, tenant: str, batch_id: str, execution: str) -> Finished:
        """End a batch's run, called `execution`, as far as it has come.

        Raises:
            UnknownTarget: there is no such batch.
            StoreUnavailable: something could not be read or written; running it again goes on.
        """
        batch = self._get(tenant, batch_id)
        if batch.ran_as(execution) and batch.state not in OVER:
            with suppress(_Superseded):
                self._end(batch)
            batch = self._get(tenant, batch_id)
        if not batch.ran_as(execution):
            # Only a run that failed is redriven.
            return Finished("failed", event_of(replace(batch, state="failed")), incomplete=True)
        self.notices.send(tenant, "batch", batch_id)
        return Finished(batch.state, event_of(batch), incomplete=_ours(batch))

    def _end(self, batch: Batch) -> None:
        if batch.state in {"validating", "in_progress"}:
            batch = self._moved(batch, lambda now, at: moved(now, "finalizing", now=at))
            if batch.state in OVER:
                return
        body = self.store.read(layout.plan_key(batch.tenant, batch.batch_id))
        planned = None if body is None else load_plan(body)
        merged, method = (Merged(), batch.method) if planned is None else self._merge(batch, planned)
        files = [self._file(batch, "results", merged.results_bytes), self._file(batch, "errors", merged.errors_bytes)]

        def over(now: Batch, at: float) -> Batch:
            return _over(now, planned, merged, files=files, at=at)

        after = over(batch, self.wall())
        endpoint = self.catalog.endpoints.get(batch.options.endpoint)
        if endpoint is not None:
            seconds = after.ended_at - (after.started_at or after.created_at)
            told = estimate(
                merged.counts,
                seconds=seconds,
                endpoint=endpoint,
                items_max=items_max_of(endpoint),
            )
            report = report_of(after, planned, merged, told, method=method)
            self.store.write(layout.report_key(batch.tenant, batch.batch_id), report)
        for file in files:
            if file is not None:
                self.files.put(file)
        self._moved(batch, over)

    def _merge(self, batch: Batch, planned: Planned) -> tuple[Merged, str]:
        tenant, batch_id = batch.tenant, batch.batch_id
        answers = TransformAnswers(self.store, self.catalog, batch, planned)
        chains = None
        if not answers.whole():
            key = layout.ends_key(tenant, batch_id, redrives=batch.redrives)
            chains = ends(self.store, tenant, batch_id, planned.shards, key=key)
        with (
            self.store.writer(layout.results_key(tenant, batch_id)) as results,
            self.store.writer(layout.errors_key(tenant, batch_id)) as errors,
        ):
            if chains is None:
                merged = answers.merge(results=results, errors=errors)
            else:
                merged = merge(self.store, chains, planned.shards, results=results, errors=errors)
            self._check_run(batch, self._get(tenant, batch_id))
        return merged, "transform" if chains is None else "map"

    def _file(self, batch: Batch, kind: OutputKind, size: int) -> File | None:
        if not size:
            return None
        key = layout.results_key if kind == "results" else layout.errors_key
        return File(
            tenant=batch.tenant,
            file_id=output_id(batch.batch_id, kind),
            filename=f"{batch.batch_id}_{kind}.jsonl",
            purpose="batch_output",
            bucket=self.bucket,
            key=key(batch.tenant, batch.batch_id),
            created_at=batch.created_at,
            size=size,
            key_id=dict(batch.caller).get("key_id", ""),
        )

    def _get(self, tenant: str, batch_id: str) -> Batch:
        batch = self.records.get(tenant, batch_id)
        if batch is None:
            raise UnknownTarget("There is no such batch.", code="batch_not_found")
        return batch

    def _moved(self, batch: Batch, step: Callable[[Batch, float], Batch]) -> Batch:
        """The record after a step from what it is now; what somebody else has settled stays."""
        for _ in range(MOVES_MAX):
            after = step(batch, self.wall())
            if self.records.move(batch, after):
                return after
            batch = self._get(batch.tenant, batch.batch_id)
            self._check_run(after, batch)
            if batch.state in OVER or batch.state == after.state:
                return batch
        raise StoreUnavailable("The batch's record is moved by others: try again.")

    def _check_run(self, mine: Batch, now: Batch) -> None:
        if now.redrives != mine.redrives:
            raise _Superseded


def _ours(batch: Batch) -> bool:
    """Whether a batch has failed by our fault: shards are missing, or a good file was never planned."""
    return batch.state == "failed" and (batch.shards > 0 or NOT_PLANNED in batch.problems)


class _Superseded(Exception):
    """The batch was redriven meanwhile."""


def _over(
    batch: Batch, planned: Planned | None, merged: Merged, *, files: list[File | None], at: float
) -> Batch:  # fmt: skip
    records = planned.records if planned is not None else 0
    counts = merged.counts
    whole = planned is not None and not merged.missing and not merged.wrong and counts.total == records
    asked = replace(batch, state="expired") if not whole and at >= batch.due_at else batch
    problems = batch.problems
    if merged.wrong or (planned is not None and not merged.missing and counts.total != records):
        message = f"The plan counts {records} records, and {counts.total} have a result or an error."
        problems += (Problem("records_do_not_add_up", message),)
    if merged.missing and ended(asked, whole=False) == "failed":
        message = f"{len(merged.missing)} of {batch.shards} shards are not finished: redrive the batch."
        problems += (Problem("shards_unfinished", message),)
    if planned is None and not problems and ended(asked, whole=False) == "failed":
        problems = (NOT_PLANNED,)
    results, errors = (file.file_id if file is not None else "" for file in files)
    after = moved(asked, ended(asked, whole=whole), now=at)
    return replace(
        after,
        counts=Counts(records, counts.results, counts.errors, counts.degraded),
        problems=problems[:PROBLEMS_MAX],
        output_file_id=results,
        error_file_id=errors,
        finalizing_at=batch.finalizing_at or at,
    )
