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

    `jobs_queue` is a URL.
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
    """`functions/job_run`. `jobs_queue` is a URL, `predict_function` the ARN of an alias, or a name."""

    stage: str
    state_table: str
    jobs_bucket: str
    jobs_queue: str
    predict_function: str
