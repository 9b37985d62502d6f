"""Lines and rows: every one knows the byte behind it, however the bytes arrive."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.bounds import RECORD_BYTES_MAX
from headrace.batches.reading.lines import Row, lines_of, rows_of
from tests.unit.headrace.batches.chunks import SIZES, chunked

TEXTS = st.text(alphabet='ab",\n\r é', max_size=60)


@given(st.binary(max_size=80).map(lambda data: data.replace(b"\x00", b"\n")), SIZES)
def test_lines_are_what_splitting_the_whole_gives(data: bytes, sizes: list[int]) -> None:
    """Chunks of any sizes give the lines of the whole file, and ends that lie just behind each."""
    lines = list(lines_of(chunked(data, sizes)))
    pieces = data.split(b"\n")
    assert [line for line, _ in lines] == (pieces if pieces[-1] else pieces[:-1])
    at = 0
    for line, end in lines:
        assert data[at:end].removesuffix(b"\n") == line
        at = end
    assert at == len(data)


def test_a_line_beyond_its_bound_is_counted_and_not_kept() -> None:
    """5 MB in one line come back as no line, and the lines around it are whole."""
    data = b"before\n" + b"x" * (5 << 20) + b"\nafter"
    for sizes in ([1 << 16], [len(data)], [1 << 20, 3]):
        assert list(lines_of(chunked(data, sizes))) == [
            (b"before", 7),
            (None, 7 + (5 << 20) + 1),
            (b"after", len(data)),
        ]
    assert list(lines_of([b"x" * RECORD_BYTES_MAX, b"\n"])) == [(b"x" * RECORD_BYTES_MAX, RECORD_BYTES_MAX + 1)]


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=3), max_size=6), SIZES, st.sampled_from(["\n", "\r\n"]))
def test_rows_are_what_was_written(table: list[list[str]], sizes: list[int], ending: str) -> None:
    """Quotes, line ends within cells and CRLF come back as they were written, with exact boundaries."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows(table)
    data = out.getvalue().encode()
    rows = list(rows_of(chunked(data, sizes)))
    assert [row.cells for row in rows] == table
    assert (rows[-1].end if rows else 0) == len(data)
    assert sum(row.lines for row in rows) == data.count(b"\n")


@given(TEXTS.map(str.encode), SIZES)
def test_reading_from_any_boundary_gives_the_same_rows(data: bytes, sizes: list[int]) -> None:
    """Also of what is not CSV at all: what comes before a boundary does not matter."""
    rows = list(rows_of(chunked(data, sizes)))
    for index, row in enumerate(rows):
        rest = list(rows_of([data[row.end :]], start=row.end, line=row.line + row.lines))
        assert rest == rows[index + 1 :]
    assert (rows[-1].end if rows else 0) == len(data)


def test_a_broken_row_costs_itself() -> None:
    """Text behind a closing quote, a stray CR, a NUL and bytes that are no UTF-8 are faults of one row each."""
    data = b'a,b\n"a"x,b\na\rb,c\na\0,b\n\xff,b\n"a\n\xff",b\n\nlast,"x""y"'
    rows = list(rows_of([data]))
    faults = ["", "csv_invalid", "csv_invalid", "csv_nul", "invalid_utf8", "invalid_utf8", "", ""]
    assert [row.fault for row in rows] == faults
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6, 8, 9]
    assert rows[-2].blank
    assert rows[-1] == Row(9, 1, len(data), ["last", 'x"y'])


def test_a_quote_that_is_never_closed_ends_with_the_bound() -> None:
    """It takes the lines up to `RECORD_BYTES_MAX`, is told as too long, and rows go on behind it."""
    filler = b"x" * 1023 + b"\n"
    swallowed = RECORD_BYTES_MAX // len(filler) + 1
    rows = list(rows_of([b'a,"open\n', *([filler] * swallowed), b"a,b\n"]))
    assert rows[0].fault == "record_too_long"
    assert rows[-1].cells == ["a", "b"]
    (end,) = list(rows_of([b'a,"open\n', b"b,c"]))
    assert (end.fault, end.lines, end.end) == ("csv_invalid", 2, 11)


def test_a_row_of_several_lines_is_bound_as_a_whole() -> None:
    """Lines may be short and cells too: what counts is the record, which ends where it grew too long."""
    half = b"x" * (RECORD_BYTES_MAX // 2)
    rows = list(rows_of([b'"', half, b'\n","', half, b'\n"\n', b"a,b\n"]))
    assert [(row.fault, row.lines) for row in rows[:1]] == [("record_too_long", 2)]
    assert rows[0].end == 2 * len(half) + 6
