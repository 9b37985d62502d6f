"""The shape of what `endpoint.yaml` says of policy: whom a version serves, what it costs, what is kept, what stands in.

Everything here is optional. What is left out restricts nobody, costs nothing, keeps nothing and stands in for nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.batches.bounds import RECORDS_MAX
from headrace.declaration.shape import (
    COST_CLASS_MAX,
    GROUP_PATTERN,
    INSTANCE_PATTERN,
    LANGUAGE_PATTERN,
    TENANT_PATTERN,
    Declared,
    Milliseconds,
    Name,
    Problem,
    Tier,
)
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace.plans import Unit

CACHE_MAX_S = 2_592_000
"""30 days: what is older belongs into a file."""
ENTRY_MAX_BYTES = 262_144
"""DynamoDB holds 400 KB in one item; 256 KiB of answer leave room for its key and headers."""
UNITS_MAX = 1_000_000_000
TRANSFORM_INSTANCES_MAX = 20
"""SageMaker's default quota of instances for one account's transform jobs is of this order, by type."""
LADDER_MAX = 6

Hardware = Literal["gpu", "cpu"]
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN)]
Tenant = Annotated[str, Field(pattern=TENANT_PATTERN)]
Group = Annotated[str, Field(pattern=GROUP_PATTERN)]
Units = Annotated[int, Field(ge=0, le=UNITS_MAX)]


class ServesDeclaration(Declared):
    """What a version can take and whom it serves; a list that is left out restricts nothing.

    `hardware` and the three bounds are the endpoint's own unless they are said here, and a version that the CPU
    function loads is `cpu` with `cost_class` 0.
    """

    hardware: Hardware | None = None
    cost_class: Annotated[int, Field(ge=0, le=COST_CLASS_MAX)] | None = None
    languages: Annotated[list[Language], Field(max_length=64)] = Field(default_factory=list)
    max_items: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_text_chars: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_payload_bytes: Annotated[int, Field(ge=1, le=PAYLOAD_MAX_BYTES)] | None = None
    tenants: Annotated[list[Tenant], Field(max_length=1000)] = Field(default_factory=list)
    plans: Annotated[list[Name], Field(max_length=32)] = Field(default_factory=list)
    groups: Annotated[list[Group], Field(max_length=32)] = Field(default_factory=list)
    tier_min: Tier = 0


class CostDeclaration(Declared):
    """What one attempt costs, in one unit: a fixed part, a part for each item, and a part for each second it took."""

    unit: Unit
    per_request: Units = 0
    per_item: Units = 0
    per_second: Units = 0


class CacheDeclaration(Declared):
    """How long an answer may be given again. Only for endpoints whose answer to a request is always the same."""

    fresh_s: Annotated[int, Field(ge=1, le=CACHE_MAX_S)]
    stale_s: Annotated[int, Field(ge=1, le=CACHE_MAX_S)]
    shared: bool = False
    entry_bytes_max: Annotated[int, Field(ge=1, le=ENTRY_MAX_BYTES)] = 65_536

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Nothing is stale before it stops to be fresh."""
        if self.stale_s < self.fresh_s:
            raise ValueError("stale_s must be at least fresh_s: it is the whole time that an answer is kept")
        return self


class BatchDeclaration(Declared):
    """How batches ask the endpoint. `transform_instance_type` is the first that the endpoint runs on, unless said here.

    An instance of a transform job is the batch's own; it takes minutes to start, which only many records are worth.
    """

    transform_records_min: Annotated[int, Field(ge=1, le=RECORDS_MAX)] | None = None
    transform_instance_type: Annotated[str, Field(pattern=INSTANCE_PATTERN)] | None = None
    transform_instances: Annotated[int, Field(ge=1, le=TRANSFORM_INSTANCES_MAX)] = 1
    items_per_request_max: Annotated[int, Field(ge=1, le=10_000)] | None = None


class StaleRung(Declared):
    """The last good answer to the same request, although it is no longer fresh."""

    kind: Literal["stale"]
    timeout_ms: Milliseconds = 100


class VariantRung(Declared):
    """Another version on the endpoint."""

    kind: Literal["variant"]
    version: str
    timeout_ms: Milliseconds = 1000


class CpuRung(Declared):
    """The CPU function with a small model."""

    kind: Literal["cpu"]
    version: str
    timeout_ms: Milliseconds = 1000


class RulesRung(Declared):
    """`endpoints/<name>/rules.py` in the CPU function: no model at all."""

    kind: Literal["rules"]
    timeout_ms: Milliseconds = 500


Rung = Annotated[StaleRung | VariantRung | CpuRung | RulesRung, Field(discriminator="kind")]
Ladder = Annotated[list[Rung], Field(max_length=LADDER_MAX)]


def ladder_problems(
    ladder: Ladder, *, hosted: list[str], in_function: list[str], cache: CacheDeclaration | None
) -> list[Problem]:
    """What is wrong with the rungs, given the versions on the endpoint, those of the CPU function, and the cache."""
    problems: list[Problem] = []
    seen: set[tuple[str, str]] = set()
    for index, rung in enumerate(ladder):
        path = ("fallback", index)
        # The stand-in function answers as `cpu` and `rules`, so a second one of a kind could not be told apart.
        same = (rung.kind, rung.version if isinstance(rung, VariantRung) else "")
        if same in seen:
            problems.append((path, "each kind of rung may stand once, and a variant once for each version"))
        seen.add(same)
        match rung:
            case CpuRung() if rung.version not in in_function:
                problems.append(((*path, "version"), "must name one of versions that says `hosting: function`"))
            case VariantRung() if rung.version not in hosted:
                problems.append(((*path, "version"), "must name one of versions that is hosted on the endpoint"))
            case VariantRung() if hosted == [rung.version]:
                problems.append(((*path, "version"), "is the only version on the endpoint, so it stands in for none"))
            case StaleRung() if cache is None:
                problems.append((path, "needs cache: nothing is kept without it"))
            case StaleRung() if cache is not None and cache.stale_s == cache.fresh_s:
                problems.append((path, "needs cache.stale_s above cache.fresh_s: nothing is ever stale before it goes"))
            case _:
                pass
    return problems
