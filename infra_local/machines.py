"""The state machine's own file, with this platform's names put in as the CDK app puts in the account's."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from headrace.batches.bounds import EXECUTION_TIMEOUT_S
from infra_local.lambda_environment import ACCOUNT, REGION
from infra_local.names import Names

_MACHINES = Path(__file__).resolve().parent.parent / "infra_cdk" / "state_machines"
BATCH_MACHINE = _MACHINES / "batch.asl.json"
ROLLOUT_MACHINE = _MACHINES / "rollout.asl.json"
SHARDS_AT_ONCE = 2
"""A laptop has a few cores, and one model process per version."""
EVENT_BUS = "default"
_PLACE = re.compile(r"\$\{(\w+)\}")


def function_arn(name: str) -> str:
    """The ARN of a function of this platform."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def batch_substitutions(names: Names, *, shards_at_once: int = SHARDS_AT_ONCE) -> Mapping[str, str]:
    """Returns what stands in the file's places."""
    return {
        "PlanFunction": function_arn(names.batch_plan),
        "ScoreFunction": function_arn(names.batch_score),
        "FinishFunction": function_arn(names.batch_finish),
        "BatchesBucket": names.batches_bucket,
        "EventBus": EVENT_BUS,
        "ShardsAtOnce": str(shards_at_once),
    }


def batch_definition(substitutions: Mapping[str, str]) -> str:
    """Returns the definition of the batches' machine.

    Args:
        substitutions: For each ``${Name}`` of the file, its text; the same that CDK's ``definition_substitutions`` get.

    Raises:
        KeyError: If the file names one that is not given.
        ValueError: If what comes out is not the file's form any more.
    """
    text = _PLACE.sub(lambda place: substitutions[place.group(1)], BATCH_MACHINE.read_text(encoding="utf-8"))
    if json.loads(text)["TimeoutSeconds"] != EXECUTION_TIMEOUT_S:
        raise ValueError(f"{BATCH_MACHINE.name}: TimeoutSeconds must be {EXECUTION_TIMEOUT_S}")
    return text


def rollout_definition(names: Names) -> str:
    """Returns the definition of the machine that looks after rollouts and experiments.

    Raises:
        KeyError: If the file names a place that has no text here.
    """
    places = {"RolloutStepFunction": function_arn(names.rollout_step), "EventBus": EVENT_BUS}
    return _PLACE.sub(lambda place: places[place.group(1)], ROLLOUT_MACHINE.read_text(encoding="utf-8"))
