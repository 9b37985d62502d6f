"""Composition root of `batch_plan`: a batch's file is read once and divided into shards.

What it answers names objects and numbers only: records never pass through the state machine.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from aws_lambda_powertools import Logger

from headrace.batches.planning.planner import Planner
from headrace.batches.planning.transform import Preparation
from headrace.batches.reading.reader import Reader
from headrace.catalog import load
from headrace.routing.held import HeldRouting
from headrace_aws.background import BackgroundThreads
from headrace_aws.batch_steps import run_step
from headrace_aws.batches_bucket import BatchesBucket, SourceObjects
from headrace_aws.batches_table import BatchesTable
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.parquet import ParquetTables
from headrace_aws.routing_table import RoutingTable
from headrace_aws.sagemaker_models import SageMakerModels
from headrace_aws.seen_ids import scratch_ids
from headrace_aws.settings import BatchPlanSettings
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable

settings = BatchPlanSettings.read(os.environ)
logger = Logger()
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for a plan
# Here, and not within the first call's time: a cold start would find the store late.
table.warm()
sources = SourceObjects(calls=BoundedCalls())
bucket = BatchesBucket(settings.batches_bucket, calls=BoundedCalls())
planner = Planner(
    catalog=load(Path(settings.catalog).read_text(encoding="utf-8")),
    records=BatchesTable(table),
    reader=Reader(
        sources=sources,
        tables=ParquetTables(sources),
        objects=bucket,
        streams=bucket,
        ids=scratch_ids,
        inputs_bucket=settings.inputs_bucket,
    ),
    objects=bucket,
    parts=bucket,
    preparation=Preparation(sources=sources, objects=bucket, streams=bucket),
    hosting=SageMakerModels(prefix=settings.prefix, calls=BoundedCalls()),
    batches_bucket=settings.batches_bucket,
    prefix=settings.prefix,
    wall=time.time,
    routing=HeldRouting(RoutingTable(table), BackgroundThreads(), time.time, Lock()).of,
)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """One batch, planned.

    Raises:
        StepFailed: it must be tried again.
    """
    about = {"tenant": event["tenant"], "batch_id": event["batch_id"]}
    step = run_step(logger, "plan", about, lambda: planner.run(event["tenant"], event["batch_id"]))
    logger.info("planned", extra={**about, "method": step.method, "shards": step.shards})
    return asdict(step)
