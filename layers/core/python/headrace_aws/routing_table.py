"""Routing documents in the state table: the one in force, and all that there were.

    pk routing#<endpoint>   sk ~now                       the document in force
    pk routing#<endpoint>   sk v#<version, 10 digits>     each document, as it was written

Both are written in one transaction, which applies where the document before is still in force. Documents belong to
endpoints, not to tenants, and are never forgotten.
"""

from __future__ import annotations

import hashlib

from headrace.errors import InvalidRequest
from headrace.routing.document import Routing
from headrace.routing.kept import dump, parse
from headrace.routing.store import LOOKED_BACK, RoutingOutrun
from headrace_aws.state_table import ConditionFailed, Item, StateTable, key

_NOW = "~now"
_KEPT = "v#"
_TOKEN_CHARS = 36


class RoutingTable:
    """See `headrace.routing.store.RoutingStore`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def read(self, endpoint: str, *, consistent: bool = False) -> Routing | None:
        """The document in force; by a read that may lag behind, at half the price, unless the last write counts."""
        item = self._table.get(_pk(endpoint), _NOW, consistent=consistent)
        return None if item is None else parse(_text(item))

    def put(self, routing: Routing, *, mend: bool = False) -> None:
        """Put the document in the place of the one with the version before, or of one that cannot be read."""
        items = items_of(routing, mend=mend)
        try:
            self._table.transact(items, token=hashlib.sha256(repr(items).encode()).hexdigest()[:_TOKEN_CHARS])
        except ConditionFailed as failed:
            item = self._table.get(_pk(routing.endpoint), _NOW, consistent=True)
            if item is None or _text(item) != dump(routing):
                raise RoutingOutrun from failed

    def history(self, endpoint: str, *, limit: int) -> list[Routing]:
        """The last documents, the newest first."""
        return [routing for item in self._newest(endpoint, limit) if (routing := _readable(item)) is not None]

    def kept(self, endpoint: str, version: int) -> Routing | None:
        """One document of the history."""
        item = self._table.get(_pk(endpoint), _kept(version), consistent=True)
        return None if item is None else parse(_text(item))

    def last_good(self, endpoint: str) -> tuple[Routing | None, int]:
        """The newest document of the history that can be read, and the highest version that the history has."""
        items = self._newest(endpoint, LOOKED_BACK)
        version = int(items[0]["sk"]["S"].removeprefix(_KEPT)) if items else 0
        return next((routing for item in items if (routing := _readable(item)) is not None), None), version

    def _newest(self, endpoint: str, limit: int) -> list[Item]:
        return self._table.query(
            KeyConditionExpression="pk = :pk AND begins_with(sk, :v)",
            ExpressionAttributeValues={":pk": {"S": _pk(endpoint)}, ":v": {"S": _KEPT}},
            ScanIndexForward=False,
            Limit=limit,
            ConsistentRead=True,
        )


def items_of(routing: Routing, *, mend: bool = False) -> list[Item]:
    """The writes that put the document in force, for a transaction: they apply where the one before stands.

    With `mend` they apply whatever stands there, as long as the history has no such version.
    """
    now, kept = _items(routing)
    if mend:
        return [{"Put": {"Item": now}}, {"Put": {"Item": kept, "ConditionExpression": "attribute_not_exists(pk)"}}]
    if routing.version == 1:
        condition: Item = {"ConditionExpression": "attribute_not_exists(pk)"}
    else:
        condition = {
            "ConditionExpression": "version = :before",
            "ExpressionAttributeValues": {":before": {"N": str(routing.version - 1)}},
        }
    return [{"Put": {"Item": now, **condition}}, {"Put": {"Item": kept}}]


def _items(routing: Routing) -> tuple[Item, Item]:
    """The document as the one in force, and as one of the history."""
    attributes: Item = {"version": {"N": str(routing.version)}, "document": {"S": dump(routing)}}
    pk = _pk(routing.endpoint)
    return {**key(pk, _NOW), **attributes}, {**key(pk, _kept(routing.version)), **attributes}


def _readable(item: Item) -> Routing | None:
    try:
        return parse(_text(item))
    except InvalidRequest:
        return None


def _text(item: Item) -> str:
    # What is no document at all must read as garbage does, not as a fault of ours.
    document = item.get("document")
    text = document.get("S") if isinstance(document, dict) else None
    return text if isinstance(text, str) else ""


def _kept(version: int) -> str:
    return f"{_KEPT}{version:010d}"


def _pk(endpoint: str) -> str:
    return f"routing#{endpoint}"
