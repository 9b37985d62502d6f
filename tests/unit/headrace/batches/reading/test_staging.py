"""Staging: what is not lines becomes lines, within bounds."""

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.bounds import INFLATE_FREE_BYTES
from headrace.batches.reading.formats import Unusable
from headrace.batches.reading.staging import inflated
from headrace.batches.reading.tables import Kind, lines_of_table
from headrace.catalog import Endpoint
from headrace.fakes.batch_files import FakeTable
from tests.unit.headrace.batches.chunks import SIZES, chunked

CLASSIFICATIONS = "/v1/classifications"


def code_of(data: bytes, size: int = 1 << 16) -> str:
    """Why a compressed file cannot be used."""
    with pytest.raises(Unusable) as caught:
        list(inflated(chunked(data, [size])))
    return caught.value.code


@given(st.lists(st.binary(max_size=200), max_size=4), SIZES, st.integers(0, 3))
def test_members_are_inflated_one_after_the_other(texts: list[bytes], sizes: list[int], padding: int) -> None:
    """A file of several members, padded with zeros, cut up anyhow, is the texts behind each other."""
    data = b"".join(gzip.compress(text) + b"\0" * padding for text in texts)
    assert b"".join(inflated(chunked(data, sizes))) == b"".join(texts)


def test_large_text_comes_in_small_pieces() -> None:
    """What is in memory does not grow with what is in the file."""
    text = bytes(range(256)) * (1 << 15)
    pieces = list(inflated([gzip.compress(text, 1)]))
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) <= 1 << 20


def test_a_bomb_is_found_early() -> None:
    """Text that inflates a thousand times is refused once it is more than what is free."""
    assert code_of(gzip.compress(b"\0" * (4 * INFLATE_FREE_BYTES))) == "gzip_bomb"
    harmless = gzip.compress(b"\0" * (INFLATE_FREE_BYTES - 1))
    assert sum(map(len, inflated([harmless]))) == INFLATE_FREE_BYTES - 1


def test_a_file_of_endless_members_is_a_bomb_too() -> None:
    """Members without text cost time and give nothing; their number is bounded."""
    assert not list(inflated([gzip.compress(b"") * 10], members_max=10))
    with pytest.raises(Unusable) as caught:
        list(inflated([gzip.compress(b"") * 11], members_max=10))
    assert caught.value.code == "gzip_bomb"


def test_files_that_are_cut_off_or_damaged() -> None:
    """A file that ends in the middle, one with another checksum, one that is no gzip, and text behind a member."""
    whole = gzip.compress(b"some text that is compressed")
    assert code_of(whole[:-1]) == code_of(whole[:5]) == code_of(whole + whole[:3], 7) == "gzip_truncated"
    assert code_of(whole[:-8] + bytes(8)) == "gzip_invalid"
    assert code_of(b'{"input": "plain"}\n') == code_of(whole + b"tail") == "gzip_invalid"
    assert code_of(zlib.compress(b"another container")) == "gzip_invalid"
    assert not list(inflated([]))


def lines(table: FakeTable, endpoint: Endpoint, url: str = CLASSIFICATIONS) -> list[dict[str, object]]:
    """A table's rows as lines."""
    return [json.loads(line) for line in b"".join(lines_of_table(table, endpoint=endpoint, url=url)).splitlines()]


def test_rows_become_lines(sentiment: Endpoint, detection: Endpoint) -> None:
    """Used columns become fields, ids become texts, and what is missing stays so for its record to say."""
    table = FakeTable(
        (("id", "whole"), ("nested", "other"), ("text", "text")),
        [(1, [], "a"), (None, [], None), (3, [], "")],
    )
    assert lines(table, sentiment) == [
        {"custom_id": "1", "input": "a"},
        {"input": None},
        {"custom_id": "3", "input": ""},
    ]
    images = FakeTable((("s3", "text"), ("threshold", "number")), [("s3://a/b", 0.5), ("s3://a/c", float("nan"))])
    assert lines(images, detection, "/v1/detections") == [
        {"image": {"s3": "s3://a/b"}, "threshold": 0.5},
        {"image": {"s3": "s3://a/c"}},
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ((("text", "whole"),), "parquet_wrong_types"),
        ((("text", "other"),), "parquet_wrong_types"),
        ((("id", "number"), ("text", "text")), "parquet_wrong_types"),
        ((("words", "text"),), "parquet_missing_column"),
        ((("text", "text"), ("text", "text")), "parquet_repeated_column"),
    ],
)
def test_tables_that_cannot_be_used(columns: tuple[tuple[str, Kind], ...], expected: str, sentiment: Endpoint) -> None:
    """Columns of another type, nested ones, none of those needed, one name twice."""
    with pytest.raises(Unusable) as caught:
        lines(FakeTable(columns, []), sentiment)
    assert caught.value.code == expected
