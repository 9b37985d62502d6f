"""Composition root of `batch_start`: an object that arrived below a tenant's `incoming/` becomes a batch.

EventBridge delivers "Object Created" at least once and in no order; the batch's id is made from bucket, key and
version, so that one object is one batch however often it is told of.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from headrace.batches.ordering.incoming import start_object
from headrace.batches.ordering.offers import Batches
from headrace.catalog import load
from headrace.files.uploading import Files
from headrace_aws.batch_steps import run_step
from headrace_aws.batches_bucket import BatchesBucket
from headrace_aws.batches_table import BatchesTable
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.drops_table import DropsTable
from headrace_aws.files_table import FilesTable
from headrace_aws.settings import BatchStartSettings
from headrace_aws.state_machine import Machine
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable
from headrace_aws.uploads import Uploads

settings = BatchStartSettings.read(os.environ)
logger = Logger()
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for an upload's event
# Here, and not within the first call's time: a cold start would find the store late.
table.warm()
batches_table, files_table = BatchesTable(table), FilesTable(table)
uploads = Uploads(settings.inputs_bucket, calls=BoundedCalls())
batches = Batches(
    files=Files(
        bucket=settings.inputs_bucket,
        records=files_table,
        lists=files_table,
        door=uploads,
        contents=uploads,
        wall=time.time,
        random_bytes=secrets.token_bytes,
    ),
    records=batches_table,
    lists=batches_table,
    progresses=batches_table,
    machine=Machine(settings.state_machine, calls=BoundedCalls()),
    objects=BatchesBucket(settings.batches_bucket, calls=BoundedCalls()),
    catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
    wall=time.time,
    random_bytes=secrets.token_bytes,
    loopback=bool(settings.webhooks_loopback),
)
grants = DropsTable(settings.keys_table)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """One object: answers with its batch, or with none where the key starts nothing.

    Raises:
        StepFailed: it must be delivered again.
    """
    detail = event["detail"]
    batch = run_step(
        logger,
        "start",
        {"event_id": event["id"]},
        lambda: start_object(
            batches,
            grants,
            bucket=detail["bucket"]["name"],
            key=detail["object"]["key"],
            version=detail["object"].get("version-id", ""),
        ),
    )
    told = {} if batch is None else {"tenant": batch.tenant, "batch_id": batch.batch_id, "state": batch.state}
    logger.info("started", extra=told)
    return told
