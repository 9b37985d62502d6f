"""Parquet, read as it lies in S3: the footer, then the used columns of one row group after the other, page by page.

pyarrow is imported by the first file that needs it: it is heavy, and its layer ships with the planner only.

Source: Apache Parquet, "File Format"; Apache Arrow, `pyarrow.parquet.ParquetFile`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from headrace.batches.bounds import COLUMNS_MAX, RECORDS_MAX
from headrace.batches.reading.formats import Unusable
from headrace.batches.reading.tables import Kind
from headrace.batches.states import Source
from headrace.batches.storage import Sources
from headrace.errors import HeadraceError
from headrace_aws.ranged_file import RangedFile

FOOTER_BYTES_MAX = 16 << 20
COLUMN_CHUNK_BYTES_MAX = 512 << 20
"""One column of one row group, uncompressed, as the footer has it."""
BUFFER_BYTES = 1 << 20
"""What is read ahead of each column."""
ROWS_AT_ONCE = 1024
VALUES_BYTES_MAX = 8 << 20
"""About what the values of one batch of rows may weigh: long ones come in smaller batches."""
_MAGIC = b"PAR1"
_TAIL_BYTES = 8


class ParquetTables:
    """See `headrace.batches.reading.tables.Tables`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    @contextmanager
    def open(self, source: Source) -> Iterator[ParquetTable]:
        """The table in a file.

        Raises:
            Unusable: it is no Parquet file, it is damaged or encrypted, or it breaks a bound.
            UnknownTarget: it is gone.
            StoreUnavailable: it could not be read.
        """

        def fetch(start: int, end: int) -> bytes:
            return b"".join(self._sources.chunks(source, start=start, end=end))

        with RangedFile(fetch, size=source.size) as file:
            _check_tail(file)
            yield ParquetTable(file)


class ParquetTable:
    """One file, opened."""

    def __init__(self, file: RangedFile) -> None:
        import pyarrow.parquet  # noqa: PLC0415 - heavy, and only for these files

        self._file = file
        with _told():
            self._metadata = pyarrow.parquet.read_metadata(file)
            schema = self._metadata.schema.to_arrow_schema()
        if self._metadata.num_rows > RECORDS_MAX:
            raise Unusable(f"A file may have at most {RECORDS_MAX} records.", code="too_many_records")
        if len(schema) > COLUMNS_MAX:
            raise Unusable(f"A file may have at most {COLUMNS_MAX} columns.", code="parquet_too_many_columns")
        self.columns: tuple[tuple[str, Kind], ...] = tuple((each.name, _kind(each.type)) for each in schema)

    def rows(self, names: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        """The values in these columns, a bounded number of rows at a time.

        Raises:
            Unusable: the file is damaged, or a column of a row group is too large.
            UnknownTarget: it is gone.
            StoreUnavailable: it could not be read to the end.
        """
        import pyarrow.parquet  # noqa: PLC0415 - as above

        kinds = dict(self.columns)
        self._check_chunks(frozenset(names))
        with _told():
            table = pyarrow.parquet.ParquetFile(
                self._file,
                metadata=self._metadata,
                # A value that a million rows share is kept once.
                read_dictionary=[name for name in names if kinds[name] == "text"],
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
            )
            # One iterator over several row groups holds on to all that it has read.
            batches = (
                batch
                for group in range(self._metadata.num_row_groups)
                for batch in table.iter_batches(
                    ROWS_AT_ONCE, row_groups=[group], columns=list(names), use_threads=False
                )
            )
        while True:
            with _told():
                batch = next(batches, None)
                if batch is None:
                    return
                columns = [batch.column(name) for name in names]
                step = _rows_at_once(columns)
            for at in range(0, batch.num_rows, step):
                with _told():
                    values = [_values(column.slice(at, step)) for column in columns]
                yield list(zip(*values, strict=True)) if values else []

    def _check_chunks(self, names: frozenset[str]) -> None:
        for number in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(number)
            for index in range(group.num_columns):
                chunk = group.column(index)
                if chunk.path_in_schema in names and chunk.total_uncompressed_size > COLUMN_CHUNK_BYTES_MAX:
                    raise Unusable(
                        f"A column of one row group may have at most {COLUMN_CHUNK_BYTES_MAX} bytes.",
                        code="parquet_row_group_too_large",
                    )


def _check_tail(file: RangedFile) -> None:
    file.seek(-_TAIL_BYTES, io.SEEK_END)
    tail = file.read(_TAIL_BYTES) or b""
    if len(tail) < _TAIL_BYTES or tail[4:] != _MAGIC:
        raise Unusable("The file is not Parquet, or it is encrypted or cut off.", code="parquet_invalid")
    if int.from_bytes(tail[:4], "little") > FOOTER_BYTES_MAX:
        raise Unusable(f"The file's footer has more than {FOOTER_BYTES_MAX} bytes.", code="parquet_invalid")
    file.seek(0)


@contextmanager
def _told() -> Iterator[None]:
    """Whatever pyarrow makes of a damaged file is the file's fault; our own errors pass through it."""
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:  # noqa: BLE001 - it raises OSError, ValueError and its own, as the damage has it
        for cause in (error.__cause__, error.__context__):
            if isinstance(cause, HeadraceError):
                raise cause from None
        raise Unusable(
            "The file is damaged Parquet, or uses what cannot be read here.", code="parquet_invalid"
        ) from None


def _kind(datatype: Any) -> Kind:
    from pyarrow import types  # noqa: PLC0415 - as above

    if types.is_dictionary(datatype):
        return _kind(datatype.value_type)
    if types.is_string(datatype) or types.is_large_string(datatype) or types.is_string_view(datatype):
        return "text"
    if types.is_integer(datatype):
        return "whole"
    if types.is_floating(datatype):
        return "number"
    return "truth" if types.is_boolean(datatype) else "other"


def _rows_at_once(columns: Sequence[Any]) -> int:
    from pyarrow import compute, types  # noqa: PLC0415 - as above

    longest = 1
    for column in columns:
        values = column.dictionary if types.is_dictionary(column.type) else column
        if _kind(values.type) == "text":
            longest += compute.max(compute.binary_length(values)).as_py() or 0
    return max(1, min(ROWS_AT_ONCE, VALUES_BYTES_MAX // longest))


def _values(column: Any) -> list[Any]:
    """Python's values; text that is not UTF-8 is no value, and the record says that it is missing."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    try:
        listed: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raw = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        return [_text(value) for value in raw.cast(pa.binary(), safe=False).to_pylist()]
    return listed


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
