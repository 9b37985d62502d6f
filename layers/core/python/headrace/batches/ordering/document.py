"""A batch as its caller reads it: OpenAI's Batch object, and beside it what that has no words for, as `headrace`.

`eta_s` is in seconds from now, `rate_per_s` records per second since the batch began; both are null while there is
nothing to tell them from.
"""

from __future__ import annotations

from typing import Any

from headrace.batches.finishing.estimate import Estimate
from headrace.batches.ordering.orders import COMPLETION_WINDOW
from headrace.batches.ordering.views import Progress, redrivable
from headrace.batches.states import Batch
from headrace.files.files import File, Invitation


def batch_document(batch: Batch, progress: Progress, estimate: Estimate | None) -> dict[str, Any]:
    """The batch.

    Args:
        batch: as callers are told of it.
        progress: how far it is.
        estimate: how fast it is, how long it takes and what it costs, where there is anything to tell that from.
    """
    counts = progress.counts
    ended = _moment(batch.ended_at)
    told = estimate or Estimate(None, None)
    left_s = told.left_s if batch.state == "in_progress" else None
    return {
        "id": batch.batch_id,
        "object": "batch",
        "endpoint": batch.options.url,
        "model": batch.options.endpoint,
        "errors": _errors(batch),
        "input_file_id": batch.input_file_id,
        "completion_window": COMPLETION_WINDOW,
        "status": batch.state,
        "output_file_id": batch.output_file_id or None,
        "error_file_id": batch.error_file_id or None,
        "created_at": int(batch.created_at),
        "in_progress_at": _moment(batch.started_at),
        "expires_at": int(batch.due_at),
        "finalizing_at": _moment(batch.finalizing_at),
        "completed_at": ended if batch.state == "completed" else None,
        "failed_at": ended if batch.state == "failed" else None,
        "expired_at": ended if batch.state == "expired" else None,
        "cancelling_at": _moment(batch.cancelling_at),
        "cancelled_at": ended if batch.state == "cancelled" else None,
        "request_counts": {"total": counts.total, "completed": counts.results, "failed": counts.errors},
        "usage": None,
        "metadata": dict(batch.options.metadata) or None,
        "headrace": {
            "model": batch.options.endpoint,
            "version": batch.options.version or None,
            "format": batch.source.format,
            "method": batch.method if batch.reason else None,
            "reason": batch.reason or None,
            "shards": batch.shards,
            "degraded": counts.degraded,
            "rate_per_s": None if told.rate_per_s is None else round(told.rate_per_s, 3),
            "eta_s": None if left_s is None else round(left_s),
            "cost": told.document,
            "paused": progress.paused or None,
            "redrives": batch.redrives,
            "redrivable": redrivable(batch),
            "kept_until": int(batch.expires_at),
        },
    }


def file_document(file: File, invitation: Invitation | None = None) -> dict[str, Any]:
    """A file as OpenAI's FileObject; `upload` is the form by which its bytes come, in the answer that made it alone.

    While they are awaited the status is `uploaded`, which to that SDK means "wait"; `processed` means that they are
    there.
    """
    return {
        "id": file.file_id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at),
        "expires_at": int(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed" if file.state == "ready" else "uploaded",
        "status_details": None,
        "headrace": {
            "awaiting_upload": file.state == "awaiting",
            "upload": None
            if invitation is None
            else {
                "url": invitation.url,
                "fields": dict(invitation.fields),
                "expires_at": int(invitation.expires_at),
            },
        },
    }


def _moment(seconds: float) -> int | None:
    return int(seconds) if seconds else None


def _errors(batch: Batch) -> dict[str, Any] | None:
    if not batch.problems:
        return None
    rows = [
        {"code": each.code, "message": each.message, "param": None, "line": each.line or None}
        for each in batch.problems
    ]
    return {"object": "list", "data": rows}
