"""The functions as the local platform runs them: the same code, handler strings and variables as deployed."""

from collections.abc import Mapping
from pathlib import Path

from headrace.jobs.states import RUN_MAX_S
from infra_local.lambda_environment import FunctionSpec
from infra_local.names import STAGE, Names
from infra_local.queues import queue_url

JOBS_AT_ONCE = 2
"""What callers wait for goes first: predict has eight environments here."""
ROOT = Path(__file__).resolve().parent.parent
"""The repository: what a function's zip is cut from."""


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
            "HEADRACE_PREDICT_FUNCTION": names.predict,
        },
    }
    temporary = catalog.parent / "tmp"  # what /tmp is on Lambda
    temporary.mkdir(exist_ok=True)
    memory_mb = {"predict": 1024, "authorizer": 512, "fallback": 2048, "job_run": 512}
    concurrency = {"predict": 8, "authorizer": 4, "fallback": 2, "job_run": JOBS_AT_ONCE}
    provisioned = {"predict": 4, "authorizer": 1, "fallback": 1, "job_run": 0}
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
            timeout_s=RUN_MAX_S if name == "job_run" else 29.0,
            memory_mb=memory_mb[name],
            concurrency_max=concurrency[name],
            provisioned=provisioned[name],
        )
        for name, variables in own.items()
    ]
