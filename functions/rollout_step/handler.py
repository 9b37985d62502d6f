"""Composition root of `rollout_step`: one turn of a rollout or an experiment, a sweep for lost ones, or an alarm.

{"asked": {"endpoint": …, "rollout_id": …}, "execution": …}   from the state machine
{"asked": {"endpoint": …, "experiment_id": …}, "execution": …}
{"sweep": true}                                               from the schedule
{"source": "aws.cloudwatch", …}                               an alarm's change of state, by EventBridge's rule
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from headrace.catalog import load
from headrace.rollouts.controller import Controller
from headrace.rollouts.experimenting import ExperimentController
from headrace_aws.batch_steps import run_step
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.experiments_table import ExperimentsTable
from headrace_aws.rollout_events import EXPERIMENT_FINISHED, alarmed, answer
from headrace_aws.rollouts_table import RolloutsTable
from headrace_aws.routing_table import RoutingTable
from headrace_aws.settings import RolloutStepSettings
from headrace_aws.state_machine import RolloutExecutions
from headrace_aws.state_table import READ_TIMEOUT_S, StateTable
from headrace_aws.tallies_table import TalliesTable

settings = RolloutStepSettings.read(os.environ)
logger = Logger()
table = StateTable(settings.state_table, timeout_s=READ_TIMEOUT_S)  # nobody waits for a turn
# Here, and not within the first call's time: a cold start would find the store late.
table.warm()
catalog = load(Path(settings.catalog).read_text(encoding="utf-8"))
controller = Controller(
    catalog=catalog,
    rollouts=RolloutsTable(table),
    routings=RoutingTable(table),
    tallies=TalliesTable(table, wall=time.time),
    executions=RolloutExecutions(settings.rollout_machine, calls=BoundedCalls()),
    wall=time.time,
)
experiments = ExperimentController(
    catalog=catalog,
    experiments=ExperimentsTable(table),
    routings=RoutingTable(table),
    tallies=TalliesTable(table, wall=time.time),
    executions=RolloutExecutions(settings.rollout_machine, calls=BoundedCalls()),
    wall=time.time,
)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """What the state machine does next; for a sweep and for an alarm, what was done.

    Raises:
        StepFailed: it must be tried again.
    """
    if event.get("sweep"):
        restarted = run_step(logger, "sweep", {}, controller.sweep)
        restarted += run_step(logger, "sweep", {}, experiments.sweep)
        logger.info("swept", extra={"restarted": restarted})
        return {"restarted": restarted}
    if event.get("source") == "aws.cloudwatch":
        return _on_alarm(event)
    asked = event.get("asked", event)
    if "experiment_id" in asked:
        return _experiment(asked, execution=str(event.get("execution", "")))
    about = {"endpoint": asked["endpoint"], "rollout_id": asked["rollout_id"]}
    stepped = run_step(
        logger, "turn", about, lambda: controller.step(**about, execution=str(event.get("execution", "")))
    )
    logger.info("turned", extra={**about, "state": stepped.state, "again": stepped.again})
    return answer(stepped)


def _experiment(asked: dict[str, Any], *, execution: str) -> dict[str, Any]:
    about = {"endpoint": asked["endpoint"], "experiment_id": asked["experiment_id"]}
    stepped = run_step(logger, "turn", about, lambda: experiments.step(**about, execution=execution))
    logger.info("turned", extra={**about, "state": stepped.state, "again": stepped.again})
    return answer(stepped, finished=EXPERIMENT_FINISHED)


def _on_alarm(event: dict[str, Any]) -> dict[str, Any]:
    found = alarmed(event, catalog, prefix=settings.prefix)
    if found is None:
        return {"rolled_back": False}
    about = {"endpoint": found.endpoint, "version": found.version, "alarm": found.name}
    after = run_step(logger, "alarm", about, lambda: controller.alarm(found.endpoint, found.version, name=found.name))
    rolled_back = after is not None and after.state == "rolled_back"
    logger.info("alarmed", extra={**about, "rolled_back": rolled_back})
    return {**about, "rolled_back": rolled_back}
