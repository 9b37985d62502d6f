"""Composition root of `batch_score`: a shard's records are asked for, until it is done or the function's time is up.

The policy is the one that online requests pass through, with the state that they share: what a batch may take is what
they leave.
"""

from __future__ import annotations

import os
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from headrace.batches.planning.planned import shard_of
from headrace.batches.scoring.asking import LoadImage
from headrace.batches.scoring.scorer import Scorer
from headrace.catalog import Endpoint, load
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace_aws.batch_asker import asking
from headrace_aws.batch_steps import run_step
from headrace_aws.batches_bucket import BatchesBucket, SourceObjects
from headrace_aws.batches_table import BatchesTable
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.inputs_bucket import InputsBucket
from headrace_aws.lambda_stand_in import LambdaStandIn
from headrace_aws.sagemaker_primary import SageMakerPrimary
from headrace_aws.settings import BatchScoreSettings
from headrace_aws.shared_state import SharedState
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable

IMAGE_TIMEOUT_S = 10.0
"""How long one object that a record names may take to be read; nobody waits for it."""

settings = BatchScoreSettings.read(os.environ)
logger = Logger()
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for a shard
# Here, and not within the first call's time: a cold start would find the store late.
table.warm()
primary = SageMakerPrimary(prefix=settings.prefix, calls=BoundedCalls())
primary.warm()
state = SharedState(table=settings.state_table)
state.warm()
records = BatchesTable(table)
inputs = InputsBucket(settings.inputs_bucket, calls=BoundedCalls())


def _images(tenant: str, endpoint: Endpoint) -> LoadImage:
    bytes_max = endpoint.limits.max_image_bytes or PAYLOAD_MAX_BYTES
    return partial(inputs.read, tenant=tenant, bytes_max=bytes_max, timeout_s=IMAGE_TIMEOUT_S)


scorer = Scorer(
    catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
    records=records,
    progress=records,
    sources=SourceObjects(calls=BoundedCalls()),
    store=BatchesBucket(settings.batches_bucket, calls=BoundedCalls()),
    askers=lambda: asking(
        state.policy,
        primary=primary,
        stand_in=LambdaStandIn(function=settings.fallback_function, calls=BoundedCalls()),
        clock=time.monotonic,
        sleep=time.sleep,
    ),
    traffic=state.policy.health,
    images=_images,
    clock=time.monotonic,
    wall=time.time,
    uniform=random.random,  # spreads requests, guards nothing
    routing=state.routing.of,
)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One run over a shard.

    Raises:
        StepFailed: it must be tried again.
    """
    shard = shard_of(event["shard"])
    about = {"tenant": event["tenant"], "batch_id": event["batch_id"], "shard": shard.number}
    until_s = time.time() + context.get_remaining_time_in_millis() / 1000
    scored = run_step(
        logger, "score", about, lambda: scorer.run(event["tenant"], event["batch_id"], shard, until_s=until_s)
    )
    logger.info("scored", extra={**about, "state": scored.state, "at": scored.at, "wait_s": scored.wait_s})
    return {"state": scored.state, "wait_s": scored.wait_s, "at": scored.at}
