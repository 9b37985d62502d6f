"""Composition root of `batch_finish`: parts become results, errors and a report, and the batch's record says its end.

What it answers is metadata: the state machine hands `event` on to EventBridge as it is.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from headrace.batches.finishing.finisher import Finisher
from headrace.catalog import load
from headrace_aws.batch_steps import run_step
from headrace_aws.batches_bucket import BatchesBucket
from headrace_aws.batches_table import BatchesTable
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.files_table import FilesTable
from headrace_aws.notices_queue import NoticesQueue
from headrace_aws.settings import BatchFinishSettings
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable

settings = BatchFinishSettings.read(os.environ)
logger = Logger()
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for a batch's end
# Here, and not within the first call's time: a cold start would find the store late.
table.warm()
finisher = Finisher(
    catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
    records=BatchesTable(table),
    files=FilesTable(table),
    notices=NoticesQueue(settings.notices_queue, calls=BoundedCalls()),
    store=BatchesBucket(settings.batches_bucket, calls=BoundedCalls()),
    bucket=settings.batches_bucket,
    wall=time.time,
)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """One batch, ended as far as it has come.

    Raises:
        StepFailed: it must be tried again.
    """
    about = {"tenant": event["tenant"], "batch_id": event["batch_id"]}
    finished = run_step(
        logger, "finish", about, lambda: finisher.run(event["tenant"], event["batch_id"], event["execution"])
    )
    logger.info("finished", extra={**about, "state": finished.state})
    return asdict(finished)
