"""What a file may hold: which columns a task takes, and what a reader must know to read a range of a file.

| task                | needs              | takes as well                        |
| ------------------- | ------------------ | ------------------------------------ |
| text-classification | `input` or `text`  | `custom_id` or `id`                  |
| object-detection    | `s3`               | the same, `threshold`, `max_detections` |
| any, through `/v2`  | every input tensor | `custom_id` or `id`                  |

Other columns are passed over, and the plan names them. Of two names for the same thing the first one counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from headrace.batches.bounds import COLUMNS_MAX
from headrace.batches.states import Problem
from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION
from headrace.tensors import BYTES

Role = Literal["", "custom_id", "field", "image", "tensor"]
IDS = ("custom_id", "id")
NAMES_TOLD_MAX = 10
"""Columns that a message lists."""
NAME_TOLD_MAX_CHARS = 64

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NUMBER_MAX_CHARS = 400
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


class Unusable(InvalidRequest):
    """The file as a whole cannot be used; `line` is where that shows, 0 for nowhere in particular."""

    code = "file_unusable"

    def __init__(self, message: str, *, code: str, line: int = 0) -> None:
        super().__init__(message, code=code)
        self.line = line

    @property
    def problem(self) -> Problem:
        """It, as the batch's record keeps it."""
        return Problem(self.code, self.message, self.line)


@dataclass(frozen=True, slots=True)
class Column:
    """What one column becomes in a record's body.

    Args:
        name: as the header has it.
        role: the record's id, a field of the body, the image's address, an input tensor, or nothing.
        field: the field's or the tensor's name.
        datatype: as the Open Inference Protocol calls it.
        rank: the tensor's dimensions, each of size 1.
        needed: whether an empty cell stays in the body, for the task to refuse; else it is left out.
    """

    name: str
    role: Role = ""
    field: str = ""
    datatype: str = BYTES
    rank: int = 1
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """The records as lines: what one must know to read a range of them.

    Args:
        format: how a line is read.
        staged: whether they lie in the batch's own folder, because the file itself is not lines.
        size: in bytes, all of it.
        header: the names of the columns (CSV).
        start: the byte where records begin, behind a byte order mark and a header.
        columns: what each column of `header` means.
    """

    format: Literal["jsonl", "csv"]
    staged: bool
    size: int
    header: tuple[str, ...] = ()
    start: int = 0
    columns: tuple[Column, ...] = ()


_TAKEN: dict[str, tuple[tuple[tuple[str, ...], Column], ...]] = {
    TEXT_CLASSIFICATION: ((("input", "text"), Column("", "field", "input", needed=True)),),
    OBJECT_DETECTION: (
        (("s3",), Column("", "image", "image", needed=True)),
        (("threshold",), Column("", "field", "threshold", "FP64")),
        (("max_detections",), Column("", "field", "max_detections", "INT64")),
    ),
}
"""What each task takes, by the names a column may have."""


def columns_of(
    names: Sequence[str], *, endpoint: Endpoint, url: str, kind: Literal["csv", "parquet"]
) -> tuple[Column, ...]:
    """What the columns called `names` mean to records that are requests to `url`.

    Raises:
        Unusable: too many columns, one name twice, or a needed one missing.
    """
    if len(names) > COLUMNS_MAX:
        raise Unusable(f"A file may have at most {COLUMNS_MAX} columns.", code=f"{kind}_too_many_columns", line=1)
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if name in seen:
            raise Unusable(
                f"Column {number} has the name of an earlier one: name each column once.",
                code=f"{kind}_repeated_column",
                line=1,
            )
        seen.add(name)
    taken: dict[str, Column] = {}
    for aliases, column in ((IDS, Column("", "custom_id")), *_wanted(endpoint, url)):
        found = [alias for alias in aliases if alias in seen]
        if found:
            taken[found[0]] = column
        elif column.needed:
            raise Unusable(
                f"A column called {' or '.join(aliases)} is needed; the file has {_told(names)}.",
                code=f"{kind}_missing_column",
                line=1,
            )
    return tuple(replace(taken.get(name, Column("")), name=name) for name in names)


def id_column_of(columns: Sequence[Column]) -> int | None:
    """The position of the column that is the custom_id, if there is one."""
    return next((index for index, column in enumerate(columns) if column.role == "custom_id"), None)


def body_of(columns: Sequence[Column], values: Sequence[Any]) -> dict[str, Any]:
    """The body of the record that has these values: texts, or what they stand for.

    Raises:
        InvalidRequest: a value is not of its column's datatype; `field` is the column's name.
    """
    body: dict[str, Any] = {}
    tensors: list[dict[str, Any]] = []
    for column, value in zip(columns, values, strict=True):
        if not column.needed and (value is None or value == ""):
            continue
        match column.role:
            case "field":
                body[column.field] = _converted(value, column)
            case "image":
                body["image"] = {"s3": value}
            case "tensor":
                data = [_converted(value, column)]
                shape = [1] * column.rank
                tensors.append({"name": column.field, "shape": shape, "datatype": column.datatype, "data": data})
    if tensors:
        body["inputs"] = tensors
    return body


def _wanted(endpoint: Endpoint, url: str) -> tuple[tuple[tuple[str, ...], Column], ...]:
    if not url.startswith("/v2/") and endpoint.task in _TAKEN:
        return _TAKEN[endpoint.task]
    return tuple(
        ((spec.name,), Column("", "tensor", spec.name, spec.datatype, len(spec.shape), needed=True))
        for spec in endpoint.inputs
    )


def _converted(value: Any, column: Column) -> Any:
    """A cell's text as its datatype; what is no text is it already."""
    if column.datatype == BYTES or not isinstance(value, str):
        return value
    text = value.strip()
    if column.datatype == "BOOL" and text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    if "INT" in column.datatype and _INTEGER.fullmatch(text):
        return int(text)
    if "F" in column.datatype and len(text) <= _NUMBER_MAX_CHARS and _NUMBER.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
    raise InvalidRequest(
        f"The cell is no {column.datatype}.", code="wrong_cell", field=column.name[:NAME_TOLD_MAX_CHARS]
    )


def _told(names: Sequence[str]) -> str:
    told = ", ".join(name[:NAME_TOLD_MAX_CHARS] or "(no name)" for name in names[:NAMES_TOLD_MAX])
    return told + (f" and {len(names) - NAMES_TOLD_MAX} more" if len(names) > NAMES_TOLD_MAX else "")
