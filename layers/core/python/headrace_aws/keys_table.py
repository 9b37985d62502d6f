"""API key records in DynamoDB: one item per key, `pk` = `key#<id>`."""

from __future__ import annotations

from typing import Any

from headrace.authentication.api_keys import KeyRecord
from headrace_aws.keys_items import ConditionFailed, KeysItems, key


class KeyExists(RuntimeError):
    """A key of that id is already stored; ids are random, so mint again."""


class KeysTable:
    """See `headrace.authentication.api_keys.KeyStore`."""

    def __init__(self, table: str) -> None:
        self._items = KeysItems(table)

    def get(self, key_id: str) -> KeyRecord | None:
        """The record, or None.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        item = self._items.get(_pk(key_id))
        return None if item is None else _record(item)

    def put(self, record: KeyRecord) -> None:
        """Write a new record.

        Raises:
            KeyExists: the id is taken.
            StoreUnavailable: it may not have been written.
        """
        item = {
            **key(_pk(record.key_id)),
            "mac": {"S": record.mac},
            "tenant": {"S": record.tenant},
            "plan": {"S": record.plan},
            "scopes": {"S": " ".join(sorted(record.scopes))},
            "created_at": {"N": str(record.created_at)},
            "expires_at": {"N": str(record.expires_at)},
            "revoked_at": {"N": str(record.revoked_at)},
        }
        try:
            self._items.put(item, ConditionExpression="attribute_not_exists(pk)")
        except ConditionFailed:
            raise KeyExists(f"key {record.key_id} exists") from None

    def revoke(self, key_id: str, *, at: int) -> bool:
        """Mark a key revoked; False when there is no such key.

        Raises:
            StoreUnavailable: it may not have been marked.
        """
        try:
            self._items.update(
                _pk(key_id),
                UpdateExpression="SET revoked_at = :at",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":at": {"N": str(at)}},
            )
        except ConditionFailed:
            return False
        return True


def _pk(key_id: str) -> str:
    return f"key#{key_id}"


def _record(item: dict[str, Any]) -> KeyRecord:
    return KeyRecord(
        key_id=item["pk"]["S"].removeprefix("key#"),
        mac=item["mac"]["S"],
        tenant=item["tenant"]["S"],
        plan=item["plan"]["S"],
        scopes=frozenset(item["scopes"]["S"].split()),
        created_at=int(item["created_at"]["N"]),
        expires_at=int(item["expires_at"]["N"]),
        revoked_at=int(item["revoked_at"]["N"]),
    )
