"""The report of a batch that is over: what it did, how, and that it adds up. It names no input and no output."""

from __future__ import annotations

import json
from typing import Any

from headrace.batches.finishing.estimate import Estimate
from headrace.batches.finishing.merging import Merged
from headrace.batches.planning.planned import Planned
from headrace.batches.states import Batch

SHARDS_TOLD_MAX = 100
"""Shards that a report lists."""


def report_of(batch: Batch, planned: Planned | None, merged: Merged, told: Estimate, *, method: str) -> bytes:
    """The report as JSON.

    Args:
        batch: in its end state.
        planned: the plan, or None when there never was one.
        merged: what was found and written.
        told: rate and cost.
        method: what the lines really came from; a transform job that failed leaves its work to the map.
    """
    counts = merged.counts
    records = planned.records if planned is not None else 0
    seconds = batch.ended_at - (batch.started_at or batch.created_at)
    document: dict[str, Any] = {
        "object": "batch.report",
        "id": batch.batch_id,
        "model": batch.options.endpoint,
        "url": batch.options.url,
        "version": batch.options.version or None,
        "state": batch.state,
        "format": batch.source.format,
        "method": {"planned": batch.method, "used": method, "reason": batch.reason},
        "records": records,
        "results": counts.results,
        "errors": counts.errors,
        "degraded": counts.degraded,
        "not_processed": records - counts.results - counts.errors,
        "adds_up": not merged.wrong and (counts.total == records or bool(merged.missing)),
        "blank_lines": planned.blank if planned is not None else 0,
        "duplicates": planned.duplicates if planned is not None else 0,
        "unused_columns": list(planned.unused) if planned is not None else [],
        "shards": {
            "planned": len(planned.shards) if planned is not None else 0,
            "unfinished": len(merged.missing),
            "unfinished_numbers": merged.missing[:SHARDS_TOLD_MAX],
            "wrong_numbers": merged.wrong[:SHARDS_TOLD_MAX],
            "parts": merged.parts,
        },
        "bytes": {"input": batch.source.size, "results": merged.results_bytes, "errors": merged.errors_bytes},
        "created_at": batch.created_at,
        "started_at": batch.started_at or None,
        "ended_at": batch.ended_at,
        "seconds": round(seconds, 3),
        "records_per_s": None if told.rate_per_s is None else round(told.rate_per_s, 3),
        "cost": told.document,
        "redrives": batch.redrives,
        "problems": [{"code": each.code, "message": each.message, "line": each.line} for each in batch.problems],
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def event_of(batch: Batch) -> dict[str, Any]:
    """What the rest of the account is told of the end: metadata only."""
    return {
        "batch_id": batch.batch_id,
        "tenant": batch.tenant,
        "model": batch.options.endpoint,
        "state": batch.state,
        "records": batch.counts.total,
        "results": batch.counts.results,
        "errors": batch.counts.errors,
        "degraded": batch.counts.degraded,
        "redrives": batch.redrives,
        "ended_at": batch.ended_at,
    }
