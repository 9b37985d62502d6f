"""The table of keys, revocations and grants: its calls, bounded in time, with two ways to fail.

Every item has one string key, `pk`. DynamoDB's time to live may remove an item at its `forget_at` (seconds since the
epoch); nothing relies on that.
"""

from __future__ import annotations

from typing import Any

from headrace.errors import StoreUnavailable
from headrace_aws.clients import client, error_code

READ_TIMEOUT_S = 2.0

Item = dict[str, Any]


class ConditionFailed(Exception):
    """A conditional write did not apply."""


class KeysItems:
    """DynamoDB's calls on the one table, by their own names and arguments.

    Raises (each call):
        ConditionFailed: `ConditionExpression` does not hold.
        StoreUnavailable: no answer, or one that is no use.
    """

    def __init__(self, table: str) -> None:
        self._table = table

    def get(self, pk: str) -> Item | None:
        """One item, or None. Consistent: what ended a moment ago must not come back from a lagging replica."""
        item: Item | None = self._call("get_item", Key=key(pk), ConsistentRead=True).get("Item")
        return item

    def get_many(self, pks: list[str]) -> list[Item]:
        """The items that exist, in one consistent call (BatchGetItem, at most 100)."""
        asked = {self._table: {"Keys": [key(pk) for pk in pks], "ConsistentRead": True}}
        answer = self._named("batch_get_item", RequestItems=asked)
        # An item that was not looked at is not an item that does not exist.
        if answer.get("UnprocessedKeys"):
            raise StoreUnavailable("The keys table answered in part only.")
        items: list[Item] = answer["Responses"].get(self._table, [])
        return items

    def put(self, item: Item, **arguments: Any) -> None:
        """Write an item."""
        self._call("put_item", Item=item, **arguments)

    def update(self, pk: str, **arguments: Any) -> None:
        """Change an item."""
        self._call("update_item", Key=key(pk), **arguments)

    def delete(self, pk: str) -> bool:
        """Remove an item; False when there was none."""
        return "Attributes" in self._call("delete_item", Key=key(pk), ReturnValues="ALL_OLD")

    def _call(self, action: str, **arguments: Any) -> Any:
        return self._named(action, TableName=self._table, **arguments)

    def _named(self, action: str, **arguments: Any) -> Any:
        try:
            return getattr(client("dynamodb", read_timeout_s=READ_TIMEOUT_S), action)(**arguments)
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            code = error_code(error)
            if code == "ConditionalCheckFailedException":
                raise ConditionFailed from None
            raise StoreUnavailable(f"The keys table failed: {code}.") from None


def key(pk: str) -> Item:
    """An item's key in DynamoDB's form."""
    return {"pk": {"S": pk}}
