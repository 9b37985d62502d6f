"""Revocations and grants: the fakes and the DynamoDB table keep the same contracts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from headrace.authentication.iam import GrantStore, grant
from headrace.authentication.revocation import FOREVER, RevocationStore, subject_mark, tenant_mark, token_mark
from headrace.authentication.tokens import LIFETIME_S_MAX
from headrace.errors import StoreUnavailable
from headrace.fakes.authentication import FakeGrants, FakeRevocations
from headrace_aws import keys
from headrace_aws.clients import client
from headrace_aws.grants_table import GrantsTable
from headrace_aws.keys_items import KeysItems
from headrace_aws.revocations_table import RevocationsTable

TABLE = "keys"
ROLE = "arn:aws:iam::123456789012:role/Batch"
ISSUER = "https://login.example.com/"


def make_table() -> None:
    """The table as the CDK app declares it."""
    client("dynamodb", read_timeout_s=2.0).create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


@pytest.fixture(params=["fake", "dynamodb"])
def revocations(request: pytest.FixtureRequest) -> RevocationStore:
    """Each implementation in turn."""
    if request.param == "fake":
        return FakeRevocations()
    request.getfixturevalue("aws")
    make_table()
    return RevocationsTable(TABLE)


@pytest.fixture(params=["fake", "dynamodb"])
def grants(request: pytest.FixtureRequest) -> GrantStore:
    """Each implementation in turn."""
    if request.param == "fake":
        return FakeGrants()
    request.getfixturevalue("aws")
    make_table()
    return GrantsTable(TABLE)


def test_only_what_was_asked_for_and_is_set_stands(revocations: RevocationStore) -> None:
    """Of the marks asked for, those that are set come with their times; others of the table do not matter."""
    revocations.revoke("a", before=5)
    revocations.revoke("b", before=7, forget_at=9)
    revocations.revoke("c", before=FOREVER)
    assert revocations.standing(["a", "c", "x"]) == {"a": 5, "c": FOREVER}
    assert revocations.standing(["x", "y", "z"]) == {}


def test_a_revocation_never_gets_weaker(revocations: RevocationStore) -> None:
    """A later time replaces an earlier one, and an earlier one changes nothing, in whichever order they come."""
    revocations.revoke("a", before=5)
    revocations.revoke("a", before=3)
    assert revocations.standing(["a"]) == {"a": 5}
    revocations.revoke("a", before=8, forget_at=100)
    revocations.revoke("a", before=9)
    assert revocations.standing(["a"]) == {"a": 9}


def test_a_mark_can_be_lifted(revocations: RevocationStore) -> None:
    """It stands no more; one that was not set is said."""
    revocations.revoke("a", before=5)
    assert revocations.lift("a")
    assert revocations.standing(["a"]) == {}
    assert not revocations.lift("a")


def test_a_grant_is_read_as_it_was_written(grants: GrantStore) -> None:
    """Every field survives, a second one replaces the first, and what is unknown is None."""
    first = grant(ROLE, tenant="acme", plan="gold", scopes=frozenset({"read", "invoke:sentiment"}))
    grants.put(first)
    assert grants.get(ROLE) == first
    grants.put(replace(first, scopes=frozenset()))
    assert grants.get(ROLE) == replace(first, scopes=frozenset())
    assert grants.get(ROLE + "2") is None
    assert grants.remove(ROLE)
    assert grants.get(ROLE) is None
    assert not grants.remove(ROLE)


class PartialAnswer(KeysItems):
    """A table that throttles a part of what is read."""

    def _named(self, action: str, **arguments: Any) -> Any:
        assert action == "batch_get_item"
        return {"Responses": {TABLE: []}, "UnprocessedKeys": arguments["RequestItems"]}


def test_an_item_that_was_not_looked_at_is_not_absent() -> None:
    """DynamoDB may answer a batch in part; taking that for "not revoked" would let a revoked token in."""
    with pytest.raises(StoreUnavailable):
        RevocationsTable(TABLE, items=PartialAnswer(TABLE)).standing(["a"])


@pytest.mark.usefixtures("aws")
def test_a_table_that_fails_is_unavailable() -> None:
    """Without a table every call says so in our own words, and nothing counts as absent."""
    for call in (
        lambda: RevocationsTable("none").standing(["a"]),
        lambda: RevocationsTable("none").revoke("a", before=1),
        lambda: RevocationsTable("none").lift("a"),
        lambda: GrantsTable("none").get(ROLE),
        lambda: GrantsTable("none").remove(ROLE),
    ):
        with pytest.raises(StoreUnavailable, match="ResourceNotFoundException"):
            call()


@pytest.mark.usefixtures("aws")
def test_the_operators_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens, tenants and roles are ended and allowed by `python -m headrace_aws.keys`, and mistakes are said."""
    make_table()
    monkeypatch.setenv("HEADRACE_KEYS_TABLE", TABLE)
    monkeypatch.setenv("HEADRACE_PEPPER_SECRET", "pepper")
    store, now = RevocationsTable(TABLE), int(time.time())
    one, everything, tenant = token_mark(ISSUER, "t-1"), subject_mark(ISSUER, "u-1"), tenant_mark("acme")

    assert keys.main(["revoke-token", "--issuer", ISSUER, "--jti", "t-1"]) == 0
    assert keys.main(["revoke-token", "--issuer", ISSUER, "--subject", "u-1"]) == 0
    assert keys.main(["block-tenant", "acme"]) == 0
    standing = store.standing([one, everything, tenant])
    assert standing[one] == standing[tenant] == FOREVER
    assert now <= standing[everything] <= now + 120
    assert keys.main(["revoke-token", "--issuer", ISSUER, "--subject", "u-2", "--before", "1000"]) == 0
    assert store.standing([subject_mark(ISSUER, "u-2")]) == {subject_mark(ISSUER, "u-2"): 1000}

    items = client("dynamodb", read_timeout_s=2.0).scan(TableName=TABLE)["Items"]
    forgotten = {item["pk"]["S"]: int(item["forget_at"]["N"]) for item in items if "forget_at" in item}
    assert all(at >= now + LIFETIME_S_MAX for at in forgotten.values())
    assert f"revoked#{tenant}" not in forgotten
    assert len(forgotten) == 3

    assert keys.main(["unblock-tenant", "acme"]) == 0
    assert store.standing([tenant]) == {}
    assert keys.main(["unblock-tenant", "acme"]) == 1
    assert "not blocked" in capsys.readouterr().err
    assert keys.main(["block-tenant", "Acme"]) == 1

    assert keys.main(["allow-role", ROLE.replace("role/", "role/path/"), "--tenant", "acme", "--scope", "read"]) == 0
    assert GrantsTable(TABLE).get(ROLE) == grant(ROLE, tenant="acme", plan="standard", scopes=frozenset({"read"}))
    assert keys.main(["forbid-role", ROLE]) == 0
    assert keys.main(["forbid-role", ROLE]) == 1
    assert keys.main(["allow-role", "arn:aws:iam::123456789012:root", "--tenant", "acme"]) == 1
    assert "name a role" in capsys.readouterr().err


@pytest.mark.usefixtures("aws")
def test_a_mistyped_issuer_is_refused_where_issuers_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the command would revoke nothing and look as if it had."""
    make_table()
    configured = f"""[{{"issuer": "{ISSUER}", "audience": "a", "jwks_uri": "https://login.example.com/keys",
        "tenants": "*", "default_plan": "standard"}}]"""
    monkeypatch.setenv("HEADRACE_KEYS_TABLE", TABLE)
    monkeypatch.setenv("HEADRACE_PEPPER_SECRET", "pepper")
    monkeypatch.setenv("HEADRACE_OIDC_ISSUERS", configured)
    assert keys.main(["revoke-token", "--issuer", ISSUER, "--jti", "t-1"]) == 0
    assert keys.main(["revoke-token", "--issuer", ISSUER.rstrip("/"), "--jti", "t-1"]) == 1
    assert ISSUER in capsys.readouterr().err
