"""Kept answers in the state table: `pk` = `cache#<tenant>#<mac>`, one item for the answer and one for its lease."""

from __future__ import annotations

from math import ceil

from headrace.cache.entries import Entry
from headrace_aws.state_table import ConditionFailed, StateTable, key

_ANSWER, _LEASE = "answer", "lease"


class CacheTable:
    """See `headrace.cache.answers.CacheStore`. One call each; none is longer than the table allows."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def get(self, key: str) -> Entry | None:
        """The entry, or None. Read without consistency, at half the price: a miss costs a computation, no more."""
        item = self._table.get(_pk(key), _ANSWER)
        if item is None:
            return None
        head = item.get("head_bytes")
        return Entry(
            body=bytes(item["body"]["B"]),
            head_bytes=None if head is None else int(head["N"]),
            kept_at=float(item["kept_at"]["N"]),
            seconds=float(item["seconds"]["N"]),
        )

    def put(self, key: str, entry: Entry, *, expires_at: float) -> None:
        """Keep an entry."""
        item = {
            **_key(key, _ANSWER),
            "body": {"B": entry.body},
            "kept_at": {"N": repr(entry.kept_at)},
            "seconds": {"N": repr(entry.seconds)},
            "expires_at": {"N": str(ceil(expires_at))},
        }
        if entry.head_bytes is not None:
            item["head_bytes"] = {"N": str(entry.head_bytes)}
        self._table.put(item)

    def lease(self, key: str, *, holder: str, now: float, until: float) -> bool:
        """Take or give back a lease: one conditional write."""
        try:
            self._table.put(
                {
                    **_key(key, _LEASE),
                    "holder": {"S": holder},
                    "until_s": {"N": repr(until)},
                    "expires_at": {"N": str(ceil(until))},
                },
                ConditionExpression="attribute_not_exists(pk) OR until_s <= :now OR holder = :holder",
                ExpressionAttributeValues={":now": {"N": repr(now)}, ":holder": {"S": holder}},
            )
        except ConditionFailed:
            return False
        return True


def _pk(answer_key: str) -> str:
    return f"cache#{answer_key}"


def _key(answer_key: str, sk: str) -> dict[str, dict[str, object]]:
    return key(_pk(answer_key), sk)
