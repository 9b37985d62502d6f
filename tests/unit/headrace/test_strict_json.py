"""Strict JSON: what two parsers could read differently is refused; everything else is read as Python reads it."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest, PayloadTooLarge
from headrace.strict_json import DEPTH_MAX, parse

MEBIBYTE = 1 << 20
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(), children, max_size=5),
    max_leaves=30,
)


@given(_values)
def test_reads_what_python_wrote(value: object) -> None:
    """Every finite JSON value survives, whether written in ASCII or in UTF-8."""
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        try:
            body = text.encode()
        except UnicodeEncodeError:  # a lone surrogate cannot be UTF-8
            continue
        assert parse(body, bytes_max=MEBIBYTE) == value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b"{} {}", "json_invalid"),
        (b"\xef\xbb\xbf{}", "json_invalid"),
        (b'{"a":1,"a":2}', "json_duplicate_key"),
        (b'[{"x":{"a":1,"\\u0061":2}}]', "json_duplicate_key"),
        (b"NaN", "json_not_finite"),
        (b"[-Infinity]", "json_not_finite"),
        (b"1e999", "json_not_finite"),
        (b"[-1E+0999]", "json_not_finite"),
        (b"1" * 310 + b".0", "json_not_finite"),
        (b"1" * 5000, "json_number_too_long"),
        (b"0." + b"1" * 5000, "json_number_too_long"),
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), "json_too_deep"),
        (b"[" * 200_000, "json_too_deep"),
        (b'{"a":' * 200_000, "json_too_deep"),
        (b'"\\ud800"', "json_lone_surrogate"),
        (b'{"\\uDFFF":1}', "json_lone_surrogate"),
        (b'"\xff"', "json_not_utf8"),
        (b'"\xed\xa0\x80"', "json_not_utf8"),
        (b'"\x01"', "json_invalid"),
    ],
)
def test_refuses_with_a_stable_code(body: bytes, code: str) -> None:
    """Each kind of doubtful JSON has its own code, and the message quotes none of it."""
    with pytest.raises(InvalidRequest) as refusal:
        parse(body, bytes_max=MEBIBYTE)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEPTH_MAX + b"]" * DEPTH_MAX,
        json.dumps("[" * 1000).encode(),
        b'"\\ud83d\\ude00"',
        b'{"a":{"a":1}}',
        b'"' + b"9" * 5000 + b'"',
        b"1e308",
        b'"\\\\ud800"',
    ],
)
def test_does_not_refuse_what_is_only_near_a_bound(body: bytes) -> None:
    """Brackets and digits inside strings, a full surrogate pair and the deepest allowed nesting are fine."""
    assert parse(body, bytes_max=MEBIBYTE) == json.loads(body)


@pytest.mark.parametrize("unit", [b'\\"', b"\\\\", b'"', b"a\\"])
def test_a_string_that_never_ends_costs_one_look(unit: bytes) -> None:
    """Megabytes of escapes without an end are refused in one pass; a quadratic one would outlast the test's bound."""
    with pytest.raises(InvalidRequest):
        parse(b'{"input":"' + unit * (MEBIBYTE // len(unit)), bytes_max=4 * MEBIBYTE)


def test_checks_the_size_before_anything_else() -> None:
    """A body over the bound is refused for its size even when it is not JSON."""
    with pytest.raises(PayloadTooLarge):
        parse(b"[" * 11, bytes_max=10)


@given(st.binary(max_size=200))
def test_never_fails_otherwise(body: bytes) -> None:
    """Any bytes are either read or refused as an invalid request."""
    with contextlib.suppress(InvalidRequest):
        parse(body, bytes_max=MEBIBYTE)
