"""Real signatures: what is signed by the right key with the right algorithm, and everything that only looks like it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from headrace.authentication.authenticator import Tokens
from headrace.authentication.key_sets import Key, KeySets
from headrace.errors import Unauthenticated
from headrace_aws.signatures import JoseSignatures
from tests.toy_issuer import NOW, claims, decoded, encoded, issuers, key_set, p256_key, rsa_key, signed

PUBLISHED = key_set(rsa_key("rsa"), p256_key("ec"))
TOKENS = Tokens(issuers(), KeySets(fetch=lambda _: PUBLISHED, wall=lambda: NOW), JoseSignatures())


def refuses(token: str, tokens: Tokens = TOKENS) -> None:
    """The token is refused, in one word."""
    with pytest.raises(Unauthenticated, match=r"^Unauthorized$"):
        tokens.verified(token, now=NOW)


@pytest.mark.parametrize("key", [rsa_key("rsa"), p256_key("ec")], ids=["RS256", "ES256"])
def test_a_signed_token_is_good(key: Any) -> None:
    """Both algorithms, and headers of no meaning to us do not matter."""
    assert TOKENS.verified(signed(claims(), key), now=NOW).principal.tenant == "acme"
    assert TOKENS.verified(signed(claims(), key, x5t="aa", nonce="n", jku="https://evil.example"), now=NOW)


def test_the_public_key_is_no_secret() -> None:
    """RS256 to HS256 with the published key as the shared secret, in each form that it can be had, is refused."""
    public = rsa_key("rsa")
    forms = [
        public.as_pem(private=False),
        public.as_der(private=False),
        json.dumps(public.as_dict(private=False)).encode(),
    ]
    good = signed(claims(), public).split(".")
    for form in forms:
        # By hand: the library makes no shared secret of a public key either.
        header = encoded(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
        for head in (header, good[0]):
            code = hmac.new(form, f"{head}.{good[1]}".encode(), hashlib.sha256).digest()
            refuses(f"{head}.{good[1]}.{encoded(code)}")


def test_a_key_checks_its_own_algorithm_alone() -> None:
    """A token that says ES256 over an RSA key's id, or the reverse, finds no key."""
    refuses(signed(claims(), p256_key("ec"), kid="rsa"))
    refuses(signed(claims(), rsa_key("rsa"), kid="ec"))
    token = TOKENS.verified(signed(claims(), rsa_key("rsa")), now=NOW)
    assert not JoseSignatures().is_signed(token, Key("ES256", (("kty", "EC"),)))


def test_another_key_of_the_same_name_is_refused() -> None:
    """The id finds the published key; what signed must be that one."""
    other = RSAKey.generate_key(2048, {"kid": "rsa"})
    refuses(signed(claims(), other))
    refuses(signed(claims(), other, jwk=other.as_dict(private=False)))
    refuses(signed(claims(), other, kid="unknown"))
    refuses(signed(claims(), other, kid="../../rsa"))


@pytest.mark.parametrize("key", [rsa_key("rsa"), p256_key("ec")], ids=["RS256", "ES256"])
@settings(deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unseen(key: Any, data: st.DataObject) -> None:
    """One letter of one part, anywhere, and the token is refused."""
    token = signed(claims(), key)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_"))
    if token[at] in {".", letter}:
        return
    refuses(token[:at] + letter + token[at + 1 :])


def test_parts_of_two_tokens_make_no_third() -> None:
    """Claims of one under the signature of another, a signature left out, and one cut short or made longer."""
    one = signed(claims(), rsa_key("rsa")).split(".")
    two = signed(claims(tenant="globex"), rsa_key("rsa")).split(".")
    refuses(f"{one[0]}.{two[1]}.{one[2]}")
    refuses(f"{one[0]}.{one[1]}.")
    refuses(f"{one[0]}.{one[1]}")
    refuses(f"{one[0]}.{one[1]}.{encoded(decoded(one[2])[:-1])}")
    refuses(f"{one[0]}.{one[1]}.{encoded(decoded(one[2]) + b'0')}")


def test_signatures_of_a_curve_are_held_to_their_form() -> None:
    """All zeros (CVE-2022-21449), DER in place of two numbers, and no bytes that fit."""
    header, payload, signature = signed(claims(), p256_key("ec")).split(".")
    numbers = decoded(signature)
    der = b"\x30\x44\x02\x20" + numbers[:32] + b"\x02\x20" + numbers[32:]
    for forged in (bytes(64), der, numbers[32:] + numbers[:32], numbers[:63], b"\xff" * 64):
        refuses(f"{header}.{payload}.{encoded(forged)}")


def test_a_set_that_cannot_be_imported_signs_nothing() -> None:
    """A point that is not on the curve passes the parser's sizes, and is refused by the cryptography."""
    bad = json.dumps({"keys": [{**p256_key("ec").as_dict(private=False), "x": encoded(b"\x01" * 32)}]}).encode()
    tokens = Tokens(issuers(), KeySets(fetch=lambda _: bad, wall=lambda: NOW), JoseSignatures())
    refuses(signed(claims(), p256_key("ec")), tokens)
