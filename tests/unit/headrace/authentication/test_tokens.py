"""Tokens before their signature: what is refused without a key, and what claims grant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.authentication.issuers import Issuer
from headrace.authentication.revocation import subject_mark, tenant_mark, token_mark
from headrace.authentication.tokens import LEEWAY_S, LIFETIME_S_MAX, TOKEN_BYTES_MAX, Token, caller_id, read
from headrace.errors import Unauthenticated
from headrace.identity import Principal, is_scope
from tests.toy_issuer import AUDIENCE, NAME, NOW, claims, encoded, issuers, raw

HEADER = {"alg": "RS256", "kid": "one", "typ": "at+jwt"}


def reading(
    payload: Any = None, header: Any = None, *, now: float = NOW, known: dict[str, Issuer] | None = None
) -> Token:
    """A token of these parts, read."""
    token = raw(HEADER if header is None else header, claims() if payload is None else payload)
    return read(token, issuers=issuers() if known is None else known, now=now)


def refuses(payload: Any = None, header: Any = None, *, now: float = NOW, known: Any = None) -> None:
    """The token is refused, in one word."""
    with pytest.raises(Unauthenticated, match=r"^Unauthorized$"):
        reading(payload, header, now=now, known=known)


def test_a_good_token_names_caller_and_marks() -> None:
    """Tenant, plan and scopes come from the configured claims; the id is stable and not the subject."""
    token = reading()
    assert token.principal == Principal("acme", "standard", frozenset({"invoke", "read"}), caller_id(NAME, "user-1"))
    assert token.principal.key_id.startswith("jwt-")
    assert "user" not in token.principal.key_id
    assert set(token.marks) == {tenant_mark("acme"), subject_mark(NAME, "user-1"), token_mark(NAME, "token-1")}
    assert (token.key_id, token.algorithm, token.expires_at) == ("one", "RS256", NOW + 600)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES384", "EdDSA", "rs256", "", None, 5, ["RS256"]]
)
def test_the_algorithm_is_the_issuers_and_no_other(algorithm: Any) -> None:
    """Neither `none` nor a symmetric one, nor another case of a good one, is taken."""
    refuses(header={**HEADER, "alg": algorithm})


def test_an_algorithm_that_the_issuer_does_not_use_is_refused() -> None:
    """What is allowed is pinned per issuer: ES256 is a good algorithm, and still not this issuer's."""
    reading(header={**HEADER, "alg": "ES256"})
    refuses(header={**HEADER, "alg": "ES256"}, known=issuers(algorithms=["RS256"]))


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "crit": []},
        {**HEADER, "b64": False},
        {**HEADER, "zip": "DEF"},
        {**HEADER, "enc": "A256GCM"},
        {**HEADER, "typ": "JWE"},
        {**HEADER, "typ": "dpop+jwt"},
        {**HEADER, "typ": None},
        {**HEADER, "typ": 1},
        {"alg": "RS256"},
        {**HEADER, "kid": ""},
        {**HEADER, "kid": 7},
        {**HEADER, "kid": "a b"},
        {**HEADER, "kid": "k" * 129},
        {**HEADER, "kid": "é"},
        {**HEADER, "kid": "one\u0000"},
        [],
        "RS256",
    ],
)
def test_headers_that_change_the_rules_are_refused(header: Any) -> None:
    """Extensions, encryption, other types, and key ids that are none."""
    refuses(header=header)


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_types_of_access_tokens_are_taken(kind: str) -> None:
    """RFC 9068's type in each spelling that RFC 7515 allows, and the plain one."""
    assert reading(header={**HEADER, "typ": kind})
    assert reading(header={name: value for name, value in HEADER.items() if name != "typ"})


def test_an_address_in_a_header_is_never_looked_at() -> None:
    """A key, or where to find one, that a token brings along has no effect on which key is asked for."""
    brought = {**HEADER, "jku": "https://evil.example", "x5u": "https://evil.example", "jwk": {"kty": "oct", "k": "aa"}}
    assert reading(header=brought).key_id == "one"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": NAME.rstrip("/")},
        {"iss": NAME.upper()},
        {"iss": None},
        {"iss": [NAME]},
        {"aud": None},
        {"aud": AUDIENCE + "/"},
        {"aud": AUDIENCE[:-1]},
        {"aud": []},
        {"aud": [AUDIENCE, 5]},
        {"aud": [AUDIENCE] * 17},
        {"aud": {AUDIENCE: 1}},
        {"sub": None},
        {"sub": ""},
        {"sub": 12},
        {"sub": "s" * 256},
        {"jti": ""},
        {"jti": 4},
        {"tenant": None},
        {"tenant": "initech"},
        {"tenant": "Acme"},
        {"tenant": "acme "},
        {"tenant": "\u0430cme"},
        {"tenant": ["acme"]},
        {"tenant": "*"},
        {"plan": "gold plan"},
        {"plan": 1},
    ],
)
def test_each_claim_is_exact(changes: dict[str, Any]) -> None:
    """Another issuer, audience or tenant is refused, however near, and so is one of another JSON type."""
    refuses(claims(**changes))


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE]])
def test_one_audience_of_ours_is_enough(audience: Any) -> None:
    """A text or a list, as RFC 7519 allows."""
    assert reading(claims(aud=audience))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value", [True, "1800000000", [], {}, -1, 10**400, 1e300, 253_402_300_800, {"$numberLong": "1"}]
)
def test_times_are_numbers_of_this_age(name: str, value: Any) -> None:
    """Nothing that only looks like a number, and no number that no clock shows."""
    # Hundreds of digits pass json.dumps; NaN and infinity do not get past the strict parser.
    refuses(claims(**{name: value}))


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_times_that_must_be_there(name: str) -> None:
    """A token without an end, or without a beginning, cannot be bounded or revoked."""
    refuses(claims(**{name: None}))


def test_the_leeway_is_the_whole_leeway() -> None:
    """A token ends `LEEWAY_S` after its time and begins as much before it, to the second."""
    end, start = NOW + 600 + LEEWAY_S, NOW + 100 - LEEWAY_S
    assert reading(now=end - 0.01)
    refuses(now=end)
    assert reading(claims(nbf=NOW + 100), now=start)
    refuses(claims(nbf=NOW + 100), now=start - 0.01)
    assert reading(claims(iat=NOW + 100), now=start)
    refuses(claims(iat=NOW + 100), now=start - 0.01)


def test_a_lifetime_is_bounded() -> None:
    """A token for longer than a day, or for no time at all, is refused."""
    assert reading(claims(exp=NOW - 60 + LIFETIME_S_MAX))
    refuses(claims(exp=NOW - 60 + LIFETIME_S_MAX + 1))
    refuses(claims(iat=NOW, exp=NOW))
    refuses(claims(iat=NOW + 10, exp=NOW + 5))


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("headrace/invoke", {"invoke"}),
        ("headrace/invoke:sentiment headrace/read", {"invoke:sentiment", "read"}),
        (["headrace/read", "headrace/admin"], {"read"}),
        (["headrace/invoke:a read"], set()),
        (["headrace/invoke:x headrace/read"], set()),
        ("invoke read", set()),
        ("headrace/INVOKE headrace/invoke: headrace/*", set()),
        ("headrace/headrace/invoke", set()),
        ("headrace/invoke\theadrace/read", set()),
        ({"headrace/invoke": True}, set()),
        ([["headrace/invoke"]], set()),
        (5, set()),
        (None, set()),
        ("", set()),
    ],
)
def test_scopes_deny_by_default(scope: Any, granted: set[str]) -> None:
    """Ours by exact name behind the issuer's prefix; what is unknown, or smuggled in one entry, grants nothing."""
    assert reading(claims(scope=scope)).principal.scopes == granted


@settings(deadline=None)
@given(st.lists(st.text(max_size=20)) | st.text(max_size=60))
def test_granted_scopes_survive_the_authorizers_context(scope: Any) -> None:
    """Joined by spaces and split again, as they travel to the function, they are the same and all of them ours."""
    scopes = reading(claims(scope=scope), known=issuers(scopes_prefix="")).principal.scopes
    assert frozenset(" ".join(sorted(scopes)).split()) == scopes
    assert all(is_scope(one) for one in scopes)


def test_a_plan_is_the_issuers_word_only_where_that_is_configured() -> None:
    """A token's plan counts when `plan_claim` names it; otherwise everybody has the default."""
    assert reading(claims(plan="gold")).principal.plan == "gold"
    assert reading(claims(plan="gold"), known=issuers(plan_claim="")).principal.plan == "standard"


def test_an_issuer_speaks_for_its_own_tenants() -> None:
    """Only those that it is trusted with; `*` is every one."""
    refuses(claims(tenant="initech"))
    assert reading(claims(tenant="initech"), known=issuers(tenants="*")).principal.tenant == "initech"


def test_claims_are_found_by_exact_name() -> None:
    """A namespaced claim is looked up as it is; a dot or a slash leads nowhere."""
    known = issuers(tenant_claim="https://example.com/tenant")
    assert reading(claims(tenant=None, **{"https://example.com/tenant": "acme"}), known=known)
    refuses(claims(tenant=None, **{"https://example.com": {"tenant": "acme"}}), known=known)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"%s","iss":"https://evil.example"}' % NAME.encode(),
        json.dumps(claims())[:-1].encode() + b',"tenant":"globex"}',
        json.dumps(claims())[:-1].encode() + b',"exp":NaN}',
        json.dumps(claims())[:-1].encode() + b',"x":1e999}',
        json.dumps(claims(sub="\ud800")).encode(),
        json.dumps(claims()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(claims()).encode(),
        b"[" * 3000 + b"]" * 3000,
        b"",
        b"null",
        b"5",
    ],
)
def test_json_that_two_parsers_could_read_differently_is_refused(payload: bytes) -> None:
    """Equal keys, infinities, half surrogates, other encodings and endless depth."""
    refuses(payload)
    refuses(header=payload)


@pytest.mark.parametrize("character", ["é", "漢", "🙂", "\u202e", "\u0000"])
def test_subjects_may_be_any_text(character: str) -> None:
    """They are hashed, never shown, so their letters do not matter; equal ones have equal marks."""
    token = reading(claims(sub=character * 3))
    assert subject_mark(NAME, character * 3) in token.marks
    assert token.principal.key_id.isascii()


def test_issuer_and_subject_cannot_be_shifted_into_each_other() -> None:
    """Marks and ids of different pairs differ, even where the texts put together are equal."""
    assert subject_mark("https://a", "b c") != subject_mark("https://ab", "c")
    assert caller_id("https://a", "b") != caller_id("https://a/b", "")
    assert subject_mark(NAME, "x") != token_mark(NAME, "x")


@pytest.mark.parametrize("padding", ["=", "==", " ", "\n", ".", "+", "/"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_base64_has_one_spelling(padding: str, at: int) -> None:
    """Padding, blanks, more parts and the other alphabet are refused."""
    parts = raw(HEADER, claims(), b"signature").split(".")
    parts[at] += padding
    with pytest.raises(Unauthenticated):
        read(".".join(parts), issuers=issuers(), now=NOW)


def test_stray_bits_are_refused() -> None:
    """Two texts that decode to the same bytes are not both that token."""
    header, payload, _ = raw(HEADER, claims()).split(".")
    assert read(f"{header}.{payload}.{encoded(b's')}", issuers=issuers(), now=NOW)
    with pytest.raises(Unauthenticated):
        read(f"{header}.{payload}.c3", issuers=issuers(), now=NOW)
    with pytest.raises(Unauthenticated):
        read(f"{header}.{payload}.cx", issuers=issuers(), now=NOW)


def test_size_is_checked_first() -> None:
    """A token of 8 KB is read, one byte more is not."""
    rest = TOKEN_BYTES_MAX - len(raw(HEADER, claims(padding="")))
    long = claims(padding="x" * (rest * 3 // 4 - 3))
    token = raw(HEADER, long)
    assert TOKEN_BYTES_MAX - 8 < len(token) <= TOKEN_BYTES_MAX
    assert read(token, issuers=issuers(), now=NOW)
    with pytest.raises(Unauthenticated):
        read(raw(HEADER, {**long, "padding": long["padding"] + "x" * 12}), issuers=issuers(), now=NOW)


@settings(deadline=None)
@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,60}\.[A-Za-z0-9_-]{0,60}\.[A-Za-z0-9_-]{0,60}"))
def test_no_text_breaks_the_reader(presented: str) -> None:
    """Whatever is sent as a token, the answer is the one word."""
    with pytest.raises(Unauthenticated, match=r"^Unauthorized$"):
        read(presented, issuers=issuers(), now=NOW)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(name=st.sampled_from(sorted(claims())), value=_JSON)
def test_a_claim_of_any_type_is_read_or_refused(name: str, value: Any) -> None:
    """No JSON value in any claim does anything but that, and none adds a right that the issuer did not give."""
    try:
        token = reading({**claims(), name: value})
    except Unauthenticated:
        return
    assert token.principal.tenant in {"acme", "globex"}
    assert all(is_scope(scope) for scope in token.principal.scopes)
