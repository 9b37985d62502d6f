"""The fake key store and the DynamoDB table keep the same contract."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from headrace.authentication.api_keys import KeyRecord, KeyStore, mint, verify
from headrace.errors import Unauthenticated
from headrace.fakes.targets import FakeKeyStore
from headrace_aws import keys
from headrace_aws.clients import client
from headrace_aws.keys_table import KeysTable

RECORD = KeyRecord("AbCdEfGhIjKl", "f" * 64, "acme", "gold", frozenset({"read", "invoke"}), 1, 2, 0)
TABLE = "keys"
PEPPER = "p" * 44


@pytest.fixture(params=["fake", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Iterator[KeyStore]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeKeyStore()
        return
    request.getfixturevalue("aws")
    make_table()
    yield KeysTable(TABLE)


def make_table() -> None:
    """The table as the CDK app declares it."""
    client("dynamodb", read_timeout_s=2.0).create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def test_a_record_is_read_as_it_was_written(store: KeyStore) -> None:
    """Every field survives; an unknown id is None."""
    store.put(RECORD)
    assert store.get(RECORD.key_id) == RECORD
    assert store.get("missing-id") is None


def test_an_id_is_never_overwritten(store: KeyStore) -> None:
    """A second record of the same id is refused and changes nothing."""
    store.put(RECORD)
    with pytest.raises((KeyError, RuntimeError)):
        store.put(replace(RECORD, tenant="other"))
    assert store.get(RECORD.key_id) == RECORD


def test_revoking_marks_a_known_key_only(store: KeyStore) -> None:
    """The record keeps when it ended; an unknown id is said and not created."""
    store.put(RECORD)
    assert store.revoke(RECORD.key_id, at=77)
    assert store.get(RECORD.key_id) == replace(RECORD, revoked_at=77)
    assert not store.revoke("missing-id", at=77)
    assert store.get("missing-id") is None


def test_a_key_is_good_until_it_is_revoked(store: KeyStore) -> None:
    """From minting to refusal, over either store."""
    pepper = PEPPER.encode()
    key, record = mint(
        tenant="acme", plan="p", scopes=frozenset({"read"}), pepper=pepper, now=1, random_bytes=secrets.token_bytes
    )
    store.put(record)
    assert verify(key, store=store, pepper=pepper, now=2).tenant == "acme"
    store.revoke(record.key_id, at=2)
    with pytest.raises(Unauthenticated):
        verify(key, store=store, pepper=pepper, now=3)


@pytest.mark.usefixtures("aws")
def test_the_operators_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m headrace_aws.keys` prints a key that is good, ends it, and says what is missing or unknown."""
    make_table()
    client("secretsmanager", read_timeout_s=2.0).create_secret(Name="pepper", SecretString=PEPPER)
    assert keys.main(["issue", "--tenant", "acme"]) == 1
    assert "HEADRACE_KEYS_TABLE, HEADRACE_PEPPER_SECRET" in capsys.readouterr().err
    monkeypatch.setenv("HEADRACE_KEYS_TABLE", TABLE)
    monkeypatch.setenv("HEADRACE_PEPPER_SECRET", "pepper")
    assert keys.main(["issue", "--tenant", "acme", "--scope", "invoke:sentiment"]) == 0
    key = capsys.readouterr().out.strip()
    store = KeysTable(TABLE)
    assert verify(key, store=store, pepper=PEPPER.encode(), now=2).scopes == {"invoke:sentiment"}
    assert keys.main(["issue", "--tenant", "Not A Tenant"]) == 1
    assert "tenant must be" in capsys.readouterr().err
    assert keys.main(["revoke", key.split("_")[1]]) == 0
    assert keys.main(["revoke", "missing-id"]) == 1
    with pytest.raises(Unauthenticated):
        verify(key, store=store, pepper=PEPPER.encode(), now=2)
