"""The functions as the local platform runs them: the same code, handler strings and variables as deployed."""

from collections.abc import Mapping
from pathlib import Path

from infra_local.lambda_environment import FunctionSpec
from infra_local.names import STAGE, Names

ROOT = Path(__file__).resolve().parent.parent
"""The repository: what a function's zip is cut from."""


def platform_functions(names: Names, *, catalog: Path, endpoints: Path, aws: Mapping[str, str]) -> list[FunctionSpec]:
    """Returns every function of the platform.

    Args:
        names: What everything is called.
        catalog: The compiled catalog.
        endpoints: The folder of declarations, where the rules lie too.
        aws: Variables that point boto3 at the local platform.
    """
    own = {
        "predict": {
            "HEADRACE_PREFIX": names.prefix,
            "HEADRACE_CATALOG": str(catalog),
            "HEADRACE_INPUTS_BUCKET": names.inputs_bucket,
            "HEADRACE_FALLBACK_FUNCTION": names.fallback,
        },
        "authorizer": {"HEADRACE_KEYS_TABLE": names.keys_table, "HEADRACE_PEPPER_SECRET": names.pepper_secret},
        "fallback": {
            "HEADRACE_CATALOG": str(catalog),
            "HEADRACE_ARTIFACTS_BUCKET": names.artifacts_bucket,
            "HEADRACE_RULES": str(endpoints.resolve()),
        },
    }
    temporary = catalog.parent / "tmp"  # what /tmp is on Lambda
    temporary.mkdir(exist_ok=True)
    memory_mb = {"predict": 1024, "authorizer": 512, "fallback": 2048}
    concurrency = {"predict": 8, "authorizer": 4, "fallback": 2}
    provisioned = {"predict": 4, "authorizer": 1, "fallback": 1}
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
            timeout_s=29.0,
            memory_mb=memory_mb[name],
            concurrency_max=concurrency[name],
            provisioned=provisioned[name],
        )
        for name, variables in own.items()
    ]
