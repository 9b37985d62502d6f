"""Records of tenants in the state table, with the newest first.

    <kind>#<tenant>             <id>                    the record, as one document, and its revision
    <kind>-list#<tenant>        <inverted ms>#<id>      points at a record, so that the newest come first

A pointer is written before its record and counts only where the record has its very moment: whatever is left behind by
a failed or repeated creation is passed over, and so is the pointer of a record that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headrace_aws.state_table import ConditionFailed, Item, StateTable, key

PAGE = 100
"""Pointers looked at in one go: BatchGetItem's own bound on keys."""
_LAST_MS = 10**14
"""Times count down from here (the year 5138), for DynamoDB sorts upwards."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A record as it is kept. Times are seconds since the epoch."""

    id: str
    document: str
    created_at: float
    expires_at: float
    revision: int = 0

    @property
    def place(self) -> str:
        """Where it stands among its tenant's."""
        return f"{_LAST_MS - round(self.created_at * 1000):014d}#{self.id}"


class ListedRecords:
    """Records of one kind.

    Raises (each call):
        StoreUnavailable: no answer in time; a write may have been made all the same.
    """

    def __init__(self, table: StateTable, *, kind: str) -> None:
        self._table = table
        self._kind = kind

    def create(self, tenant: str, record: Listed) -> bool:
        """Write a new record; False, and nothing changed, when there is one of its id."""
        self._point(tenant, record)
        try:
            self._table.put(self._item(tenant, record), ConditionExpression="attribute_not_exists(pk)")
        except ConditionFailed:
            return False
        return True

    def put(self, tenant: str, record: Listed) -> None:
        """Write a record, in the place of an earlier one of its id and moment."""
        self._point(tenant, record)
        self._table.put(self._item(tenant, record))

    def get(self, tenant: str, record_id: str) -> str | None:
        """The document as it is now, or None."""
        item = self._table.get(self._pk(tenant), record_id, consistent=True)
        return None if item is None else str(item["document"]["S"])

    def move(self, tenant: str, record: Listed, *, revision: int) -> bool:
        """Write the record if what stands there has this revision."""
        try:
            self._table.put(
                self._item(tenant, record),
                ConditionExpression="revision = :revision",
                ExpressionAttributeValues={":revision": {"N": str(revision)}},
            )
        except ConditionFailed:
            return False
        return True

    def delete(self, tenant: str, record: Listed) -> None:
        """Forget a record; one that is not there is forgotten already."""
        self._table.delete(self._pk(tenant), record.id)
        self._table.delete(self._list_pk(tenant), record.place)

    def newest(self, tenant: str, *, after: Listed | None = None) -> Iterator[str]:
        """The documents, the newest first, from behind `after` on."""
        place = " " if after is None else after.place
        while True:
            pointers = self._table.query(
                KeyConditionExpression="pk = :pk AND sk > :place",
                ExpressionAttributeValues={":pk": {"S": self._list_pk(tenant)}, ":place": {"S": place}},
                Limit=PAGE,
            )
            if not pointers:
                return
            place = pointers[-1]["sk"]["S"]
            ids = list(dict.fromkeys(pointer["record_id"]["S"] for pointer in pointers))
            items = self._table.get_many([(self._pk(tenant), record_id) for record_id in ids])
            there = {(item["sk"]["S"], item["place"]["S"]): item["document"]["S"] for item in items}
            for pointer in pointers:
                document = there.get((pointer["record_id"]["S"], pointer["sk"]["S"]))
                if document is not None:
                    yield document

    def _point(self, tenant: str, record: Listed) -> None:
        self._table.put(
            {
                **key(self._list_pk(tenant), record.place),
                "record_id": {"S": record.id},
                "expires_at": {"N": str(int(record.expires_at))},
            }
        )

    def _item(self, tenant: str, record: Listed) -> Item:
        return {
            **key(self._pk(tenant), record.id),
            "place": {"S": record.place},
            "document": {"S": record.document},
            "revision": {"N": str(record.revision)},
            "expires_at": {"N": str(int(record.expires_at))},
        }

    def _pk(self, tenant: str) -> str:
        return f"{self._kind}#{tenant}"

    def _list_pk(self, tenant: str) -> str:
        return f"{self._kind}-list#{tenant}"
