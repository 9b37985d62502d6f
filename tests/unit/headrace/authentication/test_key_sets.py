"""Issuers' keys: which are usable, and how often an issuer is asked whatever callers send."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.authentication.issuers import Issuer
from headrace.authentication.key_sets import (
    FRESH_S,
    KEYS_MAX,
    REFRESH_INTERVAL_S,
    SET_BYTES_MAX,
    STALE_S_MAX,
    KeySets,
    parse_key_set,
)
from headrace.errors import InvalidRequest, StoreUnavailable, Unauthenticated
from tests.toy_issuer import NAME, encoded, issuers, key_set, p256_key, rsa_key

ISSUER: Issuer = issuers()[NAME]
N = encoded(b"\x80" + bytes(254) + b"\x01")
COORDINATE = encoded(bytes(32))
RSA = {"kty": "RSA", "kid": "one", "n": N, "e": "AQAB"}
EC = {"kty": "EC", "kid": "two", "crv": "P-256", "x": COORDINATE, "y": COORDINATE}


def usable(*keys: Any) -> set[tuple[str, str]]:
    """Ids and algorithms of the keys that are taken."""
    return set(parse_key_set(json.dumps({"keys": list(keys)}).encode()))


@dataclass
class World:
    """An issuer, a clock, and how often the one was asked at which time of the other."""

    keys: bytes = b'{"keys":[]}'
    up: bool = True
    now: float = 1000.0
    asked: list[float] = field(default_factory=list)

    def fetch(self, address: str) -> bytes:
        """Answer or fail."""
        assert address == ISSUER.jwks_uri
        self.asked.append(self.now)
        if not self.up:
            raise StoreUnavailable("away")
        return self.keys

    def sets(self) -> KeySets:
        """A process's keys."""
        return KeySets(fetch=self.fetch, wall=lambda: self.now)


def test_both_kinds_of_key_are_taken() -> None:
    """RSA for RS256 and P-256 for ES256, as real issuers publish them; one id may name one of each."""
    assert set(parse_key_set(key_set(rsa_key("r"), p256_key("e")))) == {("r", "RS256"), ("e", "ES256")}
    assert usable(RSA, {**EC, "kid": "one"}) == {("one", "RS256"), ("one", "ES256")}


@pytest.mark.parametrize(
    "key",
    [
        {**RSA, "use": "enc"},
        {**RSA, "use": None},
        {**RSA, "alg": "RS512"},
        {**RSA, "alg": "HS256"},
        {**RSA, "alg": "ES256"},
        {**RSA, "key_ops": ["encrypt"]},
        {**RSA, "key_ops": "verify"},
        {**RSA, "d": "AQAB"},
        {**RSA, "n": encoded(b"\x80" + bytes(126) + b"\x01")},
        {**RSA, "n": encoded(bytes(128) + b"\x80" + bytes(126) + b"\x01")},
        {**RSA, "n": encoded(b"\x80" + bytes(1023) + b"\x01")},
        {**RSA, "e": "AQ"},
        {**RSA, "e": "Ag"},
        {**RSA, "e": encoded(b"\x01" * 5)},
        {**RSA, "e": None},
        {**RSA, "kid": None},
        {**RSA, "kid": 1},
        {**RSA, "kid": "k" * 129},
        {**RSA, "kty": "oct", "k": "c2VjcmV0"},
        {**EC, "crv": "P-384"},
        {**EC, "crv": "secp256k1"},
        {**EC, "x": encoded(bytes(31))},
        {**EC, "y": 5},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": COORDINATE},
        "key",
        None,
    ],
)
def test_other_keys_are_left_out(key: Any) -> None:
    """Other uses, algorithms, sizes and kinds, private parts by mistake; the good key beside them stays."""
    assert usable(key, {**EC, "kid": "good"}) == {("good", "ES256")}


def test_keys_that_share_an_id_are_both_left_out() -> None:
    """Nobody can tell which was meant: not the first, and not the last."""
    assert usable(RSA, {**RSA, "e": "Aw"}, EC) == {("two", "ES256")}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
        json.dumps({"keys": [RSA] * (KEYS_MAX + 1)}).encode(),
        b'{"keys":[]' + b" " * SET_BYTES_MAX + b"}",
    ],
)
def test_what_is_no_bounded_set_is_refused(body: bytes) -> None:
    """Too many keys are not cut down to some of them."""
    with pytest.raises(InvalidRequest):
        parse_key_set(body)


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.builds(
        lambda value: json.dumps({"keys": [{**RSA, **value}]}).encode(),
        st.dictionaries(
            st.sampled_from(["kty", "n", "e", "kid", "use", "alg", "key_ops"]),
            st.none() | st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=3)),
        ),
    )
)
def test_no_document_breaks_the_parser(body: bytes) -> None:
    """It is a set or it is refused, whatever an issuer's server sends."""
    try:
        parse_key_set(body)
    except InvalidRequest:
        return


def test_keys_are_fetched_once_and_kept() -> None:
    """A thousand lookups within the lifetime cost one fetch, and the next after it a second."""
    world = World(key_set(rsa_key("one")))
    sets = world.sets()
    for _ in range(1000):
        assert sets.key(ISSUER, "one", "RS256")
    assert len(world.asked) == 1
    world.now += FRESH_S
    assert sets.key(ISSUER, "one", "RS256")
    assert len(world.asked) == 2


def test_a_new_key_is_found_at_once() -> None:
    """After a rotation the first token with the new id leads to one fetch, and the old key is gone with it."""
    world = World(key_set(rsa_key("old")))
    sets = world.sets()
    assert sets.key(ISSUER, "old", "RS256")
    world.now += REFRESH_INTERVAL_S
    world.keys = key_set(rsa_key("new"))
    assert sets.key(ISSUER, "new", "RS256")
    with pytest.raises(Unauthenticated):
        sets.key(ISSUER, "old", "RS256")
    assert len(world.asked) == 2


def test_a_storm_of_unknown_ids_costs_one_fetch_per_interval() -> None:
    """Invented key ids do not turn callers into a load on the issuer."""
    world = World(key_set(rsa_key("one")))
    sets = world.sets()
    for step in range(10_000):
        world.now = 1000.0 + step * 0.01
        with pytest.raises(Unauthenticated, match=r"^Unauthorized$"):
            sets.key(ISSUER, f"kid-{step}", "RS256")
    assert len(world.asked) <= 100 / REFRESH_INTERVAL_S
    assert sets.key(ISSUER, "one", "RS256")


def test_an_id_counts_for_its_own_algorithm_only() -> None:
    """A key that is known for RS256 is no key for ES256."""
    sets = World(key_set(rsa_key("one"))).sets()
    with pytest.raises(Unauthenticated):
        sets.key(ISSUER, "one", "ES256")


def test_known_keys_outlive_an_outage_for_a_bounded_time() -> None:
    """They work on until `STALE_S_MAX`, with one attempt per interval, and then nobody is let in."""
    world = World(key_set(rsa_key("one")))
    sets = world.sets()
    sets.key(ISSUER, "one", "RS256")
    world.up = False
    world.now += STALE_S_MAX - 0.01
    assert sets.key(ISSUER, "one", "RS256")
    assert sets.key(ISSUER, "one", "RS256")
    assert len(world.asked) == 2
    world.now += 0.01
    with pytest.raises(StoreUnavailable):
        sets.key(ISSUER, "one", "RS256")
    world.up = True
    world.now += REFRESH_INTERVAL_S
    assert sets.key(ISSUER, "one", "RS256")


def test_an_issuer_that_was_never_reached_is_unavailable_and_not_hammered() -> None:
    """That its tokens cannot be checked is not the callers' fault, and asking again waits its turn."""
    world = World(up=False)
    sets = world.sets()
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            sets.key(ISSUER, "one", "RS256")
    assert len(world.asked) == 1


def test_an_answer_that_is_no_set_changes_nothing() -> None:
    """A login page in place of the keys counts as an outage."""
    world = World(key_set(rsa_key("one")))
    sets = world.sets()
    sets.key(ISSUER, "one", "RS256")
    world.keys = b"<html>"
    world.now += FRESH_S
    assert sets.key(ISSUER, "one", "RS256")


def test_a_clock_that_is_set_back_makes_keys_old() -> None:
    """Otherwise they would stay fresh for as long as it was set back."""
    world = World(key_set(rsa_key("one")))
    sets = world.sets()
    sets.key(ISSUER, "one", "RS256")
    world.now -= 500
    assert sets.key(ISSUER, "one", "RS256")
    assert len(world.asked) == 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 400), st.booleans(), st.sampled_from(["one", "two", "junk"])), max_size=60))
def test_fetches_are_bounded_by_time_alone(steps: list[tuple[float, bool, str]]) -> None:
    """Whatever is asked and however the issuer fares, two fetches are never closer than the interval."""
    world = World(key_set(rsa_key("one"), rsa_key("two")))
    sets = world.sets()
    for wait, up, key_id in steps:
        world.now += wait
        world.up = up
        try:
            assert sets.key(ISSUER, key_id, "RS256")
        except (Unauthenticated, StoreUnavailable):
            continue
        assert key_id != "junk"
    assert all(
        later - earlier >= REFRESH_INTERVAL_S for earlier, later in zip(world.asked, world.asked[1:], strict=False)
    )
