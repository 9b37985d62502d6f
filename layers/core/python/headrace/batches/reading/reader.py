"""The one pass over a file: it becomes lines where it is none, and the lines are cut into shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from headrace.batches.bounds import INPUT_BYTES_MAX
from headrace.batches.layout import Shard, duplicates_key, staged_key
from headrace.batches.reading.cutting import Entry, csv_entries, cut, json_entries, shard_bytes
from headrace.batches.reading.duplicates import SeenIds
from headrace.batches.reading.formats import Column, Lines, Unusable, columns_of, id_column_of
from headrace.batches.reading.lines import rows_of
from headrace.batches.reading.manifests import BOM, form_of, lines_of_manifest
from headrace.batches.reading.staging import inflated, teed
from headrace.batches.reading.tables import Tables, lines_of_table
from headrace.batches.states import Batch
from headrace.batches.storage import Objects, Sources, Streams
from headrace.catalog import Endpoint

LOOK_SHARDS = 64
"""After so many shards the pass asks whether it is still wanted."""
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
"""UTF-16 and UTF-32 begin with one of these."""
_NO_TEXT = {
    b"\x1f\x8b": "gzip: let its name end in .gz",
    b"PAR1": "Parquet: let its name end in .parquet, or send format",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: send what is in it as .csv or .jsonl",
}
"""What files begin with that are given as lines now and then. Each line would be an error, and none would say why."""
_FIRST_BYTES = 4


class Unwanted(Exception):
    """The batch was cancelled while it was planned."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What the pass found: how the lines are read, what is in them, and where they are cut."""

    lines: Lines
    shards: tuple[Shard, ...]
    blank: int
    duplicates: int

    @property
    def records(self) -> int:
        """How many records there are."""
        return sum(shard.records for shard in self.shards)


@dataclass(slots=True)
class _Counted:
    """Chunks, counted as they pass."""

    chunks: Iterable[bytes]
    size: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.size += len(chunk)
            yield chunk


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads files at the version their batch holds on to.

    Args:
        sources: the files.
        tables: those among them that have columns instead of lines.
        objects, streams: the batches' own bucket.
        ids: an empty memory of ids, for one pass.
        inputs_bucket: where a manifest's objects must lie.
    """

    sources: Sources
    tables: Tables
    objects: Objects
    streams: Streams
    ids: Callable[[], AbstractContextManager[SeenIds]]
    inputs_bucket: str

    def read(self, batch: Batch, endpoint: Endpoint, *, wanted: Callable[[], bool]) -> Pass:
        """The pass. Doing it again writes the same things in the same places.

        Args:
            batch: whose file is read.
            endpoint: what its records ask.
            wanted: asked now and then.

        Raises:
            Unusable: the file as a whole cannot be used.
            UnknownTarget: it is gone, or this version of it.
            StoreUnavailable: it could not be read, or nothing could be written.
            Unwanted: it is wanted no more.
        """
        source = batch.source
        if source.format == "parquet":
            with self.tables.open(source) as table:
                blocks = lines_of_table(table, endpoint=endpoint, url=batch.options.url)
                return self._staged(batch, endpoint, blocks, form="jsonl", wanted=wanted)
        chunks: Iterator[bytes] = iter(self._whole(batch))
        if source.gzip:
            chunks = inflated(chunks)
        form: Literal["list", "jsonl", "csv"] = "csv" if source.format == "csv" else "jsonl"
        if source.format == "manifest":
            form, chunks = form_of(chunks)
        if form == "list":
            listed = lines_of_manifest(chunks, tenant=batch.tenant, bucket=self.inputs_bucket)
            return self._staged(batch, endpoint, listed, form="jsonl", wanted=wanted)
        if source.gzip:
            return self._staged(batch, endpoint, chunks, form=form, wanted=wanted)
        return self._pass(batch, endpoint, chunks, form=form, size=source.size, staged=False, wanted=wanted)

    def _whole(self, batch: Batch) -> Iterator[bytes]:
        counted = _Counted(self.sources.chunks(batch.source))
        yield from counted
        if counted.size != batch.source.size:
            raise Unusable(
                "The file is not as long as it was: start the batch again with the new one.", code="object_replaced"
            )

    def _staged(
        self,
        batch: Batch,
        endpoint: Endpoint,
        chunks: Iterator[bytes],
        *,
        form: Literal["jsonl", "csv"],
        wanted: Callable[[], bool],
    ) -> Pass:
        with self.streams.writer(staged_key(batch.tenant, batch.batch_id)) as sink:
            written = _bounded(teed(chunks, sink))
            return self._pass(batch, endpoint, written, form=form, size=None, staged=True, wanted=wanted)

    def _pass(
        self,
        batch: Batch,
        endpoint: Endpoint,
        chunks: Iterator[bytes],
        *,
        form: Literal["jsonl", "csv"],
        size: int | None,
        staged: bool,
        wanted: Callable[[], bool],
    ) -> Pass:
        counted = _Counted(chunks)
        start, line, entries, columns = _opened(counted, form=form, endpoint=endpoint, url=batch.options.url)
        shards: list[Shard] = []
        blank = duplicates = 0
        with self.ids() as seen:
            for piece in cut(entries, start=start, line=line, seen=seen, bytes_min=shard_bytes(size)):
                shards.append(piece.shard)
                blank += piece.blank
                duplicates += len(piece.duplicates)
                if piece.duplicates:
                    key = duplicates_key(batch.tenant, batch.batch_id, piece.shard.number)
                    self.objects.write(key, json.dumps({"lines": piece.duplicates}, separators=(",", ":")).encode())
                if len(shards) % LOOK_SHARDS == 0 and not wanted():
                    raise Unwanted
        if not any(shard.records for shard in shards):
            raise Unusable("The file holds no record.", code="empty_file")
        header = tuple(column.name for column in columns)
        lines = Lines(form, staged=staged, size=counted.size, header=header, start=start, columns=columns)
        return Pass(lines, tuple(shards), blank, duplicates)


def _opened(
    chunks: Iterable[bytes], *, form: Literal["jsonl", "csv"], endpoint: Endpoint, url: str
) -> tuple[int, int, Iterator[Entry], tuple[Column, ...]]:
    """Where records begin (byte and line), what comes from there on, and the columns of a CSV file."""
    start, rest = _behind_mark(iter(chunks))
    if form == "jsonl":
        return start, 1, json_entries(rest, start=start), ()
    rows = rows_of(rest, start=start)
    header = next(rows, None)
    if header is None:
        raise Unusable("The file is empty.", code="empty_file")
    if header.fault in {"invalid_utf8", "csv_nul"}:
        raise Unusable("The header is not UTF-8 text.", code="not_utf8_header", line=1)
    if header.fault:
        raise Unusable(
            "The header is not a line of CSV (RFC 4180): names and commas, and an end of LF or CRLF.",
            code="csv_invalid_header",
            line=1,
        )
    names = tuple(cell.strip() for cell in header.cells)
    if not any(names):
        raise Unusable("The first line must name the columns.", code="csv_empty_header", line=1)
    columns = columns_of(names, endpoint=endpoint, url=url, kind="csv")
    entries = csv_entries(rows, id_column=id_column_of(columns), columns=len(columns))
    return header.end, 1 + header.lines, entries, columns


def _behind_mark(chunks: Iterator[bytes]) -> tuple[int, Iterator[bytes]]:
    """The byte behind a byte order mark, and the bytes from there on."""
    first = b""
    while len(first) < _FIRST_BYTES and (chunk := next(chunks, None)) is not None:
        first += chunk
    if first.startswith(_OTHER_BOMS):
        raise Unusable("The file is UTF-16 or UTF-32: send UTF-8.", code="not_utf8", line=1)
    for start, what in _NO_TEXT.items():
        if first.startswith(start):
            raise Unusable(f"The file is {what}.", code="wrong_format", line=1)
    if first.startswith(BOM):
        return len(BOM), chain((first[len(BOM) :],), chunks)
    return 0, chain((first,), chunks)


def _bounded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    counted = _Counted(chunks)
    for chunk in counted:
        if counted.size > INPUT_BYTES_MAX:
            raise Unusable(f"As lines the file has more than {INPUT_BYTES_MAX} bytes.", code="file_too_large")
        yield chunk
