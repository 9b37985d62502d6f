"""The Prefer header, as RFC 7240 writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest
from headrace.jobs.prefer import PREFER_MAX_CHARS, Preference, prefer


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Preference()),
        ("", Preference()),
        ("respond-async", Preference(respond_async=True)),
        ("respond-async, wait=10", Preference(respond_async=True, wait_s=10)),
        ("Respond-Async,WAIT = 5", Preference(respond_async=True, wait_s=5)),
        ('wait="7"', Preference(wait_s=7)),
        ('respond-async;foo;bar=1 ; baz="a,b;c" , wait=0', Preference(respond_async=True, wait_s=0)),
        ('return=minimal; foo="some \\" value"', Preference()),
        ("wait=1, wait=99", Preference(wait_s=1)),
        (", ,respond-async, ,", Preference(respond_async=True)),
        ('respond-async=""', Preference(respond_async=True)),
        ("handling=lenient, priority=5, respond-async", Preference(respond_async=True)),
    ],
)
def test_preferences_are_read_as_the_rfc_writes_them(header: str | None, expected: Preference) -> None:
    """Names know no case, the first of a name counts, an empty value is none, and what is unknown is passed over."""
    assert prefer(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "respond-async wait=1",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "wait=\u0661",
        "wait",
        "wait=1234567890",
        'wait="',
        'foo="unclosed',
        "=1",
        "a=b=c",
        "respond-async=yes",
        "respond-async;=x",
        "a" * (PREFER_MAX_CHARS + 1),
    ],
)
def test_what_is_not_of_the_form_is_refused(header: str) -> None:
    """One stable code, and nothing of what was sent in the message."""
    with pytest.raises(InvalidRequest) as refused:
        prefer(header)
    assert refused.value.code == "invalid_prefer"
    assert header not in refused.value.message or len(header) < 6


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(header: str) -> None:
    """Nothing that a header can hold makes the parser do anything else."""
    try:
        found = prefer(header)
    except InvalidRequest:
        return
    assert found.wait_s is None or 0 <= found.wait_s < 10**9
