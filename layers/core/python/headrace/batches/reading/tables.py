"""A file of columns (Parquet) becomes lines of JSON, one bare record per row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from headrace.batches.reading.formats import Column, Unusable, body_of, columns_of
from headrace.batches.states import Source
from headrace.catalog import Endpoint
from headrace.tensors import BYTES

Kind = Literal["text", "whole", "number", "truth", "other"]
"""What a column's values are; `other` is everything that is not one plain value, and raw bytes."""

BLOCK_BYTES = 1 << 20
"""Lines are handed on in blocks of about this size."""
KINDS_OF_IDS: tuple[Kind, ...] = ("text", "whole")


class Table(Protocol):
    """A file of columns, opened."""

    @property
    def columns(self) -> tuple[tuple[str, Kind], ...]:
        """Names and kinds, in order."""

    def rows(self, names: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        """The values in these columns, a bounded number of rows at a time; None where there is no value.

        Raises:
            Unusable: the file cannot be read any further.
            UnknownTarget: it is gone.
            StoreUnavailable: it could not be read to the end.
        """


class Tables(Protocol):
    """Files of columns."""

    def open(self, source: Source) -> AbstractContextManager[Table]:
        """The table in a file.

        Raises:
            Unusable: it is none.
            UnknownTarget: it is gone.
            StoreUnavailable: it could not be read.
        """


def lines_of_table(table: Table, *, endpoint: Endpoint, url: str) -> Iterator[bytes]:
    """The table's rows as lines of JSON, in blocks.

    Raises:
        Unusable: a needed column is missing or of the wrong kind, a name comes twice, or the file is broken.
    """
    names = [name for name, _ in table.columns]
    used = [column for column in columns_of(names, endpoint=endpoint, url=url, kind="parquet") if column.role]
    kinds = dict(table.columns)
    wrong = [column.name for column in used if kinds[column.name] not in _kinds_for(column)]
    if wrong:
        raise Unusable(
            f"Column {wrong[0]} must hold {' or '.join(_kinds_for(_named(used, wrong[0])))} values.",
            code="parquet_wrong_types",
        )
    return _lines(table, used)


def _lines(table: Table, used: Sequence[Column]) -> Iterator[bytes]:
    block: list[bytes] = []
    size = 0
    for rows in table.rows([column.name for column in used]):
        for row in rows:
            line = _line(used, row)
            block.append(line)
            size += len(line)
            if size >= BLOCK_BYTES:
                yield b"".join(block)
                block, size = [], 0
    if block:
        yield b"".join(block)


def _line(used: Sequence[Column], row: Sequence[Any]) -> bytes:
    values = [None if isinstance(value, float) and not math.isfinite(value) else value for value in row]
    record: dict[str, Any] = {}
    for column, value in zip(used, values, strict=True):
        if column.role == "custom_id" and value is not None and value != "":
            record["custom_id"] = str(value)
    record |= body_of(used, values)
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _named(columns: Sequence[Column], name: str) -> Column:
    return next(column for column in columns if column.name == name)


def _kinds_for(column: Column) -> tuple[Kind, ...]:
    if column.role == "custom_id":
        return KINDS_OF_IDS
    if column.role == "image" or column.datatype == BYTES:
        return ("text",)
    if column.datatype == "BOOL":
        return ("truth",)
    return ("whole",) if "INT" in column.datatype else ("whole", "number")
