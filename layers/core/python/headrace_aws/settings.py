"""What each function reads from its environment: once, with every missing name reported together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self


class MissingSettings(RuntimeError):
    """Environment variables that must be set; the message names all of them."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Fields map to `HEADRACE_<NAME>`; all are required."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """The settings in an environment.

        Raises:
            MissingSettings: some are absent or empty.
        """
        names = {field.name: f"HEADRACE_{field.name.upper()}" for field in fields(cls)}
        if missing := [name for name in names.values() if not environment.get(name)]:
            raise MissingSettings(f"set {', '.join(missing)}")
        return cls(**{field: environment[name] for field, name in names.items()})


@dataclass(frozen=True, slots=True)
class PredictSettings(_Settings):
    """`functions/predict`. `prefix` begins the name of every SageMaker endpoint; `catalog` is a path."""

    stage: str
    prefix: str
    catalog: str
    inputs_bucket: str
    fallback_function: str
    state_table: str
    keys_table: str
    pepper_secret: str


@dataclass(frozen=True, slots=True)
class AuthorizerSettings(_Settings):
    """`functions/authorizer`."""

    stage: str
    keys_table: str
    pepper_secret: str


@dataclass(frozen=True, slots=True)
class FallbackSettings(_Settings):
    """`functions/fallback`. `rules` is the folder that holds `<endpoint>/rules.py`."""

    stage: str
    catalog: str
    artifacts_bucket: str
    rules: str
