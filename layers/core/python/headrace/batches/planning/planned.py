"""What was decided about a file: how it is read, where it is cut, and which method does it, as it is written down."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from headrace.batches.bounds import TRANSFORM_RECORDS_MAX, TRANSFORM_RECORDS_MIN
from headrace.batches.layout import Shard
from headrace.batches.reading.formats import Column, Lines
from headrace.batches.states import Method
from headrace.catalog import Endpoint
from headrace.tasks.contracts import OBJECT_DETECTION


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan.

    Args:
        lines: how the records are read.
        records: how many there are, bad ones included; blank lines are none.
        blank: lines with nothing on them.
        duplicates: records whose custom_id an earlier one has.
        shards: cover every byte from `lines.start` to `lines.size`, in order.
        method: how it is done.
        reason: why, in words.
        unused: columns that nothing is taken from.
        version: the one that a transform job runs.
    """

    lines: Lines
    records: int
    blank: int
    duplicates: int
    shards: tuple[Shard, ...]
    method: Method
    reason: str
    unused: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """What the state machine goes on with: `none` leads straight to the end.

    `shards_key` names the list to map over, with `shards` entries; it is there for a transform job too, whose failure
    leads to the map. `transform` is the request for that job (SageMaker API reference, CreateTransformJob).
    """

    method: Literal["map", "transform", "none"]
    shards_key: str = ""
    shards: int = 0
    transform: dict[str, Any] | None = None


def choose_method(
    *, records: int, size: int, asked: Literal["auto", "map", "transform"], endpoint: Endpoint
) -> tuple[Method, str]:
    """How to do a file of `records` records and `size` bytes, and why, in words.

    A transform job brings instances of its own, which take minutes to start and cost from then on, and leave online
    traffic alone. Images stay with the map: a job would need each of them copied into its input first.
    """
    rules = endpoint.batch
    needed = TRANSFORM_RECORDS_MIN
    if rules is not None and rules.transform_records_min is not None:
        needed = rules.transform_records_min
    told = f"{records} records in {size} bytes"
    if asked == "map":
        return "map", f"{told}: the map, as asked for."
    if endpoint.task == OBJECT_DETECTION:
        wish = ", although a transform job was asked for" if asked == "transform" else ""
        return "map", f"{told}: the map{wish}: images are read one by one."
    if not endpoint.hosted:
        return "map", f"{told}: the map: the model has no endpoint whose instances a transform job could copy."
    if records > TRANSFORM_RECORDS_MAX and (asked == "transform" or records >= needed):
        return "map", f"{told}: the map: a transform job is prepared for at most {TRANSFORM_RECORDS_MAX} records."
    if asked == "transform":
        return "transform", f"{told}: a transform job, as asked for."
    if records >= needed:
        return "transform", f"{told}: a transform job, as from {needed} records on."
    return "map", f"{told}: the map: a transform job takes over from {needed} records on."


def dump_plan(planned: Planned) -> bytes:
    """The plan as JSON."""
    document = asdict(planned)
    document["shards"] = [shard_document(shard) for shard in planned.shards]
    return json.dumps(document, separators=(",", ":")).encode()


def load_plan(body: bytes) -> Planned:
    """The plan that `dump_plan` wrote."""
    fields = json.loads(body)
    return Planned(
        **{
            **fields,
            "lines": _lines(fields["lines"]),
            "shards": tuple(shard_of(shard) for shard in fields["shards"]),
            "unused": tuple(fields["unused"]),
        }
    )


def load_lines(body: bytes) -> Lines:
    """What a reader of one shard must know of the plan that `dump_plan` wrote: a long list of shards is passed over."""
    return _lines(json.loads(body)["lines"])


def _lines(fields: dict[str, Any]) -> Lines:
    columns = tuple(Column(**column) for column in fields["columns"])
    return Lines(**{**fields, "header": tuple(fields["header"]), "columns": columns})


def shard_document(shard: Shard) -> dict[str, Any]:
    """A shard as the state machine hands it to a scorer."""
    fields = asdict(shard)
    return {"shard": fields.pop("number"), **fields}


def shard_of(document: dict[str, Any]) -> Shard:
    """The shard in what the state machine hands to a scorer."""
    fields = dict(document)
    return Shard(number=fields.pop("shard"), **fields)
