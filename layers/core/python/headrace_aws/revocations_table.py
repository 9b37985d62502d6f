"""Revocations in the keys table: one item per mark, `pk` = `revoked#<mark>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from headrace_aws.keys_items import ConditionFailed, KeysItems

_PREFIX = "revoked#"


class RevocationsTable:
    """See `headrace.authentication.revocation.RevocationStore`."""

    def __init__(self, table: str, *, items: KeysItems | None = None) -> None:
        self._items = items or KeysItems(table)

    def standing(self, marks: Sequence[str]) -> Mapping[str, int]:
        """Those that are set, by one consistent read of all of them.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        found = self._items.get_many([_PREFIX + mark for mark in marks])
        return {item["pk"]["S"].removeprefix(_PREFIX): int(item["before"]["N"]) for item in found}

    def revoke(self, mark: str, *, before: int, forget_at: int = 0) -> None:
        """Set a mark; one that stands for a later time stays.

        Raises:
            StoreUnavailable: it may not have been set.
        """
        values = {":before": {"N": str(before)}, **({":forget": {"N": str(forget_at)}} if forget_at else {})}
        forget = ", forget_at = :forget" if forget_at else " REMOVE forget_at"
        with suppress(ConditionFailed):
            self._items.update(
                _PREFIX + mark,
                UpdateExpression=f"SET #before = :before{forget}",
                ConditionExpression="attribute_not_exists(pk) OR #before < :before",
                ExpressionAttributeNames={"#before": "before"},
                ExpressionAttributeValues=values,
            )

    def lift(self, mark: str) -> bool:
        """Remove a mark; False when it was not set.

        Raises:
            StoreUnavailable: it may still be set.
        """
        return self._items.delete(_PREFIX + mark)
