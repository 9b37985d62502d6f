"""The configuration of issuers: strict, and every problem named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.authentication.issuers import ISSUERS_MAX, InvalidIssuers, Issuer, parse_issuers
from tests.toy_issuer import CONFIGURATION, issuers

LEAST = {
    "issuer": "https://i",
    "audience": "a",
    "jwks_uri": "https://i/keys",
    "tenants": ["acme"],
    "default_plan": "standard",
}


def test_the_least_configuration_has_safe_defaults() -> None:
    """RS256 alone, the claims `tenant` and `scope`, and no plan from a token."""
    assert parse_issuers(json.dumps([LEAST])) == {
        "https://i": Issuer(
            "https://i", frozenset({"a"}), "https://i/keys", frozenset({"acme"}), "standard", frozenset({"RS256"})
        )
    }
    assert parse_issuers("[]") == {}


def test_every_problem_is_named() -> None:
    """One start is enough to learn of all of them, each with its place."""
    with pytest.raises(InvalidIssuers) as caught:
        parse_issuers(json.dumps([{"issuer": 5, "algorithms": ["HS256"], "secret": "s"}, LEAST, LEAST, "x"]))
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    fields = ["issuer", "audience", "jwks_uri", "tenants", "default_plan", "algorithms", "secret"]
    assert places == [*(f"issuers[0].{name}" for name in fields), "issuers[2].issuer", "issuers[3]"]


@pytest.mark.parametrize(
    "address",
    [
        "http://login.example.com/keys",
        "http://localhost/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://127.0.0.1@evil.example/keys",
        "http://0.0.0.0/keys",
        "http://169.254.169.254/keys",
        "https://user@login.example.com/keys",
        "https://login.example.com/keys#part",
        "https://login.example.com\\@evil.example/keys",
        "https:///keys",
        "https://login.example.com/ke ys",
        "https://login.example.com/keys\n",
        "file:///etc/passwd",
        "HTTPS://login.example.com/keys",
        "",
    ],
)
def test_keys_come_by_https_or_from_this_machine(address: str) -> None:
    """Plain http leaves the machine for nobody, and an address has no second reading."""
    with pytest.raises(InvalidIssuers, match="jwks_uri"):
        issuers(jwks_uri=address)


@pytest.mark.parametrize(
    "address",
    [
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab12/.well-known/jwks.json",
        "https://login.example.com:8443/keys?p=b2c_1",
        "http://127.0.0.1:9000/keys",
        "http://[::1]:9000/keys",
    ],
)
def test_addresses_that_issuers_use_are_taken(address: str) -> None:
    """With ports and queries, and loopback addresses for the local platform."""
    assert issuers(jwks_uri=address)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithms": ["RS256", "none"]},
        {"algorithms": []},
        {"algorithms": "HS256"},
        {"audience": []},
        {"audience": [""]},
        {"tenants": []},
        {"tenants": ["Acme"]},
        {"tenants": None},
        {"default_plan": ""},
        {"scopes_prefix": "a b"},
        {"tenant_claim": ""},
    ],
)
def test_fields_are_held_to_their_form(changes: dict[str, Any]) -> None:
    """The field that is wrong is the one that is named."""
    with pytest.raises(InvalidIssuers, match=next(iter(changes))):
        issuers(**changes)


@pytest.mark.parametrize("text", ["", "{}", "null", "[", '[{"issuer":"a","issuer":"b"}]', "[" * 5000, "\ud800"])
def test_what_is_no_list_is_refused(text: str) -> None:
    """Strictly: equal keys are a mistake, not a choice."""
    with pytest.raises(InvalidIssuers, match="issuers"):
        parse_issuers(text)


def test_the_number_of_issuers_is_bounded() -> None:
    """`ISSUERS_MAX` are taken."""
    many = [{**LEAST, "issuer": f"https://{index}"} for index in range(ISSUERS_MAX + 1)]
    assert len(parse_issuers(json.dumps(many[:-1]))) == ISSUERS_MAX
    with pytest.raises(InvalidIssuers, match="at most"):
        parse_issuers(json.dumps(many))


def test_the_toys_configuration_is_whole() -> None:
    """The configuration that other tests use names every field that they rely on."""
    assert CONFIGURATION.keys() >= LEAST.keys()
