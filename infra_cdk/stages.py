"""What differs between stages, and nothing else: `dev` is cheap and goes with its stacks, `prod` keeps its data.

Even `dev` does not go by itself and not wholly: its buckets must be emptied before their stack can be deleted, and the
layers (a rollback may need them) and API Gateway's CloudWatch role (an account has one) stay; see `docs/deploy.md`.

Everything not named here is the same everywhere, so that what was tried in one stage is what runs in the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace.authentication.issuers import parse_issuers
from headrace.batches.bounds import (
    FINISH_TIMEOUT_S,
    NOTIFY_TIMEOUT_S,
    PLAN_TIMEOUT_S,
    SCORE_TIMEOUT_S,
    SHARDS_AT_ONCE,
    START_TIMEOUT_S,
)
from headrace.jobs.states import RUN_MAX_S
from headrace.rollouts.shadowing import FUNCTION_TIMEOUT_S as SHADOW_TIMEOUT_S
from headrace.rollouts.states import TURN_TIMEOUT_S

OIDC_ISSUERS_BYTES_MAX = 3_000
"""Lambda allows 4 KB for all variables of a function together (Lambda quotas); the others need their part."""


@dataclass(frozen=True, slots=True)
class FunctionScale:
    """How one function starts and how far it may scale.

    `memory_mb` buys CPU as well: 1,769 MB is one whole vCPU (AWS Lambda developer guide, "Configure memory").
    `reserved_concurrency` None leaves the function in the account's shared pool, which is all a new account has.
    `provisioned_concurrency` and `snap_start` exclude each other on Lambda. `scratch_mb` is the size of /tmp, of which
    SnapStart takes no more than the default.
    """

    memory_mb: int
    timeout_s: int
    reserved_concurrency: int | None = None
    provisioned_concurrency: int = 0
    snap_start: bool = False
    scratch_mb: int = 512

    def __post_init__(self) -> None:
        """Refuse what Lambda would refuse only at deployment."""
        if self.snap_start and self.provisioned_concurrency:
            raise ValueError("a function has SnapStart or provisioned concurrency, not both: set one of them")


@dataclass(frozen=True, slots=True)
class StageSettings:
    """One stage. `capacity_max_instances` caps every endpoint's declared capacity; None takes it as declared.

    `oidc_issuers` is the JSON list of token issuers that the stage trusts beside its API keys, as
    `headrace.authentication.issuers` reads it.

    Raises:
        ValueError: that list cannot be used.
    """

    name: str
    keep_data: bool
    log_retention_days: int
    inputs_retention_days: int
    firewall: bool
    firewall_requests_per_5_min: int
    throttle_rate_per_s: int
    throttle_burst: int
    capacity_max_instances: int | None
    functions: dict[str, FunctionScale]
    oidc_issuers: str = "[]"

    def __post_init__(self) -> None:
        """Refuse what the authorizer would refuse only when it starts."""
        if len(self.oidc_issuers.encode()) > OIDC_ISSUERS_BYTES_MAX:
            raise ValueError(
                f"{self.name}: oidc_issuers has more than {OIDC_ISSUERS_BYTES_MAX} bytes: name fewer issuers"
            )
        parse_issuers(self.oidc_issuers)

    @property
    def prefix(self) -> str:
        """The first part of every name that this stage owns."""
        return f"headrace-{self.name}"


_ARTIFACTS_MB = 2048
"""Packed and unpacked artifacts of a few small models side by side."""
_SCRATCH_MB = 4096
"""Ten million records' names, as digests in an index, take less than a gigabyte."""

_BATCH_FUNCTIONS = {
    "batch_start": FunctionScale(memory_mb=1024, timeout_s=START_TIMEOUT_S),
    # Plans read and write gigabytes in one pass: a whole vCPU and some. On disk lie the names that records have.
    "batch_plan": FunctionScale(memory_mb=3008, timeout_s=PLAN_TIMEOUT_S, scratch_mb=_SCRATCH_MB),
    "batch_score": FunctionScale(memory_mb=1769, timeout_s=SCORE_TIMEOUT_S),
    "batch_finish": FunctionScale(memory_mb=1769, timeout_s=FINISH_TIMEOUT_S),
    "notify": FunctionScale(memory_mb=512, timeout_s=NOTIFY_TIMEOUT_S),
}
_ROLLOUT_FUNCTIONS = {
    "rollout_step": FunctionScale(memory_mb=512, timeout_s=TURN_TIMEOUT_S),
    "shadow": FunctionScale(memory_mb=1024, timeout_s=int(SHADOW_TIMEOUT_S)),
}
_ROLLOUT_CONCURRENCY = {
    "rollout_step": 10,
    # Copies wait for their turn and may be lost: they are never in the way of anything else.
    "shadow": 4,
}
_BATCH_CONCURRENCY = {
    "batch_start": 10,
    "batch_plan": 10,
    # Six batches at full speed; more of them share it. What online traffic has reserved, no batch can take.
    "batch_score": 6 * SHARDS_AT_ONCE,
    "batch_finish": 10,
    "notify": 10,
}

DEV = StageSettings(
    name="dev",
    keep_data=False,
    log_retention_days=30,
    inputs_retention_days=1,
    firewall=False,
    firewall_requests_per_5_min=2_000,
    throttle_rate_per_s=50,
    throttle_burst=100,
    capacity_max_instances=1,
    functions={
        "authorizer": FunctionScale(memory_mb=1024, timeout_s=5),
        "predict": FunctionScale(memory_mb=1769, timeout_s=29),
        "fallback": FunctionScale(memory_mb=3538, timeout_s=29, scratch_mb=_ARTIFACTS_MB),
        "job_run": FunctionScale(memory_mb=512, timeout_s=int(RUN_MAX_S)),
        **_BATCH_FUNCTIONS,
        **_ROLLOUT_FUNCTIONS,
    },
)

PROD = StageSettings(
    name="prod",
    keep_data=True,
    log_retention_days=90,
    inputs_retention_days=7,
    firewall=True,
    firewall_requests_per_5_min=20_000,
    throttle_rate_per_s=1_000,
    throttle_burst=2_000,
    capacity_max_instances=None,
    functions={
        # SnapStart and not provisioned concurrency: what idles is a stored snapshot and not running memory.
        "authorizer": FunctionScale(memory_mb=1024, timeout_s=5, reserved_concurrency=200, snap_start=True),
        "predict": FunctionScale(memory_mb=1769, timeout_s=29, reserved_concurrency=400, snap_start=True),
        # One environment is always warm, with its models loaded: a stand-in that starts cold inside its 800 ms rung is
        # none. It is the one always-on cost beside the GPUs. SnapStart would not do: it takes no /tmp of this size.
        "fallback": FunctionScale(
            memory_mb=3538,
            timeout_s=29,
            reserved_concurrency=100,
            provisioned_concurrency=1,
            scratch_mb=_ARTIFACTS_MB,
        ),
        # It waits for predict: one in twenty of predict's environments at the most, so that jobs starve nobody.
        "job_run": FunctionScale(memory_mb=512, timeout_s=int(RUN_MAX_S), reserved_concurrency=20),
        **{
            name: replace(scale, reserved_concurrency=({**_BATCH_CONCURRENCY, **_ROLLOUT_CONCURRENCY})[name])
            for name, scale in (*_BATCH_FUNCTIONS.items(), *_ROLLOUT_FUNCTIONS.items())
        },
    },
)

STAGES = {stage.name: stage for stage in (DEV, PROD)}


def stage_named(name: str) -> StageSettings:
    """The stage called `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in STAGES:
        raise ValueError(f"no stage is called {name!r}: pass -c stage={'|'.join(STAGES)}")
    return STAGES[name]
