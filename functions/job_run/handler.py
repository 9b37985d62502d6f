"""Composition root of `job_run`: SQS delivers jobs, each is served by `predict` as if its caller still waited.

A delivery that must come again is reported as a failed item (partial batch responses), after its message was told when
to come. Whatever went wrong, nothing of a request is logged: a record says which job, and what became of it.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from headrace.errors import StoreUnavailable
from headrace.jobs.runs import CONTENDED_S, Later, Runner
from headrace.jobs.states import RUN_MAX_S
from headrace_aws.admission_tables import SlotsTable
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.jobs_bucket import JobsBucket
from headrace_aws.jobs_queue import JobsQueue, read_message
from headrace_aws.jobs_server import LambdaServer
from headrace_aws.jobs_table import JobsTable
from headrace_aws.notices_queue import NoticesQueue
from headrace_aws.settings import JobRunSettings
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable

settings = JobRunSettings.read(os.environ)
logger = Logger()
queue = JobsQueue(settings.jobs_queue, calls=BoundedCalls())
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for a job's run
# Here, and not within the first call's three tenths of a second: a cold start would find the store late.
table.warm()
runner = Runner(
    records=JobsTable(table),
    objects=JobsBucket(settings.jobs_bucket, calls=BoundedCalls()),
    server=LambdaServer(settings.predict_function, calls=BoundedCalls()),
    places=SlotsTable(table),
    notices=NoticesQueue(settings.notices_queue, calls=BoundedCalls()),
    wall=time.time,
    uniform=random.random,  # spreads retries, guards nothing
    looks=queue,
)
# Every item may fail: they come again, and the function itself did not.
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


class NotYet(Exception):
    """The message must be delivered again."""


def _take(record: SQSRecord) -> None:
    tenant = job_id = ""
    later: Later | None
    try:
        asked = read_message(record.body)
        if asked is None:
            return  # an object that tells nothing: the next look finds what it is about
        tenant, job_id = asked.tenant, asked.job_id
        later = runner.run(tenant, job_id, after=asked.after, arrived=asked.arrived)
    except StoreUnavailable:
        later = Later(CONTENDED_S)
    except Exception as error:  # noqa: BLE001 - what failed here may quote the request
        logger.error("broken", extra={"tenant": tenant, "job": job_id, "failure": type(error).__name__})  # noqa: TRY400
        later = Later(RUN_MAX_S)
    logger.info("job", extra={"tenant": tenant, "job": job_id, "again_s": None if later is None else later.pause_s})
    if later is None:
        return
    with suppress(StoreUnavailable):  # it comes all the same, when its visibility ends
        queue.postpone(record.receipt_handle, seconds=later.pause_s)
    raise NotYet("to be delivered again")


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One batch of messages; answers with those that must be delivered again."""
    return dict(process_partial_response(event=event, record_handler=_take, processor=processor, context=context))
