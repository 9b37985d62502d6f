"""Batches as callers are told of them: how far they are, whether a redrive is of use, and when one is given up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace.batches.states import END_MARK, OVER, Batch, Counts
from headrace.batches.storage import Progresses, ShardProgress

FORGOTTEN_AFTER_S = 2 * 3_600.0
"""So long after a batch should have moved, its execution is gone: aborted, timed out, or failed at the very end."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is: `counts` of what is over among `total`, and why nothing happens, where that is so."""

    counts: Counts
    paused: str = ""


def progress(progresses: Progresses, batch: Batch) -> Progress:
    """How far the batch is: final once it is over, summed from its shards until then.

    Raises:
        StoreUnavailable: the state store did not answer.
    """
    if batch.state in OVER:
        return Progress(batch.counts)
    return summed(batch, progresses.of(batch.tenant, batch.batch_id))


def summed(batch: Batch, shards: list[ShardProgress]) -> Progress:
    """The shards' progress together; it pauses when every shard that has begun and is not done does."""
    counts = sum((shard.counts for shard in shards), Counts())
    active = [shard.paused for shard in shards if not shard.done]
    paused = active[0] if active and all(active) else ""
    return Progress(replace(counts, total=batch.counts.total), paused)


def redrivable(batch: Batch) -> bool:
    """Whether a redrive would finish something: the file was planned, and shards of it are missing."""
    return batch.state == "failed" and batch.shards > 0


def ending(batch: Batch, *, now: float) -> str:
    """The name of an execution that ends a batch which nothing else ends any more; empty while that may yet come.

    A batch that is not started by then has found its day over. One name per `FORGOTTEN_AFTER_S`, for it may fail too.
    """
    since = {"cancelling": batch.cancelling_at, "finalizing": batch.finalizing_at}.get(batch.state, batch.due_at)
    times = int((now - since) // FORGOTTEN_AFTER_S)
    return "" if batch.state in OVER or times < 1 else f"{batch.execution}{END_MARK}{times}"


def told(batch: Batch, *, now: float) -> Batch:
    """The batch as callers are told: one that nothing has ended long after its day has expired."""
    if batch.state in OVER or now < batch.due_at + FORGOTTEN_AFTER_S:
        return batch
    return replace(batch, state="expired", ended_at=batch.due_at)
