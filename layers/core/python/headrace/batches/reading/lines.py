"""Bytes as they come become lines and rows, and every one of them knows the byte behind it.

A line ends with LF; a CR before it belongs to the ending. A row of a CSV file (RFC 4180) is what Python's `csv` makes
of one line, or of several where a quoted field holds a line's end: the boundaries are the parser's own, so that reading
from any boundary on gives the same rows as reading everything.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headrace.batches.bounds import RECORD_BYTES_MAX

LF = b"\n"


def lines_of(chunks: Iterable[bytes], *, start: int = 0) -> Iterator[tuple[bytes | None, int]]:
    """Each line without its LF, and the byte just behind it; None for a line beyond `RECORD_BYTES_MAX`.

    Args:
        chunks: of any sizes.
        start: the byte that the first chunk begins at.
    """
    at, held, size = start, [b""], 0
    for chunk in chunks:
        if LF not in chunk:
            size += len(chunk)
            if size <= RECORD_BYTES_MAX:
                held.append(chunk)
            else:
                held.clear()  # nobody will read it: only its length counts
            continue
        pieces = chunk.split(LF)
        size += len(pieces[0])
        at += size + 1
        held.append(pieces[0])
        yield (None if size > RECORD_BYTES_MAX else b"".join(held)), at
        for piece in pieces[1:-1]:
            at += len(piece) + 1
            yield (None if len(piece) > RECORD_BYTES_MAX else piece), at
        held, size = [pieces[-1]], len(pieces[-1])
    if size:
        yield (None if size > RECORD_BYTES_MAX else b"".join(held)), at + size


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the number of its first line, how many lines it has, the byte behind it, and its cells.

    `fault` is a code instead of cells: `record_too_long`, `csv_invalid`, `invalid_utf8` or `csv_nul`. A blank line is a
    row without cells.
    """

    line: int
    lines: int
    end: int
    cells: list[str]
    fault: str = ""

    @property
    def blank(self) -> bool:
        """Whether it is a line with nothing on it."""
        return not self.cells and not self.fault


def rows_of(chunks: Iterable[bytes], *, start: int = 0, line: int = 1) -> Iterator[Row]:
    """The rows of a CSV file from byte `start` and line number `line` on.

    A row beyond `RECORD_BYTES_MAX` ends with the line on which it grew too long, and so does one that is not CSV with
    the line on which that shows: a quote that is never closed costs its surroundings, not the rest of the file.
    """
    csv.field_size_limit(RECORD_BYTES_MAX)  # the parser's own default is far below ours
    feed = _Feed(lines_of(chunks, start=start))
    reader = csv.reader(feed, strict=True)
    while True:
        feed.begin()
        fault, cells = "", []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLong:
            fault = "record_too_long"
        except csv.Error:
            fault = "csv_invalid"
        if feed.suspect and not fault:
            text = "".join(cells)
            fault = "csv_nul" if "\0" in text else ""
            try:
                text.encode()
            except UnicodeEncodeError:
                fault, cells = "invalid_utf8", []
        yield Row(line, feed.lines, feed.end, cells, fault)
        line += feed.lines


class _TooLong(Exception):
    """The row has grown beyond its bound."""


class _Feed:
    """Lines for the parser, and how many of them the row at hand has taken."""

    def __init__(self, lines: Iterator[tuple[bytes | None, int]]) -> None:
        self._lines = lines
        self.begin()
        self.end = 0

    def begin(self) -> None:
        """A row begins."""
        self.lines = self._bytes = 0
        self.suspect = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        data, self.end = next(self._lines)
        self.lines += 1
        self._bytes += RECORD_BYTES_MAX + 1 if data is None else len(data) + 1
        if data is None or self._bytes > RECORD_BYTES_MAX + 1:
            raise _TooLong
        if data.isascii() and b"\0" not in data:
            return data.decode() + "\n"
        self.suspect = True
        # What is not UTF-8 must not move the boundaries: it becomes lone surrogates, which the row is searched for.
        return data.decode(errors="surrogateescape") + "\n"
