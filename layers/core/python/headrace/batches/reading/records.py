"""A line of a file becomes a record, or the reason why it is none.

A line of JSON is a request in the shape of OpenAI's batches (`custom_id`, `method`, `url`, `body`), or bare: the body
itself, with a `custom_id` beside its fields if the caller likes. A bare `s3` is short for `image.s3`. Whatever is wrong
with one line is that line's own: it never touches another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from headrace import strict_json
from headrace.batches.bounds import CUSTOM_ID_MAX_CHARS, RECORD_BYTES_MAX
from headrace.batches.reading.formats import Lines, body_of, id_column_of
from headrace.batches.reading.lines import Row, lines_of, rows_of
from headrace.errors import InvalidRequest

BLANK = b" \t\r\n"
OPENAI_FIELDS = frozenset({"custom_id", "method", "url", "body"})
_OPENAI_MARKS = OPENAI_FIELDS - {"custom_id"}

_MESSAGES = {
    "record_too_long": f"A record may have at most {RECORD_BYTES_MAX} bytes.",
    "csv_invalid": "The row is not CSV (RFC 4180): look for a quote that is not closed, or text behind one that is.",
    "csv_nul": "The row holds a NUL character.",
    "invalid_utf8": "The record must be UTF-8.",
}
_JSON_CODES = {"json_not_utf8": "invalid_utf8"}


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Args:
        line: the number of its first line, counted from 1.
        end: the byte just behind it, within the lines.
        custom_id: the caller's own name for it, if any.
        body: what is asked.
        url: the path it names, or empty (bare).
        openai: whether it came in OpenAI's shape, and is answered in it.
        lines: how many lines it takes (a quoted cell of CSV may hold line ends).
    """

    line: int
    end: int
    custom_id: str | None
    body: dict[str, Any]
    url: str
    openai: bool
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that cannot be asked: the code and the message say why, `field` where. Neither quotes it."""

    line: int
    end: int
    custom_id: str | None
    code: str
    message: str
    field: str = ""
    lines: int = 1


def read_records(chunks: Iterable[bytes], *, lines: Lines, start: int, line: int) -> Iterator[Record | Bad]:
    """The records in a range that begins and ends at record boundaries. Blank lines are passed over.

    Args:
        chunks: the range's bytes.
        lines: what the plan says of the file.
        start: the byte the range begins at.
        line: the number of its first line.
    """
    if lines.format == "csv":
        id_column = id_column_of(lines.columns)
        for row in rows_of(chunks, start=start, line=line):
            if not row.blank:
                yield _from_row(row, lines, id_column)
        return
    for number, (data, end) in enumerate(lines_of(chunks, start=start), start=line):
        if data is None:
            yield Bad(number, end, None, "record_too_long", _MESSAGES["record_too_long"])
        elif data.strip(BLANK):
            yield _from_line(data, number, end)


def custom_id_of(data: bytes) -> str | None:
    """The custom_id of a line of JSON, exactly as `read_records` would tell it, and cheaper where there is none."""
    if b"custom_id" not in data and b"\\" not in data:
        return None
    try:
        value = parse(data)
    except InvalidRequest:
        return None
    if not isinstance(value, dict):
        return None
    custom_id = value.get("custom_id")
    return custom_id if isinstance(custom_id, str) and 0 < len(custom_id) <= CUSTOM_ID_MAX_CHARS else None


_LOOK_CLOSER = re.compile(rb"\\u[dD][89a-fA-F]|[0-9]{%d}" % (strict_json.INTEGER_DIGITS_MAX + 1))


def parse(data: bytes) -> Any:
    """The value of a line of JSON, by the very rules of `headrace.strict_json`; most lines need not be looked at twice.

    Raises:
        InvalidRequest: it is not strict JSON.
    """
    plain = len(data) <= strict_json.INTEGER_DIGITS_MAX and b"\\" not in data
    if data.count(b"{") + data.count(b"[") <= strict_json.DEPTH_MAX and (plain or not _LOOK_CLOSER.search(data)):
        try:
            text = data.strip(BLANK).decode()
            value, end = _DECODER.raw_decode(text)
            if end == len(text):
                return value
        except ValueError:
            pass  # the slow way says what is wrong
    return strict_json.parse(data, bytes_max=RECORD_BYTES_MAX)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError
    return value


def _no_constant(_: str) -> float:
    raise ValueError


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


def _from_line(data: bytes, line: int, end: int) -> Record | Bad:
    try:
        value = parse(data)
    except InvalidRequest as error:
        message = error.message.replace("The body", "The record", 1)  # `body` is a field of OpenAI's shape
        return Bad(line, end, None, _JSON_CODES.get(error.code, error.code), message)
    if not isinstance(value, dict):
        return Bad(line, end, None, "record_not_object", "A record must be a JSON object.")
    custom_id = value.get("custom_id")
    if "custom_id" in value and not (isinstance(custom_id, str) and 0 < len(custom_id) <= CUSTOM_ID_MAX_CHARS):
        message = f"custom_id must be a text of 1 to {CUSTOM_ID_MAX_CHARS} characters."
        return Bad(line, end, None, "invalid_custom_id", message, "custom_id")
    if not _OPENAI_MARKS.isdisjoint(value):
        return _openai(value, custom_id, line, end)
    value.pop("custom_id", None)
    if "s3" in value and "image" not in value:
        value["image"] = {"s3": value.pop("s3")}
    return Record(line, end, custom_id, value, "", openai=False)


def _openai(value: dict[str, Any], custom_id: str | None, line: int, end: int) -> Record | Bad:
    def bad(code: str, message: str, field: str) -> Bad:
        return Bad(line, end, custom_id, code, message, field)

    if custom_id is None:
        return bad("missing_custom_id", "Give each request a custom_id.", "custom_id")
    if not value.keys() <= OPENAI_FIELDS:
        return bad("unknown_field", "A request has custom_id, method, url and body, and nothing else.", "")
    if value.get("method") != "POST":
        return bad("wrong_method", "method must be POST.", "method")
    url, body = value.get("url"), value.get("body")
    if not isinstance(url, str) or not url.startswith("/"):
        return bad("wrong_url", "url must be the path that the batch is for.", "url")
    if not isinstance(body, dict):
        return bad("wrong_body", "body must be a JSON object.", "body")
    return Record(line, end, custom_id, body, url, openai=True)


def _from_row(row: Row, lines: Lines, id_column: int | None) -> Record | Bad:
    custom_id = custom_id_of_row(row, id_column=id_column, columns=len(lines.columns))

    def bad(code: str, message: str, field: str = "") -> Bad:
        return Bad(row.line, row.end, custom_id, code, message, field, row.lines)

    if row.fault:
        # A quote that is not closed takes what follows with it: whoever mends it must know how far.
        taken = f" It takes lines {row.line} to {row.line + row.lines - 1}." if row.lines > 1 else ""
        return bad(row.fault, _MESSAGES[row.fault] + taken)
    if len(row.cells) != len(lines.columns):
        return bad("wrong_column_count", f"The row has {len(row.cells)} cells, the header {len(lines.columns)}.")
    if id_column is not None and custom_id is None and row.cells[id_column]:
        return bad("invalid_custom_id", f"A custom_id may have at most {CUSTOM_ID_MAX_CHARS} characters.", "custom_id")
    try:
        body = body_of(lines.columns, row.cells)
    except InvalidRequest as error:
        return bad(error.code, error.message, error.field or "")
    return Record(row.line, row.end, custom_id, body, "", openai=False, lines=row.lines)


def custom_id_of_row(row: Row, *, id_column: int | None, columns: int) -> str | None:
    """The custom_id of a row of CSV, exactly as `read_records` tells it: an empty cell is none."""
    if row.fault or id_column is None or len(row.cells) != columns:
        return None
    cell = row.cells[id_column]
    return cell if 0 < len(cell) <= CUSTOM_ID_MAX_CHARS else None
