"""Tokens of answers: what they hold comes back unharmed to the tenant they were given to, and to nobody else."""

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest
from headrace.rollouts.outcomes import (
    KEPT_S,
    TOKEN_MAX_CHARS,
    VALUE_MAX,
    Ticket,
    check_outcome,
    issue,
    token_key,
    verify,
)

NOW = 1_800_000_000.0
PEPPER = b"pepper" * 6
KEY = token_key(PEPPER, "acme")
TICKET = Ticket(
    endpoint="sentiment",
    subject="ro_0123456789abcdefghijkl",
    stage=3,
    arm="canary",
    everybody=False,
    caller="0" * 32,
    name="click",
    request_id="3f6f3f6f-3f6f-3f6f-3f6f-3f6f3f6f3f6f",
    expires_at=int(NOW) + KEPT_S,
)


def code_of(token: str, *, key: bytes = KEY, now: float = NOW) -> str:
    """The code under which a token is refused."""
    with pytest.raises(InvalidRequest) as refused:
        verify(token, key=key, now=now)
    return refused.value.code


@given(
    st.builds(
        Ticket,
        endpoint=st.text(string.ascii_lowercase, min_size=1, max_size=32),
        subject=st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=40),
        stage=st.integers(0, 99_999),
        arm=st.text(string.ascii_lowercase, min_size=1, max_size=32),
        everybody=st.booleans(),
        caller=st.text("0123456789abcdef", min_size=32, max_size=32),
        name=st.text(string.ascii_letters, min_size=1, max_size=64),
        request_id=st.text(string.ascii_lowercase + "-", max_size=36),
        expires_at=st.integers(int(NOW) + 1, int(NOW) + KEPT_S),
    )
)
def test_a_token_tells_what_was_put_in(ticket: Ticket) -> None:
    """Whatever may be in a ticket fits into a header, and comes back."""
    token = issue(ticket, key=KEY)
    assert len(token) <= TOKEN_MAX_CHARS
    assert token.isascii()
    assert token.isprintable()
    assert verify(token, key=KEY, now=NOW) == ticket


@given(st.data())
def test_a_token_that_was_touched_is_refused(data: st.DataObject) -> None:
    """Any one character changed, left out or added makes it invalid."""
    token = issue(TICKET, key=KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.sampled_from(["", *string.ascii_letters, *string.digits, "-", "_", ".", "é", "\ud800"]))
    touched = token[:at] + put + token[at + data.draw(st.integers(0, 1)) :]
    if touched != token:
        assert code_of(touched) == "invalid_outcome_token"


@given(st.text(max_size=600))
def test_any_other_text_is_refused(text: str) -> None:
    """In words, and never by a failure of ours."""
    assert code_of(text) == "invalid_outcome_token"


def test_a_token_is_of_its_tenant() -> None:
    """Another tenant's key, and another pepper, do not open it."""
    token = issue(TICKET, key=KEY)
    assert code_of(token, key=token_key(PEPPER, "acme2")) == "invalid_outcome_token"
    assert code_of(token, key=token_key(b"other", "acme")) == "invalid_outcome_token"


def test_a_token_ends() -> None:
    """After seven days its outcome counts no more, and the caller is told so."""
    token = issue(TICKET, key=KEY)
    assert verify(token, key=KEY, now=NOW + KEPT_S - 1) == TICKET
    assert code_of(token, now=NOW + KEPT_S) == "outcome_token_expired"


def test_a_token_too_long_is_not_issued() -> None:
    """The header has a bound, and whoever would break it hears of it here."""
    with pytest.raises(ValueError, match="too long"):
        issue(replace(TICKET, request_id="r" * TOKEN_MAX_CHARS), key=KEY)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), VALUE_MAX * 1.001, -2 * VALUE_MAX])
def test_a_value_has_bounds(value: float) -> None:
    """What cannot be added up is refused."""
    check_outcome(TICKET, name="click", value=-VALUE_MAX)
    with pytest.raises(InvalidRequest) as refused:
        check_outcome(TICKET, name="click", value=value, field="events[2].")
    assert refused.value.field == "events[2].value"


def test_only_the_declared_outcome_counts() -> None:
    """A token is for one event, by its name."""
    with pytest.raises(InvalidRequest) as refused:
        check_outcome(TICKET, name="sale", value=1.0)
    assert (refused.value.code, refused.value.field) == ("unknown_outcome", "name")
