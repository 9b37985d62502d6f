"""What the state table relies on in DynamoDB holds in the mended moto, and its bad days can be had on request."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from infra_local.faults import Fault
from infra_local.moto_faults import write_faults
from tests.contract.test_moto_mends import client, invocations, moto_faults, moto_url

__all__ = ["invocations", "moto_faults", "moto_url"]
KEY = {"pk": {"S": "tenant#acme"}, "sk": {"S": "slots"}}
TABLES = {"state": "state", "keys": "other"}


@pytest.fixture
def database(moto_url: str) -> Iterator[Any]:
    """A client, with two empty tables of the state table's shape."""
    made = client("dynamodb", moto_url)
    for table in TABLES.values():
        made.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
    yield made
    for table in TABLES.values():
        made.delete_table(TableName=table)


@pytest.fixture
def faults(moto_faults: Path) -> Iterator[Path]:
    """The file in which faults are asked for; empty again afterwards."""
    yield moto_faults
    write_faults(moto_faults, (), tables=TABLES)


def take_slot(database: Any, name: str, *, size_max: int, key: dict[str, Any] = KEY, **arguments: Any) -> Any:
    """Adds an entry to the map ``slots`` of an item, where it has fewer than so many."""
    return database.update_item(
        TableName="state",
        Key=key,
        UpdateExpression="SET slots.#name = :until",
        ConditionExpression="size(slots) < :max",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":until": {"N": "1"}, ":max": {"N": str(size_max)}},
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
        **arguments,
    )


def test_the_size_of_a_map_bounds_it(database: Any) -> None:
    """Concurrent takers get exactly as many entries as the condition allows, and the refused see what stands there."""
    database.put_item(TableName="state", Item={**KEY, "slots": {"M": {}}})

    def take(number: int) -> dict[str, Any] | None:
        try:
            take_slot(database, f"s{number}", size_max=5)
        except database.exceptions.ConditionalCheckFailedException as error:
            item: dict[str, Any] = error.response["Item"]
            return item
        return None

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(take, range(40)))
    assert seen.count(None) == 5
    assert all(len(item["slots"]["M"]) == 5 for item in seen if item is not None)


def test_a_size_of_nothing_fails_the_condition(database: Any) -> None:
    """Where the map or the whole item is missing, the write is refused and nothing appears."""
    for key in (KEY, {**KEY, "sk": {"S": "never"}}):
        if key is KEY:
            database.put_item(TableName="state", Item=KEY)
        with pytest.raises(database.exceptions.ConditionalCheckFailedException):
            take_slot(database, "x", size_max=5, key=key)
    assert "Item" not in database.get_item(TableName="state", Key={**KEY, "sk": {"S": "never"}})


def settle(amount: int, *, limit: int, table: str = "state") -> dict[str, Any]:
    """One part of a transaction: spend so much below a limit."""
    return {
        "Update": {
            "TableName": table,
            "Key": KEY,
            "UpdateExpression": "ADD spent :amount",
            "ConditionExpression": "attribute_not_exists(spent) OR spent <= :room",
            "ExpressionAttributeValues": {":amount": {"N": str(amount)}, ":room": {"N": str(limit - amount)}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def record(name: str) -> dict[str, Any]:
    """The other part: a record that must be new."""
    return {
        "Put": {
            "TableName": "state",
            "Item": {"pk": KEY["pk"], "sk": {"S": name}},
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def test_transactions_are_whole_and_say_what_stood_in_the_way(database: Any) -> None:
    """All writes or none, also concurrently, and the reasons hold the item at the failed condition."""

    def spend(number: int) -> list[dict[str, Any]]:
        try:
            database.transact_write_items(TransactItems=[settle(10, limit=50), record(f"hold#{number}")])
        except database.exceptions.TransactionCanceledException as error:
            reasons: list[dict[str, Any]] = error.response["CancellationReasons"]
            return reasons
        return []

    with ThreadPoolExecutor(8) as pool:
        refused = [reasons for reasons in pool.map(spend, range(12)) if reasons]
    assert len(refused) == 7
    for first, second in refused:
        assert (first["Code"], second["Code"]) == ("ConditionalCheckFailed", "None")
        assert first["Item"]["spent"] == {"N": "50"}
    found = database.query(
        TableName="state", KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": KEY["pk"]}
    )["Items"]
    assert len([item for item in found if item["sk"]["S"].startswith("hold#")]) == 5


def test_a_transaction_sent_twice_counts_once(database: Any) -> None:
    """Under the same token the second succeeds and changes nothing; a failed one may be sent again."""
    for _ in range(2):
        database.transact_write_items(TransactItems=[settle(10, limit=100)], ClientRequestToken="once")
    for _ in range(2):
        with pytest.raises(database.exceptions.TransactionCanceledException):
            database.transact_write_items(TransactItems=[settle(10, limit=5)], ClientRequestToken="never")
    assert database.get_item(TableName="state", Key=KEY)["Item"]["spent"] == {"N": "10"}


THROTTLE = Fault(endpoint="dynamodb", kind="throttle", variant="state")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("throttle", 400, "ProvisionedThroughputExceededException"),
        ("5xx", 500, "InternalServerError"),
        ("unavailable", 503, "ServiceUnavailable"),
    ],
)
def test_dynamodb_refuses_on_request(database: Any, faults: Path, kind: str, status: int, code: str) -> None:
    """Each fault answers as DynamoDB does, for calls, batches and transactions of the named table alone."""
    write_faults(faults, [replace(THROTTLE, kind=kind)], tables=TABLES)
    calls = (
        lambda: database.get_item(TableName="state", Key=KEY),
        lambda: database.transact_write_items(TransactItems=[settle(1, limit=5, table="other"), record("x")]),
        lambda: database.batch_get_item(RequestItems={"state": {"Keys": [KEY]}}),
    )
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert caught.value.response["Error"]["Code"] == code
    assert "Item" not in database.get_item(TableName="other", Key=KEY)
    write_faults(faults, [], tables=TABLES)
    assert "Item" not in database.get_item(TableName="state", Key=KEY)


def test_dynamodb_is_silent_on_request(database: Any, faults: Path, moto_url: str) -> None:
    """A hang outlasts the caller and ends with the fault."""
    write_faults(faults, [replace(THROTTLE, kind="hang", variant=None)], tables=TABLES)
    with pytest.raises(ReadTimeoutError):
        client("dynamodb", moto_url, read_timeout=0.5).get_item(TableName="other", Key=KEY)
    write_faults(faults, [], tables=TABLES)
    assert "Item" not in database.get_item(TableName="other", Key=KEY)


def test_faults_end_by_themselves_and_spare_other_services(database: Any, faults: Path, moto_url: str) -> None:
    """A fault whose time is over strikes no more, and no other service is touched while one is in force."""
    write_faults(faults, [replace(THROTTLE, variant=None)], tables=TABLES)
    client("sqs", moto_url).list_queues()
    write_faults(faults, [replace(THROTTLE, expires_at=time.monotonic() - 1)], tables=TABLES)
    assert "Item" not in database.get_item(TableName="state", Key=KEY)
