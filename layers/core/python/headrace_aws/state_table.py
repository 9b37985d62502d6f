"""The table that functions share: one DynamoDB call at a time, each bound in time, with two ways to fail.

Keys are `pk` and `sk`. What belongs to a tenant has the tenant in `pk`. Items that may be forgotten carry `expires_at`
(seconds since the epoch), DynamoDB's time to live; nothing relies on when they go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from headrace.errors import HeadraceError, StoreUnavailable
from headrace_aws.bounded_calls import BoundedCalls, read_timeout_step_s
from headrace_aws.clients import client

CALL_TIMEOUT_S = 0.3
"""DynamoDB answers in ten milliseconds at p99; a request must not wait for a store that does not."""
READ_TIMEOUT_S = 1.0

Item = dict[str, Any]


class ConditionFailed(Exception):
    """A conditional write did not apply. `item` is what stood there, empty when nothing did."""

    def __init__(self, item: Item) -> None:
        super().__init__("the condition does not hold")
        self.item = item


class StateTable:
    """DynamoDB's calls on one table, by their own names and arguments.

    Args:
        table: its name.
        calls: what bounds each call in time.
        timeout_s: how long a call may take.
        make_client: gives the client; the function's own, in the function's own account, where it is left out.
    """

    def __init__(
        self,
        table: str,
        *,
        calls: BoundedCalls | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
        make_client: Callable[[], Any] | None = None,
    ) -> None:
        self.name = table
        self._make_client = make_client
        self._calls = calls or BoundedCalls()
        self._timeout_s = timeout_s
        self._failures = 0

    def take_failures(self) -> int:
        """How many calls failed since this was asked last. A count for a graph: one lost to a race does no harm."""
        failures, self._failures = self._failures, 0
        return failures

    def warm(self) -> None:
        """Make the client before a request needs it."""
        _ = self._client

    def get(self, pk: str, sk: str, *, consistent: bool = False) -> Item | None:
        """One item, or None.

        Raises:
            StoreUnavailable: no answer in time.
        """
        answer = self._call("get_item", Key=key(pk, sk), ConsistentRead=consistent)
        item: Item | None = answer.get("Item")
        return item

    def query(self, **arguments: Any) -> list[Item]:
        """The first page of items.

        Raises:
            StoreUnavailable: no answer in time.
        """
        items: list[Item] = self._call("query", **arguments)["Items"]
        return items

    def pages(self, **arguments: Any) -> Iterator[Item]:
        """The items of a query, page after page.

        Raises:
            StoreUnavailable: no answer in time.
        """
        while True:
            answer = self._call("query", **arguments)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def get_many(self, keys: list[tuple[str, str]]) -> list[Item]:
        """Those of at most 100 items that exist (BatchGetItem), in no order; a read that may lag behind writes.

        Raises:
            StoreUnavailable: no answer in time, or not to all of them.
        """
        if not keys:
            return []
        asked = {self.name: {"Keys": [key(pk, sk) for pk, sk in keys]}}
        answer = self._named("batch_get_item", RequestItems=asked)
        if answer.get("UnprocessedKeys"):
            raise StoreUnavailable("The state store answered in part only.")
        items: list[Item] = answer["Responses"].get(self.name, [])
        return items

    def put(self, item: Item, **arguments: Any) -> None:
        """Write an item.

        Raises:
            ConditionFailed: `ConditionExpression` does not hold.
            StoreUnavailable: no answer in time; it may have been written all the same.
        """
        arguments.setdefault("ReturnValuesOnConditionCheckFailure", "ALL_OLD")
        self._call("put_item", Item=item, **arguments)

    def update(self, pk: str, sk: str, **arguments: Any) -> Item:
        """Change an item; returns the attributes that `ReturnValues` asks for.

        Raises:
            ConditionFailed: `ConditionExpression` does not hold.
            StoreUnavailable: no answer in time; it may have been changed all the same.
        """
        arguments.setdefault("ReturnValuesOnConditionCheckFailure", "ALL_OLD")
        attributes: Item = self._call("update_item", Key=key(pk, sk), **arguments).get("Attributes", {})
        return attributes

    def delete(self, pk: str, sk: str, **arguments: Any) -> None:
        """Remove an item.

        Raises:
            ConditionFailed: `ConditionExpression` does not hold.
            StoreUnavailable: no answer in time; it may be gone all the same.
        """
        arguments.setdefault("ReturnValuesOnConditionCheckFailure", "ALL_OLD")
        self._call("delete_item", Key=key(pk, sk), **arguments)

    def transact(self, items: list[Item], *, token: str) -> None:
        """Write all of up to 100 items of this table, or none of them (TransactWriteItems).

        Args:
            items: each one `{"Put": …}`, `{"Update": …}`, `{"Delete": …}` or `{"ConditionCheck": …}` as DynamoDB has
                them; the table's name is put in.
            token: of at most 36 characters, one for one set of items: sent again within ten minutes, it is done once.

        Raises:
            ConditionFailed: a condition does not hold, or another transaction is at one of the items; nothing was
                written. `item` is what stood at the first condition that failed.
            StoreUnavailable: no answer in time; all of it may have been written all the same.
        """
        common = {"TableName": self.name, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        whole = [{kind: {**common, **write} for kind, write in item.items()} for item in items]
        self._named("transact_write_items", TransactItems=whole, ClientRequestToken=token)

    @property
    def _client(self) -> Any:
        if self._make_client is not None:
            return self._make_client()
        return client("dynamodb", read_timeout_s=read_timeout_step_s(self._timeout_s))

    def _call(self, action: str, **arguments: Any) -> Any:
        return self._named(action, TableName=self.name, **arguments)

    def _named(self, action: str, **arguments: Any) -> Any:
        def call() -> Any:
            return getattr(self._client, action)(**arguments)

        try:
            return self._calls.run(call, timeout_s=self._timeout_s)
        except HeadraceError:
            self._failures += 1
            raise StoreUnavailable("The state store did not answer in time.") from None
        except Exception as error:  # noqa: BLE001 - botocore's errors share no base that is free to import
            translated = _translated(error)
            self._failures += isinstance(translated, StoreUnavailable)
            raise translated from None


def key(pk: str, sk: str) -> Item:
    """An item's key in DynamoDB's form."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _translated(error: Exception) -> Exception:
    answer: Any = getattr(error, "response", None) or {}
    code = answer.get("Error", {}).get("Code", "")
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(answer.get("Item", {}))
    if code == "TransactionCanceledException":
        reasons = answer.get("CancellationReasons", [])
        for reason in reasons:
            if reason.get("Code") == "ConditionalCheckFailed":
                return ConditionFailed(reason.get("Item", {}))
        if any(reason.get("Code") == "TransactionConflict" for reason in reasons):
            return ConditionFailed({})
    return StoreUnavailable(f"The state store failed: {code or type(error).__name__}.")
