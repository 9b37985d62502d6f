"""Rollouts and their histories in the state table; a change of both, and of the traffic, is one transaction.

rollout#<endpoint>          ~current                        the last one's record
rollout#<endpoint>          r#<started at, 10.3>#<id>       each one's record
decisions#<rollout id>      <number, 10 digits>             the history
routing#<endpoint>          …                               see `headrace_aws.routing_table`

`r` sorts before `~`, so that a range of `r#` is the rollouts in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from headrace.rollouts.documents import dump_decision, dump_rollout, load_decision, load_rollout
from headrace.rollouts.states import Decision, Rollout
from headrace.rollouts.store import Change, Outrun
from headrace_aws.routing_table import items_of
from headrace_aws.state_table import ConditionFailed, Item, StateTable, key

_CURRENT = "~current"
_TOKEN_CHARS = 36


class RolloutsTable:
    """See `headrace.rollouts.store.Rollouts`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def current(self, endpoint: str) -> Rollout | None:
        """The endpoint's last rollout, by a consistent read: what is decided rests on it."""
        item = self._table.get(_pk(endpoint), _CURRENT, consistent=True)
        return None if item is None else load_rollout(item["record"]["S"])

    def find(self, endpoint: str, rollout_id: str) -> Rollout | None:
        """An earlier one; a walk through the endpoint's, of which there are few."""
        return next((rollout for rollout in self._all(endpoint) if rollout.rollout_id == rollout_id), None)

    def newest(self, endpoint: str, *, limit: int) -> list[Rollout]:
        """The last ones, the newest first."""
        found: list[Rollout] = []
        for rollout in self._all(endpoint):
            found.append(rollout)
            if len(found) == limit:
                break
        return found

    def decisions(self, rollout_id: str) -> list[Decision]:
        """All decisions of one, in order."""
        items = self._table.pages(
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"decisions#{rollout_id}"}},
            ConsistentRead=True,
        )
        return [load_decision(item["decision"]["S"]) for item in items]

    def commit(self, change: Change) -> None:
        """Write all of it or nothing, in one transaction."""
        record = dump_rollout(change.rollout)
        items = [*_record_items(change.rollout, record), *_decision_items(change)]
        if change.routing is not None:
            items += items_of(change.routing, mend=change.mend)
        try:
            self._table.transact(items, token=_token(items))
        except ConditionFailed as failed:
            if not self._stands(change, record):
                raise Outrun from failed

    def _stands(self, change: Change, record: str) -> bool:
        """Whether this very change was written before: an answer that never came, and the same once more."""
        item = self._table.get(_pk(change.rollout.endpoint), _CURRENT, consistent=True)
        if item is not None and item["record"]["S"] == record:
            return True
        for written in _decision_items(change):
            wanted = written["Put"]["Item"]
            entry = self._table.get(wanted["pk"]["S"], wanted["sk"]["S"], consistent=True)
            return bool(entry == wanted)
        return False

    def _all(self, endpoint: str) -> Iterator[Rollout]:
        """Each one's record, the newest first, read as far as somebody looks."""
        items = self._table.pages(
            KeyConditionExpression="pk = :pk AND begins_with(sk, :r)",
            ExpressionAttributeValues={":pk": {"S": _pk(endpoint)}, ":r": {"S": "r#"}},
            ScanIndexForward=False,
            ConsistentRead=True,
        )
        return (load_rollout(item["record"]["S"]) for item in items)


def _record_items(rollout: Rollout, record: str) -> list[Item]:
    attributes: Item = {
        "rollout_id": {"S": rollout.rollout_id},
        "version": {"N": str(rollout.version)},
        "active": {"BOOL": rollout.active},
        "record": {"S": record},
    }
    if rollout.version == 1:
        condition = {
            "ConditionExpression": "attribute_not_exists(pk) OR active = :over",
            "ExpressionAttributeValues": {":over": {"BOOL": False}},
        }
    else:
        condition = {
            "ConditionExpression": "rollout_id = :id AND version = :before",
            "ExpressionAttributeValues": {
                ":id": {"S": rollout.rollout_id},
                ":before": {"N": str(rollout.version - 1)},
            },
        }
    pk = _pk(rollout.endpoint)
    own = f"r#{rollout.started_at:014.3f}#{rollout.rollout_id}"
    return [
        {"Put": {"Item": {**key(pk, _CURRENT), **attributes}, **condition}},
        {"Put": {"Item": {**key(pk, own), **attributes}}},
    ]


def _decision_items(change: Change) -> list[Item]:
    if change.decision is None:
        return []
    keys = key(f"decisions#{change.rollout.rollout_id}", f"{change.decision.number:010d}")
    return [{"Put": {"Item": {**keys, "decision": {"S": dump_decision(change.decision)}}}}]


def _token(items: list[Item]) -> str:
    """The same for the same items, so that a change sent twice is done once."""
    return hashlib.sha256(repr(items).encode()).hexdigest()[:_TOKEN_CHARS]


def _pk(endpoint: str) -> str:
    return f"rollout#{endpoint}"
