"""Composition root of `shadow`: SQS delivers copies of requests, each is put to the version that shadows.

Nothing comes again: a comparison that could not be made is one less, and no message is kept for it. What was asked and
what was said are never logged; a line says which version was compared with which, and what came of it.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from headrace.catalog import load
from headrace.rollouts.shadowing import Shadower
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.sagemaker_primary import SageMakerPrimary
from headrace_aws.settings import ShadowSettings
from headrace_aws.shadow_bucket import ShadowBucket
from headrace_aws.shadow_queue import read_message
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable
from headrace_aws.tallies_table import TalliesTable

HOLDER_BYTES = 8

settings = ShadowSettings.read(os.environ)
logger = Logger()
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for a comparison
primary = SageMakerPrimary(prefix=settings.prefix, calls=BoundedCalls())
# Here, and not within the first call's time: a cold start would find them late.
table.warm()
primary.warm()
shadower = Shadower(
    catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
    objects=ShadowBucket(settings.jobs_bucket, calls=BoundedCalls()),
    primary=primary,
    tallies=TalliesTable(table, wall=time.time),
    holder=lambda: secrets.token_hex(HOLDER_BYTES),
    wall=time.time,
    clock=time.monotonic,
)


def _take(record: dict[str, Any]) -> None:
    about: dict[str, Any] = {}
    try:
        endpoint, copy_id = read_message(record["body"])
        about = {"endpoint": endpoint, "copy": copy_id}
        compared = shadower.compare(endpoint, copy_id)
        about |= {"shadow": compared.shadow, "served": compared.served, "ms": round(compared.seconds * 1000, 2)}
        outcome = compared.outcome
    except Exception as error:  # noqa: BLE001 - what failed here may quote the request
        outcome = f"broken_{type(error).__name__}"
    logger.info("shadow", extra={**about, "outcome": outcome})


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One batch of messages; none of them is to be delivered again."""
    del context
    for record in event.get("Records", ()):
        _take(record)
    written = shadower.flush()
    if not written:
        logger.warning("counts wait for the next batch")
    return {"batchItemFailures": []}
