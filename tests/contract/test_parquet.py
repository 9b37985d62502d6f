"""The fake table and Parquet behave alike; and what only a real file can have wrong with it."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.reading.formats import Unusable
from headrace.batches.reading.tables import Kind, Tables
from headrace.batches.states import Source
from headrace.errors import StoreUnavailable, UnknownTarget
from headrace.fakes.batch_files import FakeTable, FakeTables
from headrace.fakes.batches import FakeSources
from headrace_aws import parquet
from headrace_aws.parquet import ParquetTables
from headrace_aws.ranged_file import BLOCK_BYTES, RangedFile

Make = Callable[[Sequence[tuple[str, Kind]], list[tuple[Any, ...]]], tuple[Tables, Source]]
TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "whole": pa.int64(),
    "number": pa.float64(),
    "truth": pa.bool_(),
    "other": pa.list_(pa.int64()),
}


def file_of(data: bytes) -> tuple[ParquetTables, Source]:
    """A Parquet file in a bucket."""
    sources = FakeSources({("inputs", "table.parquet", "v1"): data})
    return ParquetTables(sources), Source("inputs", "table.parquet", "v1", len(data), "parquet")


def written(table: pa.Table, **options: Any) -> bytes:
    """A table as Parquet."""
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def _real(columns: Sequence[tuple[str, Kind]], rows: list[tuple[Any, ...]]) -> tuple[Tables, Source]:
    arrays = [pa.array([row[index] for row in rows], TYPES[kind]) for index, (_, kind) in enumerate(columns)]
    return file_of(written(pa.Table.from_arrays(arrays, [name for name, _ in columns]), row_group_size=2))


def _fake(columns: Sequence[tuple[str, Kind]], rows: list[tuple[Any, ...]]) -> tuple[Tables, Source]:
    tables = FakeTables({"table.parquet": FakeTable(tuple(columns), rows)})
    return tables, Source("inputs", "table.parquet", "v1", 1, "parquet")


@pytest.fixture(params=[_fake, _real], ids=["fake", "parquet"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a table."""
    chosen: Make = request.param
    return chosen


def read(tables: Tables, source: Source, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """All rows."""
    with tables.open(source) as table:
        return [row for rows in table.rows(names) for row in rows]


def test_columns_have_names_and_kinds(make: Make) -> None:
    """In the order of the file, also those that nobody can use."""
    columns: list[tuple[str, Kind]] = [(f"{kind}s", kind) for kind in TYPES]
    tables, source = make(columns, [])
    with tables.open(source) as table:
        assert list(table.columns) == columns
        assert not list(table.rows(["texts"]))


def test_rows_come_in_order_with_the_columns_asked_for(make: Make) -> None:
    """Across row groups; None where there is no value."""
    rows = [(1, "a", [1]), (2, None, []), (3, "", None), (None, "é", [4]), (5, "a", [5])]
    tables, source = make([("id", "whole"), ("text", "text"), ("nested", "other")], rows)
    assert read(tables, source, ["text", "id"]) == [(text, number) for number, text, _ in rows]
    assert read(tables, source, ["id"]) == [(number,) for number, _, _ in rows]


def test_a_file_that_is_gone() -> None:
    """It is told as such, when it is opened or in the middle."""
    tables, source = file_of(written(pa.table({"text": ["a"] * 10})))
    with pytest.raises(UnknownTarget):
        read(tables, Source("inputs", "elsewhere", "v1", 100, "parquet"), ["text"])
    with pytest.raises(UnknownTarget), FakeTables().open(source):
        pass


def test_a_store_that_fails_in_the_middle_is_no_fault_of_the_file() -> None:
    """Whatever pyarrow makes of it on the way, the run fails and is tried again."""
    tables, source = file_of(written(pa.table({"text": ["a"] * 10})))
    sources = tables._sources
    assert isinstance(sources, FakeSources)
    with tables.open(source) as table:
        sources.down = True
        table._file._blocks.clear()
        with pytest.raises(StoreUnavailable):
            list(table.rows(["text"]))
    with pytest.raises(StoreUnavailable), tables.open(source):
        pass


def _spoiled(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 40]) + data[at + 40 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"PAR1",
        lambda _: b"id,text\n1,a\n" * 10,
        lambda data: data[:-1],
        lambda data: data[:-4] + b"PARE",
        lambda data: data[:-8] + (1 << 30).to_bytes(4, "little") + b"PAR1",
        lambda data: data[:-8] + len(data).to_bytes(4, "little") + b"PAR1",
        lambda data: _spoiled(data, len(data) - 200),
        lambda data: _spoiled(data, 4),
    ],
    ids=["empty", "magic", "text", "cut", "encrypted", "huge-footer", "long-footer", "footer", "page"],
)
def test_damaged_files_say_so(spoil: Callable[[bytes], bytes]) -> None:
    """Nothing at all, another format, cut off, encrypted, a footer or a page that is not what it was."""
    tables, source = file_of(spoil(written(pa.table({"text": [f"text {number}" for number in range(100)]}))))
    with pytest.raises(Unusable) as caught:
        read(tables, source, ["text"])
    assert caught.value.code == "parquet_invalid"


def test_text_that_is_not_utf8_is_no_value() -> None:
    """The row is there, for its record to say that the text is missing."""
    raw = pa.array([b"a", b"\xff", None, b"a"], pa.binary())
    text = pa.StringArray.from_buffers(4, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])
    tables, source = file_of(written(pa.table({"text": text})))
    assert read(tables, source, ["text"]) == [("a",), (None,), (None,), ("a",)]


@pytest.mark.parametrize(
    ("datatype", "kind"),
    [
        (pa.large_string(), "text"),
        (pa.dictionary(pa.int32(), pa.string()), "text"),
        (pa.uint64(), "whole"),
        (pa.float32(), "number"),
        (pa.binary(), "other"),
        (pa.timestamp("us"), "other"),
        (pa.decimal128(5, 2), "other"),
        (pa.struct([("text", pa.string())]), "other"),
    ],
)
def test_types_are_told_by_kind(datatype: pa.DataType, kind: Kind) -> None:
    """Whoever wrote the file chose among many; what is no plain value is of no use here."""
    tables, source = file_of(written(pa.table({"column": pa.array([], datatype)})))
    with tables.open(source) as table:
        assert table.columns == (("column", kind),)


def test_a_value_that_many_rows_share_is_not_multiplied() -> None:
    """Long values come in smaller batches: what is in memory is bounded, not the file."""
    long = "x" * (1 << 20)
    tables, source = file_of(written(pa.table({"text": [long] * 100, "id": list(range(100))})))
    with tables.open(source) as table:
        batches = list(map(len, table.rows(["id", "text"])))
    assert sum(batches) == 100
    assert max(batches) <= parquet.VALUES_BYTES_MAX // (1 << 20)


def test_pages_may_cross_what_is_fetched_at_once() -> None:
    """A file larger than a few blocks is read whole, from ranges."""
    texts = [f"{number:08d}" * 64 for number in range(40_000)]
    tables, source = file_of(written(pa.table({"text": texts}), compression="none", use_dictionary=False))
    assert source.size > 4 * BLOCK_BYTES
    assert [text for (text,) in read(tables, source, ["text"])] == texts


@given(st.binary(max_size=100), st.integers(1, 9), st.lists(st.tuples(st.integers(0, 110), st.integers(0, 40))))
def test_an_object_reads_like_a_file(data: bytes, block: int, reads: list[tuple[int, int]]) -> None:
    """Wherever one goes and however much is read, and short only at the end."""
    plain = io.BytesIO(data)
    with RangedFile(lambda start, end: data[start:end], size=len(data), block_bytes=block) as file:
        for place, size in reads:
            assert file.seek(place) == plain.seek(place)
            assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()
        assert file.seek(-min(3, len(data)), io.SEEK_END) == plain.seek(-min(3, len(data)), io.SEEK_END)
        assert file.read() == plain.read()


def test_only_used_columns_are_read() -> None:
    """A column that nobody asks for stays where it is, however large."""
    noise = [f"{number:x}" * 40 for number in range(300_000)]
    data = written(pa.table({"noise": noise, "text": ["a"] * len(noise)}), compression="none", use_dictionary=False)
    tables, source = file_of(data)
    counted = _Counting(FakeSources({("inputs", "table.parquet", "v1"): data}))
    rows = read(ParquetTables(counted), source, ["text"])
    assert len(rows) == len(noise)
    assert counted.bytes < len(data) / 2
    assert tables is not None


class _Counting(FakeSources):
    """Files, and how much of them was read."""

    def __init__(self, inner: FakeSources) -> None:
        super().__init__(inner.files)
        self.bytes = 0

    def chunks(self, source: Source, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes, counted."""
        for chunk in super().chunks(source, start=start, end=end):
            self.bytes += len(chunk)
            yield chunk
