"""A shard's records on their way, in the order of the input: asked in any order, written in this one.

What is finished at the front goes into the part at hand; what waits behind an unfinished record waits here. Both are
bounded in bytes, so that neither a slow record nor a slow store lets memory grow.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from headrace.batches.bounds import PART_BYTES_MAX
from headrace.batches.reading.records import Bad, Record
from headrace.batches.scoring.asking import Ask
from headrace.batches.scoring.parts import Header
from headrace.batches.states import Counts

RECORDS_MAX = 4_096
BYTES_MAX = 16 << 20
"""Of records that are not yet in a part, as they came and as they are answered."""
RECORD_BYTES = 256
"""What one record weighs at least."""

Kind = Literal["", "result", "degraded", "error"]


class Entry:
    """One record: where it ends, what it asks, how often that failed, and its line once it is over."""

    __slots__ = ("ask", "attempts", "end", "kind", "next_line", "record", "size", "text")

    def __init__(self, record: Record | Bad) -> None:
        self.record: Record | Bad | None = record
        self.end = record.end
        self.next_line = record.line + record.lines
        self.ask: Ask | None = None
        self.attempts = 0
        self.size = RECORD_BYTES
        self.kind: Kind = ""
        self.text = b""


@dataclass(frozen=True, slots=True)
class Part:
    """A part, ready to be written."""

    header: Header
    results: list[bytes]
    errors: list[bytes]


class Window:
    """The records behind `at`, whose first line is number `line`."""

    def __init__(self, *, at: int, line: int) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._begin(at, line)

    def _begin(self, at: int, line: int) -> None:
        self._start = self._end = at
        self._line = line
        self._results: list[bytes] = []
        self._errors: list[bytes] = []
        self._sizes = [0, 0]
        self._degraded = 0

    @property
    def waiting(self) -> int:
        """Records that are in no part yet."""
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether no more records should be read now."""
        return len(self._entries) >= RECORDS_MAX or self._bytes >= BYTES_MAX

    @property
    def part_full(self) -> bool:
        """Whether the part at hand should be written before anything is added to it."""
        return sum(self._sizes) >= PART_BYTES_MAX

    @property
    def part_records(self) -> int:
        """Records in the part at hand."""
        return len(self._results) + len(self._errors)

    @property
    def start(self) -> int:
        """Where the part at hand begins."""
        return self._start

    def add(self, entry: Entry) -> None:
        """A record was read."""
        self._entries.append(entry)
        self._bytes += entry.size

    def grew(self, entry: Entry, size: int) -> None:
        """A record turned out to hold so many bytes."""
        self._bytes += size
        entry.size += size

    def collect(self) -> None:
        """Put into the part at hand what is finished at the front."""
        entries = self._entries
        while entries and entries[0].kind and not self.part_full:
            entry = entries.popleft()
            self._bytes -= entry.size
            bad = entry.kind == "error"
            (self._errors if bad else self._results).append(entry.text)
            self._sizes[bad] += len(entry.text)
            self._degraded += entry.kind == "degraded"
            self._end, self._line = entry.end, entry.next_line

    def cut(self, *, end: int | None = None) -> Part:
        """The part at hand; the next one begins behind it. `end` is the shard's, when nothing more comes."""
        results, errors = len(self._results), len(self._errors)
        part = Part(
            Header(
                start=self._start,
                end=self._end if end is None else end,
                line=self._line,
                counts=Counts(results + errors, results, errors, self._degraded),
                results_bytes=self._sizes[0],
                errors_bytes=self._sizes[1],
            ),
            self._results,
            self._errors,
        )
        self._begin(part.header.end, part.header.line)
        return part
