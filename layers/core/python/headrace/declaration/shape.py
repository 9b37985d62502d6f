"""What every declared value has in common: no unknown fields, no coercion, and the patterns of names."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from headrace.limits import DEADLINE_MAX_MS

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$"
VERSION_PATTERN = r"^[a-z0-9][a-z0-9-]{0,30}$"
TENANT_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""As `headrace.authentication.api_keys` makes them."""
GROUP_PATTERN = r"^[a-z0-9][a-z0-9-]{0,30}$"
LANGUAGE_PATTERN = r"^[a-z]{2,3}$"
"""A primary language subtag of BCP 47, in lower case."""
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
INSTANCE_PATTERN = r"^ml\.[a-z0-9-]+\.[a-z0-9]+$"
TIER_MAX = 9
COST_CLASS_MAX = 9

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Milliseconds = Annotated[int, Field(ge=1, le=DEADLINE_MAX_MS)]
Tier = Annotated[int, Field(ge=0, le=TIER_MAX)]
Path = tuple[str | int, ...]
Problem = tuple[Path, str]
"""Where, and what to do."""


class Declared(BaseModel):
    """Unknown fields are mistakes, and nothing is coerced from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
