"""Idempotency records in the state table: `pk` = `idempotency#<tenant>#<SHA-256 of the key>`.

Every step is one conditional write. A condition that does not hold brings back what stands there, so nothing is read
first; conditional writes see the newest state.
"""

from __future__ import annotations

import json

from headrace.idempotency.records import Kept, Record
from headrace_aws.state_table import ConditionFailed, Item, StateTable, key

_SK = "record"
# `headrace.idempotency.records.may_begin`, in DynamoDB's words.
_MAY_BEGIN = (
    "attribute_not_exists(pk) OR expires_at <= :now"
    " OR (attribute_not_exists(answer_status) AND until_s <= :now AND fingerprint = :fingerprint)"
)
_OURS = "holder = :holder AND attribute_not_exists(answer_status)"


class IdempotencyTable:
    """See `headrace.idempotency.keys.IdempotencyStore`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def begin(self, tenant: str, key: str, record: Record, *, now: float) -> Record | None:
        """Write the record, or return the one that stands."""
        try:
            self._table.put(
                _item(tenant, key, record),
                ConditionExpression=_MAY_BEGIN,
                ExpressionAttributeValues={":now": {"N": repr(now)}, ":fingerprint": {"S": record.fingerprint}},
            )
        except ConditionFailed as failed:
            return _record(failed.item)
        return None

    def complete(self, tenant: str, key: str, record: Record) -> bool:
        """Write the answer over the holder's own record."""
        try:
            self._table.put(
                _item(tenant, key, record),
                ConditionExpression=_OURS,
                ExpressionAttributeValues={":holder": {"S": record.holder}},
            )
        except ConditionFailed:
            return False
        return True

    def abandon(self, tenant: str, key: str, *, holder: str) -> bool:
        """Remove the holder's own record."""
        try:
            self._table.delete(
                _pk(tenant, key),
                _SK,
                ConditionExpression=_OURS,
                ExpressionAttributeValues={":holder": {"S": holder}},
            )
        except ConditionFailed:
            return False
        return True


def _pk(tenant: str, hashed_key: str) -> str:
    return f"idempotency#{tenant}#{hashed_key}"


def _item(tenant: str, hashed_key: str, record: Record) -> Item:
    item: Item = {
        **key(_pk(tenant, hashed_key), _SK),
        "fingerprint": {"S": record.fingerprint},
        "holder": {"S": record.holder},
        "until_s": {"N": repr(record.until)},
        "expires_at": {"N": str(record.expires_at)},
    }
    if (answer := record.answer) is not None:
        item["answer_status"] = {"N": str(answer.status)}
        item["answer_headers"] = {"S": json.dumps(answer.headers)}
        item["answer_encoding"] = {"S": answer.encoding}
        if answer.body is not None:
            item["answer_body"] = {"B": answer.body}
    return item


def _record(item: Item) -> Record:
    answer = None
    if "answer_status" in item:
        answer = Kept(
            status=int(item["answer_status"]["N"]),
            headers=tuple((name, value) for name, value in json.loads(item["answer_headers"]["S"])),
            body=bytes(item["answer_body"]["B"]) if "answer_body" in item else None,
            encoding="gzip" if item["answer_encoding"]["S"] == "gzip" else "",
        )
    return Record(
        fingerprint=item["fingerprint"]["S"],
        holder=item["holder"]["S"],
        until=float(item["until_s"]["N"]),
        expires_at=int(item["expires_at"]["N"]),
        answer=answer,
    )
