"""The functions as the local platform runs them: the same code, handler strings and variables as deployed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.batches.bounds import (
    FINISH_TIMEOUT_S,
    NOTIFY_TIMEOUT_S,
    PLAN_TIMEOUT_S,
    SCORE_TIMEOUT_S,
    START_TIMEOUT_S,
)
from headrace.jobs.states import RUN_MAX_S
from headrace.rollouts.shadowing import FUNCTION_TIMEOUT_S as SHADOW_TIMEOUT_S
from headrace.rollouts.states import TURN_TIMEOUT_S
from infra_local.lambda_environment import FunctionSpec
from infra_local.machines import SHARDS_AT_ONCE
from infra_local.names import STAGE, Names
from infra_local.queues import queue_url

JOBS_AT_ONCE = 2
"""What callers wait for goes first: predict has eight environments here."""
NOTICES_AT_ONCE = 1
SHADOWS_AT_ONCE = 1
ROOT = Path(__file__).resolve().parent.parent
"""The repository: what a function's zip is cut from."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """How long a function may run, what it costs, and how many environments there are, and are kept ready."""

    timeout_s: float
    memory_mb: int
    concurrency_max: int
    provisioned: int = 0


_API_TIMEOUT_S = 29.0
_SCALES = {
    "predict": _Scale(_API_TIMEOUT_S, 1024, 8, provisioned=4),
    "authorizer": _Scale(_API_TIMEOUT_S, 512, 4, provisioned=1),
    "fallback": _Scale(_API_TIMEOUT_S, 2048, 2, provisioned=1),
    "job_run": _Scale(RUN_MAX_S, 512, JOBS_AT_ONCE),
    "batch_start": _Scale(START_TIMEOUT_S, 512, 2),
    "batch_plan": _Scale(PLAN_TIMEOUT_S, 1024, 2),
    # One more than the map of one batch asks for: a second batch need not wait for the first.
    "batch_score": _Scale(SCORE_TIMEOUT_S, 1024, SHARDS_AT_ONCE + 1),
    "batch_finish": _Scale(FINISH_TIMEOUT_S, 1024, 2),
    "notify": _Scale(NOTIFY_TIMEOUT_S, 512, NOTICES_AT_ONCE),
    "shadow": _Scale(SHADOW_TIMEOUT_S, 512, SHADOWS_AT_ONCE),
    "rollout_step": _Scale(TURN_TIMEOUT_S, 512, 2),
}


def platform_functions(
    names: Names, *, catalog: Path, endpoints: Path, aws: Mapping[str, str], oidc_issuers: str = "[]"
) -> list[FunctionSpec]:
    """Returns every function of the platform.

    Args:
        names: What everything is called.
        catalog: The compiled catalog.
        endpoints: The folder of declarations, where the rules lie too.
        aws: Variables that point boto3 at the local platform.
        oidc_issuers: Whose tokens the authorizer accepts beside API keys, as the JSON that it reads.
    """
    jobs_queue = queue_url(aws["AWS_ENDPOINT_URL"], names.jobs_queue)
    notices_queue = queue_url(aws["AWS_ENDPOINT_URL"], names.notices_queue)
    batches = {
        "HEADRACE_CATALOG": str(catalog),
        "HEADRACE_INPUTS_BUCKET": names.inputs_bucket,
        "HEADRACE_BATCHES_BUCKET": names.batches_bucket,
        "HEADRACE_STATE_TABLE": names.state_table,
    }
    own = {
        "predict": {
            "HEADRACE_PREFIX": names.prefix,
            "HEADRACE_CATALOG": str(catalog),
            "HEADRACE_INPUTS_BUCKET": names.inputs_bucket,
            "HEADRACE_FALLBACK_FUNCTION": names.fallback,
            "HEADRACE_STATE_TABLE": names.state_table,
            "HEADRACE_KEYS_TABLE": names.keys_table,
            "HEADRACE_PEPPER_SECRET": names.pepper_secret,
            "HEADRACE_JOBS_BUCKET": names.jobs_bucket,
            "HEADRACE_JOBS_QUEUE": jobs_queue,
            "HEADRACE_SHADOW_QUEUE": queue_url(aws["AWS_ENDPOINT_URL"], names.shadow_queue),
            "HEADRACE_BATCHES_BUCKET": names.batches_bucket,
            "HEADRACE_STATE_MACHINE": names.batch_machine_arn,
            "HEADRACE_WEBHOOKS_LOOPBACK": "1",
        },
        "authorizer": {
            "HEADRACE_KEYS_TABLE": names.keys_table,
            "HEADRACE_PEPPER_SECRET": names.pepper_secret,
            "HEADRACE_OIDC_ISSUERS": oidc_issuers,
        },
        "fallback": {
            "HEADRACE_CATALOG": str(catalog),
            "HEADRACE_ARTIFACTS_BUCKET": names.artifacts_bucket,
            "HEADRACE_RULES": str(endpoints.resolve()),
        },
        "job_run": {
            "HEADRACE_STATE_TABLE": names.state_table,
            "HEADRACE_JOBS_BUCKET": names.jobs_bucket,
            "HEADRACE_JOBS_QUEUE": jobs_queue,
            "HEADRACE_NOTICES_QUEUE": notices_queue,
            "HEADRACE_PREDICT_FUNCTION": names.predict,
        },
        "batch_start": {
            **batches,
            "HEADRACE_KEYS_TABLE": names.keys_table,
            "HEADRACE_STATE_MACHINE": names.batch_machine_arn,
            "HEADRACE_WEBHOOKS_LOOPBACK": "1",
        },
        "batch_plan": {**batches, "HEADRACE_PREFIX": names.prefix},
        "batch_score": {
            **batches,
            "HEADRACE_PREFIX": names.prefix,
            "HEADRACE_FALLBACK_FUNCTION": names.fallback,
        },
        "batch_finish": {**batches, "HEADRACE_NOTICES_QUEUE": notices_queue},
        "shadow": {
            "HEADRACE_PREFIX": names.prefix,
            "HEADRACE_CATALOG": str(catalog),
            "HEADRACE_JOBS_BUCKET": names.jobs_bucket,
            "HEADRACE_STATE_TABLE": names.state_table,
        },
        "rollout_step": {
            "HEADRACE_PREFIX": names.prefix,
            "HEADRACE_CATALOG": str(catalog),
            "HEADRACE_STATE_TABLE": names.state_table,
            "HEADRACE_ROLLOUT_MACHINE": names.rollout_machine_arn,
        },
        "notify": {
            "HEADRACE_STATE_TABLE": names.state_table,
            "HEADRACE_NOTICES_QUEUE": notices_queue,
            "HEADRACE_PEPPER_SECRET": names.pepper_secret,
            "HEADRACE_WEBHOOKS_LOOPBACK": "1",
        },
    }
    temporary = catalog.parent / "tmp"  # what /tmp is on Lambda
    temporary.mkdir(exist_ok=True)
    return [
        FunctionSpec(
            name=f"{names.prefix}-{name}",
            handler=f"functions.{name}.handler.handler",
            root=ROOT,
            search_path=(ROOT / "layers" / "core" / "python",),
            environment={
                **aws,
                "HEADRACE_STAGE": STAGE,
                "TMPDIR": str(temporary),
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_METRICS_NAMESPACE": "Headrace",
                "POWERTOOLS_LOG_LEVEL": "INFO",
                "PYDANTIC_DISABLE_PLUGINS": "__all__",  # as deployed: no scan of every distribution at cold start
                **variables,
            },
            timeout_s=_SCALES[name].timeout_s,
            memory_mb=_SCALES[name].memory_mb,
            concurrency_max=_SCALES[name].concurrency_max,
            provisioned=_SCALES[name].provisioned,
        )
        for name, variables in own.items()
    ]
