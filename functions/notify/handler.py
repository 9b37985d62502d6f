"""Composition root of `notify`: SQS delivers ends of jobs and batches, each is told to the webhook of its record.

A notice that must be told again is reported as a failed item (partial batch responses), after its message was told when
to come; once it has been tried often enough the queue gives it up to its dead letters. Neither the receiver's address
nor anything that it answers is logged.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from headrace.errors import StoreUnavailable
from headrace.notices import Teller, Told, pause_s
from headrace_aws.batches_table import BatchesTable
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.jobs_table import JobsTable
from headrace_aws.notices_queue import NoticesQueue, read_message
from headrace_aws.pepper import read_pepper
from headrace_aws.settings import NotifySettings
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable
from headrace_aws.webhooks import Webhooks, public_trust

settings = NotifySettings.read(os.environ)
logger = Logger()
queue = NoticesQueue(settings.notices_queue, calls=BoundedCalls())
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for a notice
# Here, and not within the first call's time: a cold start would find the store late.
table.warm()
loopback = bool(settings.webhooks_loopback)
teller = Teller(
    jobs=JobsTable(table),
    batches=BatchesTable(table),
    poster=Webhooks(calls=BoundedCalls(), context=public_trust, loopback=loopback),
    pepper=cache(lambda: read_pepper(settings.pepper_secret)),
    wall=time.time,
    uniform=random.random,  # spreads tries, guards nothing
    loopback=loopback,
)
# Every item may fail: they come again, and the function itself did not.
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


class NotYet(Exception):
    """The message must be delivered again."""


def _take(record: SQSRecord) -> None:
    tries = int(record.attributes.approximate_receive_count)
    about: dict[str, Any] = {"tries": tries}
    try:
        ended = read_message(record.body)
        about |= {"tenant": ended.tenant, "kind": ended.kind, "id": ended.target_id}
        told = teller.tell(ended.tenant, ended.kind, ended.target_id, tries=tries)
    except StoreUnavailable:
        told = Told("store_unavailable", pause_s(tries, uniform=teller.uniform()))
    except Exception as error:  # noqa: BLE001 - what failed here may quote an address
        told = Told(f"broken_{type(error).__name__}", pause_s(tries, uniform=teller.uniform()))
    logger.info("notice", extra={**about, "outcome": told.outcome, "again_s": told.pause_s})
    if told.pause_s is None:
        return
    with suppress(StoreUnavailable):  # it comes all the same, when its visibility ends
        queue.postpone(record.receipt_handle, seconds=told.pause_s)
    raise NotYet("to be delivered again")


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One batch of messages; answers with those that must be delivered again."""
    return dict(process_partial_response(event=event, record_handler=_take, processor=processor, context=context))
