"""API keys: shown once, stored as a keyed digest, and good only while nothing speaks against them."""

import secrets
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.authentication.api_keys import KeyRecord, mint, presented_key, verify
from headrace.errors import Forbidden, Unauthenticated
from headrace.fakes.targets import FakeKeyStore
from headrace.identity import Principal, is_scope

PEPPER = b"p" * 32


def issued(**changes: object) -> tuple[str, KeyRecord, FakeKeyStore]:
    """A key in a store, its record changed as asked."""
    key, record = mint(
        tenant="acme",
        plan="gold",
        scopes=frozenset({"invoke", "read"}),
        pepper=PEPPER,
        now=1000,
        random_bytes=secrets.token_bytes,
    )
    record = replace(record, **changes)  # type: ignore[arg-type]
    return key, record, FakeKeyStore({record.key_id: record})


def test_a_minted_key_is_good() -> None:
    """Tenant, plan and scopes come from the record."""
    key, record, store = issued()
    principal = verify(key, store=store, pepper=PEPPER, now=2000)
    assert principal == Principal("acme", "gold", frozenset({"invoke", "read"}), record.key_id)


def test_the_record_does_not_hold_the_secret() -> None:
    """Neither the key nor its secret part can be found in what is stored."""
    key, record, _ = issued()
    assert key.split("_", 2)[2] not in repr(record)


@given(st.text(max_size=80))
def test_anything_else_is_refused_in_one_word(presented: str) -> None:
    """No text that was not issued is good, and the message never says why."""
    _, _, store = issued()
    with pytest.raises(Unauthenticated, match=r"^Unauthorized$"):
        verify(presented, store=store, pepper=PEPPER, now=2000)


def test_a_changed_secret_pepper_or_id_is_refused() -> None:
    """Each part of the digest's input counts."""
    key, record, store = issued()
    flipped = key[:-2] + ("A" if key[-2] != "A" else "B") + key[-1]
    other = FakeKeyStore({"x" * 16: replace(record, key_id="x" * 16)})
    for presented, against, pepper in (
        (flipped, store, PEPPER),
        (key, store, b"q" * 32),
        (key.replace(record.key_id, "x" * 16), other, PEPPER),
    ):
        with pytest.raises(Unauthenticated):
            verify(presented, store=against, pepper=pepper, now=2000)


@pytest.mark.parametrize("changes", [{"revoked_at": 1500}, {"expires_at": 2000}])
def test_a_revoked_or_expired_key_is_refused(changes: dict[str, int]) -> None:
    """A key ends the second it says, and at once when it is revoked."""
    key, _, store = issued(**changes)
    with pytest.raises(Unauthenticated):
        verify(key, store=store, pepper=PEPPER, now=2000)


def test_revocation_marks_the_record() -> None:
    """Revoking is known to the store; an unknown id is said."""
    key, record, store = issued()
    assert store.revoke(record.key_id, at=1500)
    assert not store.revoke("missing", at=1500)
    with pytest.raises(Unauthenticated):
        verify(key, store=store, pepper=PEPPER, now=2000)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x-api-key": "k"}, "k"),
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "bearer  k "}, "k"),
        ({"x-api-key": "a", "authorization": "Bearer b"}, "a"),
    ],
)
def test_finds_the_key_where_clients_put_it(headers: dict[str, str], key: str) -> None:
    """Both headers work, `x-api-key` first."""
    assert presented_key(headers) == key


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic k"}, {"authorization": "Bearer"}, {"x-api-key": ""}])
def test_no_key_is_unauthenticated(headers: dict[str, str]) -> None:
    """A request without one is refused like a request with a wrong one."""
    with pytest.raises(Unauthenticated):
        presented_key(headers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tenant": "Acme Ltd"}, "tenant"),
        ({"scopes": frozenset({"root"})}, "unknown scopes"),
        ({"pepper": b"x"}, "pepper"),
        ({"plan": "gold plan"}, "plan"),
    ],
)
def test_refuses_to_mint_what_could_not_be_used(changes: dict[str, object], message: str) -> None:
    """A tenant that is no key segment, an unknown scope and a short pepper are refused before anything is stored."""
    arguments = {
        "tenant": "acme",
        "plan": "gold",
        "scopes": frozenset({"invoke:sentiment"}),
        "pepper": PEPPER,
        "now": 1,
        "random_bytes": secrets.token_bytes,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        mint(**arguments)  # type: ignore[arg-type]


def test_scopes_deny_by_default() -> None:
    """A scope for one model allows that model, and reading needs its own scope."""
    principal = Principal("acme", "gold", frozenset({"invoke:sentiment"}), "k")
    principal.require_invoke("sentiment")
    with pytest.raises(Forbidden):
        principal.require_invoke("detection")
    with pytest.raises(Forbidden):
        principal.require_read()


@pytest.mark.parametrize("scope", ["invoke:", "invoke:a read", "invoke:a\n", "INVOKE", "", "invoke:*"])
def test_a_scope_is_one_name(scope: str) -> None:
    """Scopes travel joined by spaces: one that holds a space would be two."""
    assert not is_scope(scope)


@pytest.mark.parametrize("scope", ["invoke", "read", "invoke:sentiment", "invoke:detection"])
def test_scopes_that_there_are(scope: str) -> None:
    """Reading, calling every model, calling one."""
    assert is_scope(scope)
