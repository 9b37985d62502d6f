"""What each function reads from its environment: once, with every missing name reported together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Self


class MissingSettings(RuntimeError):
    """Environment variables that must be set; the message names all of them."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Fields map to `HEADRACE_<NAME>`; those without a default are required, and an empty one counts as missing."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """The settings in an environment.

        Raises:
            MissingSettings: some that are required are absent or empty.
        """
        names = {field.name: f"HEADRACE_{field.name.upper()}" for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if missing := [name for field, name in names.items() if field in required and not environment.get(name)]:
            raise MissingSettings(f"set {', '.join(missing)}")
        return cls(**{field: environment[name] for field, name in names.items() if environment.get(name)})


@dataclass(frozen=True, slots=True)
class PredictSettings(_Settings):
    """`functions/predict`. `prefix` begins the name of every SageMaker endpoint; `catalog` is a path.

    `jobs_queue` is a URL, `state_machine` an ARN, `inputs_key` that of the KMS key that uploads are encrypted under
    (empty: S3's own). `shadow_queue` is a URL too; without it no request is copied. `webhooks_loopback` is for the
    laptop: with any value, ends may be told to this machine.
    """

    stage: str
    prefix: str
    catalog: str
    inputs_bucket: str
    fallback_function: str
    state_table: str
    keys_table: str
    pepper_secret: str
    jobs_bucket: str
    jobs_queue: str
    batches_bucket: str
    state_machine: str
    inputs_key: str = ""
    webhooks_loopback: str = ""
    shadow_queue: str = ""


@dataclass(frozen=True, slots=True)
class AuthorizerSettings(_Settings):
    """`functions/authorizer`. `oidc_issuers` is the JSON that `headrace.authentication.issuers` describes."""

    stage: str
    keys_table: str
    pepper_secret: str
    oidc_issuers: str = "[]"


@dataclass(frozen=True, slots=True)
class FallbackSettings(_Settings):
    """`functions/fallback`. `rules` is the folder that holds `<endpoint>/rules.py`."""

    stage: str
    catalog: str
    artifacts_bucket: str
    rules: str


@dataclass(frozen=True, slots=True)
class JobRunSettings(_Settings):
    """`functions/job_run`. Queues are URLs, `predict_function` is the ARN of an alias, or a name."""

    stage: str
    state_table: str
    jobs_bucket: str
    jobs_queue: str
    notices_queue: str
    predict_function: str


@dataclass(frozen=True, slots=True)
class NotifySettings(_Settings):
    """`functions/notify`. `notices_queue` is a URL; `webhooks_loopback` as in `PredictSettings`."""

    stage: str
    state_table: str
    notices_queue: str
    pepper_secret: str
    webhooks_loopback: str = ""


@dataclass(frozen=True, slots=True)
class ShadowSettings(_Settings):
    """`functions/shadow`. `prefix` begins the name of every SageMaker endpoint; `catalog` is a path."""

    stage: str
    prefix: str
    catalog: str
    jobs_bucket: str
    state_table: str


@dataclass(frozen=True, slots=True)
class RolloutStepSettings(_Settings):
    """`functions/rollout_step`. `prefix` begins the name of every SageMaker endpoint; `catalog` is a path.

    `rollout_machine` is the ARN of the state machine that calls it.
    """

    stage: str
    prefix: str
    catalog: str
    state_table: str
    rollout_machine: str


@dataclass(frozen=True, slots=True)
class BatchStartSettings(_Settings):
    """`functions/batch_start`. `catalog` is a path, `state_machine` an ARN."""

    stage: str
    catalog: str
    inputs_bucket: str
    batches_bucket: str
    state_table: str
    keys_table: str
    state_machine: str
    webhooks_loopback: str = ""


@dataclass(frozen=True, slots=True)
class BatchPlanSettings(_Settings):
    """`functions/batch_plan`. `prefix` begins the name of every SageMaker model and job."""

    stage: str
    prefix: str
    catalog: str
    inputs_bucket: str
    batches_bucket: str
    state_table: str


@dataclass(frozen=True, slots=True)
class BatchScoreSettings(_Settings):
    """`functions/batch_score`. `prefix` begins the name of every SageMaker endpoint."""

    stage: str
    prefix: str
    catalog: str
    inputs_bucket: str
    batches_bucket: str
    state_table: str
    fallback_function: str


@dataclass(frozen=True, slots=True)
class BatchFinishSettings(_Settings):
    """`functions/batch_finish`. `notices_queue` is a URL."""

    stage: str
    catalog: str
    inputs_bucket: str
    batches_bucket: str
    state_table: str
    notices_queue: str
