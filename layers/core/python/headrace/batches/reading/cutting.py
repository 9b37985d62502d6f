"""One pass over the lines cuts them into shards, counts what is in them, and finds ids that came before.

A shard is full when it has its bytes or its records; it ends where the next record begins, so that blank lines at its
end are still its own and the shards cover every byte from the first record's line to the end of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headrace.batches.bounds import INPUT_BYTES_MAX, RECORDS_MAX, SHARD_BYTES_MIN, SHARD_RECORDS_MAX, SHARDS_MAX
from headrace.batches.layout import Shard
from headrace.batches.reading.duplicates import SeenIds, key_of
from headrace.batches.reading.formats import Unusable
from headrace.batches.reading.lines import Row, lines_of
from headrace.batches.reading.records import BLANK, custom_id_of, custom_id_of_row

Entry = tuple[int, int, bool, str | None]
"""A record or a blank line: the byte behind it, how many lines it has, whether it is blank, its custom_id if any."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One shard, the lines in it whose custom_id came before, and how many blank lines it holds."""

    shard: Shard
    duplicates: tuple[int, ...]
    blank: int


def shard_bytes(size: int | None) -> int:
    """How many bytes fill a shard of a file of `size` bytes (None: not known yet), so that `SHARDS_MAX` holds.

    Shards that are full of records rather than bytes can be no more than `RECORDS_MAX` / `SHARD_RECORDS_MAX`.
    """
    by_bytes = SHARDS_MAX - RECORDS_MAX // SHARD_RECORDS_MAX - 1
    return max(SHARD_BYTES_MIN, -(-(INPUT_BYTES_MAX if size is None else size) // by_bytes))


def json_entries(chunks: Iterable[bytes], *, start: int) -> Iterator[Entry]:
    """The entries of lines of JSON from byte `start` on."""
    for data, end in lines_of(chunks, start=start):
        if data is None:
            yield end, 1, False, None
        elif data.strip(BLANK):
            yield end, 1, False, custom_id_of(data)
        else:
            yield end, 1, True, None


def csv_entries(rows: Iterable[Row], *, id_column: int | None, columns: int) -> Iterator[Entry]:
    """The entries of the rows of a CSV file."""
    for row in rows:
        yield row.end, row.lines, row.blank, custom_id_of_row(row, id_column=id_column, columns=columns)


def cut(
    entries: Iterable[Entry],
    *,
    start: int,
    line: int,
    seen: SeenIds,
    bytes_min: int,
    records_max: int = SHARD_RECORDS_MAX,
    total_max: int = RECORDS_MAX,
) -> Iterator[Cut]:
    """The shards.

    Args:
        entries: everything from byte `start` on, in order.
        start: where the first shard begins.
        line: the number of the line there, counted from 1.
        seen: nothing yet.
        bytes_min: a shard of this many bytes is full.
        records_max: and so is one of this many records.
        total_max: records that the whole may have, and blank lines.

    Raises:
        Unusable: it has more.
    """
    number = total = blanks = 0
    records = blank = 0
    first, end, first_line = start, start, line
    keys: list[bytes] = []
    lines: list[int] = []

    def closed() -> Cut:
        duplicates = tuple(lines[position] for position in seen.add(keys)) if keys else ()
        keys.clear()
        lines.clear()
        return Cut(Shard(number, first, end, first_line, records, bool(duplicates)), duplicates, blank)

    for behind, height, is_blank, custom_id in entries:
        if is_blank:
            blank += 1
            blanks += 1
            if blanks > total_max:
                raise Unusable(
                    f"A file may have at most {total_max} blank lines.", code="too_many_blank_lines", line=line
                )
        else:
            if records and (records >= records_max or end - first >= bytes_min):
                yield closed()
                number += 1
                first, first_line, records, blank = end, line, 0, 0
            records += 1
            total += 1
            if total > total_max:
                raise Unusable(f"A file may have at most {total_max} records.", code="too_many_records", line=line)
            if custom_id is not None:
                keys.append(key_of(custom_id))
                lines.append(line)
        end = behind
        line += height
    if end > first:
        yield closed()
