"""Records: what a line becomes, and what is told of one that becomes nothing."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import strict_json
from headrace.batches.bounds import RECORD_BYTES_MAX
from headrace.batches.reading.formats import Lines, Unusable, columns_of
from headrace.batches.reading.records import Bad, Record, custom_id_of, parse, read_records
from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest

JSONL = Lines("jsonl", staged=False, size=0)
OPENAI = {"custom_id": "a", "method": "POST", "url": "/v1/classifications", "body": {"input": "text"}}
CLASSIFICATIONS = "/v1/classifications"


def one(line: bytes | dict[str, Any], lines: Lines = JSONL) -> Record | Bad:
    """What one line becomes."""
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    (record,) = read_records([data], lines=lines, start=0, line=1)
    return record


def code(line: bytes | dict[str, Any], lines: Lines = JSONL) -> str:
    """Why one line becomes nothing."""
    record = one(line, lines)
    assert isinstance(record, Bad)
    return record.code


def csv_lines(header: list[str], endpoint: Endpoint, url: str = CLASSIFICATIONS) -> Lines:
    """The rows below a header."""
    columns = columns_of(header, endpoint=endpoint, url=url, kind="csv")
    return Lines("csv", staged=False, size=0, header=tuple(header), columns=columns)


def outcome(parser: Callable[[bytes], Any], data: bytes) -> tuple[str, Any]:
    """The code of a refusal, or the value."""
    try:
        return "", parser(data)
    except InvalidRequest as error:
        return error.code, None


def test_openai_and_bare_records() -> None:
    """A request keeps its body and url; a bare record is the body, less its custom_id."""
    assert one(OPENAI) == Record(1, len(json.dumps(OPENAI)), "a", {"input": "text"}, CLASSIFICATIONS, openai=True)
    bare = one(b'{"custom_id": "b", "input": "text"}')
    assert bare == Record(1, 35, "b", {"input": "text"}, "", openai=False)
    assert one(b'{"inputs": []}') == Record(1, 14, None, {"inputs": []}, "", openai=False)


def test_a_bare_s3_is_short_for_an_image() -> None:
    """Manifests as lines name their objects so; a record that has an image keeps both."""
    record = one({"s3": "s3://inputs/tenants/acme/a.jpg"})
    assert isinstance(record, Record)
    assert record.body == {"image": {"s3": "s3://inputs/tenants/acme/a.jpg"}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"custom_id": None}, "invalid_custom_id"),
        ({"custom_id": ""}, "invalid_custom_id"),
        ({"custom_id": 5}, "invalid_custom_id"),
        ({"custom_id": "x" * 257}, "invalid_custom_id"),
        ({"method": "GET"}, "wrong_method"),
        ({"url": 5}, "wrong_url"),
        ({"url": "https://elsewhere.example"}, "wrong_url"),
        ({"body": []}, "wrong_body"),
        ({"body": None}, "wrong_body"),
        ({"more": 1}, "unknown_field"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], expected: str) -> None:
    """Whatever is wrong in a request is told with its code."""
    assert code({**OPENAI, **change}) == expected


def test_a_request_needs_its_custom_id() -> None:
    """OpenAI's shape cannot be answered without one."""
    assert code({key: value for key, value in OPENAI.items() if key != "custom_id"}) == "missing_custom_id"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"input": ', "json_invalid"),
        (b'{"input": "a"} {"input": "b"}', "json_invalid"),
        (b'{"input": "a\0"}', "json_invalid"),
        (b"\xef\xbb\xbf{}", "json_invalid"),
        (b'{"input": "\xff"}', "invalid_utf8"),
        (b'{"input": "a", "input": "b"}', "json_duplicate_key"),
        (b'{"threshold": NaN}', "json_not_finite"),
        (b'{"threshold": 1e999}', "json_not_finite"),
        (b'{"n": ' + b"9" * 500 + b"}", "json_number_too_long"),
        (b'{"input": "\\ud800"}', "json_lone_surrogate"),
        (b'{"input":' + b"[" * 70 + b"]" * 70 + b"}", "json_too_deep"),
        (b'["input"]', "record_not_object"),
        (b'"text"', "record_not_object"),
        (b"x" * (RECORD_BYTES_MAX + 1), "record_too_long"),
    ],
)
def test_a_bad_line_says_why(line: bytes, expected: str) -> None:
    """Each kind of bad line has a code, keeps its place, and its message quotes nothing of it."""
    found = list(read_records([b'{"input": "a"}\n' + line + b'\n{"input": "b"}'], lines=JSONL, start=0, line=7))
    assert [type(record) for record in found] == [Record, Bad, Record]
    bad = found[1]
    assert isinstance(bad, Bad)
    assert (bad.line, bad.end, bad.code) == (8, 15 + len(line) + 1, expected)
    assert found[2].line == 9


def test_blank_lines_are_passed_over_and_numbered() -> None:
    """Lines of nothing but space hold no record; the next one still has its own number. CRLF is no content."""
    found = list(read_records([b'\r\n  \n{"input": "a"}\r\n\n{"input": "b"}'], lines=JSONL, start=100, line=1))
    assert [(record.line, record.end) for record in found] == [(3, 121), (5, 136)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NEARLY = st.lists(
    st.sampled_from([*'{}[]",:0-9eE+.\\u dD8 NaN\n\t', '"custom_id":', '"a"', "1e400", "NaN", "\ud800", "é"]),
    max_size=12,
).map(lambda parts: "".join(parts).encode(errors="surrogatepass"))


@given(JSON.map(lambda value: json.dumps(value).encode()) | NEARLY)
def test_the_quick_parser_is_the_strict_one(data: bytes) -> None:
    """Whatever the line, the same value or the same refusal as the gateway's own parser."""
    assert outcome(parse, data) == outcome(lambda line: strict_json.parse(line, bytes_max=1 << 20), data)


@given(st.fixed_dictionaries({}, optional={"custom_id": JSON, "body": JSON, "url": st.text(), "input": JSON}) | JSON)
def test_the_plan_and_the_scorer_see_the_same_custom_id(value: Any) -> None:
    """Duplicates are found in the plan by the very ids that records have later."""
    data = json.dumps(value).encode()
    for text in (data, data.replace(b"custom_id", b"\\u0063ustom_id"), data + b"}"):
        assert custom_id_of(text) == one(text).custom_id


def test_rows_become_bodies_by_the_columns_of_their_task(sentiment: Endpoint, detection: Endpoint) -> None:
    """`input` or `text`; an image by its address with its two numbers; through `/v2` the tensors by their names."""
    record = one(b"7,seen,so so", csv_lines(["id", "state", "text"], sentiment))
    assert record == Record(1, 12, "7", {"input": "so so"}, "", openai=False)
    record = one(b"s3://a/b.jpg,0.5,", csv_lines(["s3", "threshold", "max_detections"], detection, "/v1/detections"))
    assert record == Record(1, 17, None, {"image": {"s3": "s3://a/b.jpg"}, "threshold": 0.5}, "", openai=False)
    record = one(b"fine", csv_lines(["text"], sentiment, "/v2/models/sentiment/infer"))
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["fine"]}
    assert record == Record(1, 4, None, {"inputs": [tensor]}, "", openai=False)


def test_a_quote_that_is_never_closed_says_what_it_took(sentiment: Endpoint) -> None:
    """The rows behind it are gone with it: one error stands for all of them, and says which."""
    data = b'1,a\n"2,b\n3,c\n4,d\n'
    _, bad = read_records([data], lines=csv_lines(["id", "text"], sentiment), start=0, line=2)
    assert isinstance(bad, Bad)
    assert (bad.line, bad.code, bad.lines) == (3, "csv_invalid", 3)
    assert bad.message.endswith("It takes lines 3 to 5.")


def test_bad_rows_say_why(sentiment: Endpoint, detection: Endpoint) -> None:
    """Too few cells, too many, an id that is too long, a cell that is no number."""
    lines = csv_lines(["id", "text"], sentiment)
    assert code(b"7", lines) == code(b"7,a,b", lines) == "wrong_column_count"
    assert code(b"x" * 257 + b",a", lines) == "invalid_custom_id"
    assert code(b'7,"a"b', lines) == "csv_invalid"
    numbers = csv_lines(["s3", "threshold"], detection, "/v1/detections")
    for cell in (b"half", b"nan", b"1e999", b"1" * 500):
        bad = one(b"s3://a/b.jpg," + cell, numbers)
        assert isinstance(bad, Bad)
        assert (bad.code, bad.field) == ("wrong_cell", "threshold")


def test_a_row_knows_how_many_lines_it_takes(sentiment: Endpoint) -> None:
    """Whoever goes on behind it knows the number of the next line."""
    data = b'1,"two\nlines"\n\n2,one\n'
    found = list(read_records([data], lines=csv_lines(["id", "text"], sentiment), start=0, line=2))
    assert [(record.line, record.lines, record.custom_id) for record in found] == [(2, 2, "1"), (5, 1, "2")]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (["text", "text"], "csv_repeated_column"),
        (["", ""], "csv_repeated_column"),
        (["id", "Text"], "csv_missing_column"),
        ([f"c{number}" for number in range(1001)], "csv_too_many_columns"),
    ],
)
def test_headers_that_cannot_be_used(header: list[str], expected: str, sentiment: Endpoint) -> None:
    """A name twice, none of those needed, more than anyone has."""
    with pytest.raises(Unusable) as caught:
        csv_lines(header, sentiment)
    assert caught.value.code == expected
    assert caught.value.problem.line == 1
