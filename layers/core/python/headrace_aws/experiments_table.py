"""Experiments in the state table; a change of one, and of the traffic, is one transaction.

experiment#<endpoint>       <name>                              the last one's record of that name
experiment#<endpoint>       ~r#<started at, 014.3f>#<id>        each one's record
routing#<endpoint>          …                                   see `headrace_aws.routing_table`

Names are of a-z, 0-9 and '-', and sort before `~`.
"""

from __future__ import annotations

import hashlib

from headrace.rollouts.experiments import ExperimentChange, ExperimentRun, dump_run, load_run
from headrace.rollouts.store import Outrun
from headrace_aws.routing_table import items_of
from headrace_aws.state_table import ConditionFailed, Item, StateTable, key

_ALL = "~r#"
_TOKEN_CHARS = 36


class ExperimentsTable:
    """See `headrace.rollouts.experiments.Experiments`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def current(self, endpoint: str, name: str) -> ExperimentRun | None:
        """The last one of that name, by a consistent read: what is decided rests on it."""
        item = self._table.get(_pk(endpoint), name, consistent=True)
        return None if item is None else load_run(item["record"]["S"])

    def all_current(self, endpoint: str) -> list[ExperimentRun]:
        """The last one of every name, by name."""
        items = self._table.pages(
            KeyConditionExpression="pk = :pk AND sk < :all",
            ExpressionAttributeValues={":pk": {"S": _pk(endpoint)}, ":all": {"S": _ALL}},
            ConsistentRead=True,
        )
        return [load_run(item["record"]["S"]) for item in items]

    def newest(self, endpoint: str, *, limit: int) -> list[ExperimentRun]:
        """The last ones of all names, the newest first."""
        items = self._table.pages(
            KeyConditionExpression="pk = :pk AND begins_with(sk, :all)",
            ExpressionAttributeValues={":pk": {"S": _pk(endpoint)}, ":all": {"S": _ALL}},
            ScanIndexForward=False,
            ConsistentRead=True,
        )
        found: list[ExperimentRun] = []
        for item in items:
            found.append(load_run(item["record"]["S"]))
            if len(found) == limit:
                break
        return found

    def commit(self, change: ExperimentChange) -> None:
        """Write all of it or nothing, in one transaction."""
        record = dump_run(change.run)
        items = _record_items(change.run, record)
        if change.routing is not None:
            items += items_of(change.routing, mend=change.mend)
        try:
            self._table.transact(items, token=_token(items))
        except ConditionFailed as failed:
            if not self._stands(change.run, record):
                raise Outrun from failed

    def _stands(self, run: ExperimentRun, record: str) -> bool:
        """Whether this very record was written before: an answer that never came, and the same change again."""
        item = self._table.get(_pk(run.endpoint), run.name, consistent=True)
        return item is not None and item["record"]["S"] == record


def _record_items(run: ExperimentRun, record: str) -> list[Item]:
    attributes: Item = {
        "experiment_id": {"S": run.experiment_id},
        "version": {"N": str(run.version)},
        "active": {"BOOL": run.active},
        "record": {"S": record},
    }
    if run.version == 1:
        condition = {
            "ConditionExpression": "attribute_not_exists(pk) OR active = :over",
            "ExpressionAttributeValues": {":over": {"BOOL": False}},
        }
    else:
        condition = {
            "ConditionExpression": "experiment_id = :id AND version = :before",
            "ExpressionAttributeValues": {":id": {"S": run.experiment_id}, ":before": {"N": str(run.version - 1)}},
        }
    pk = _pk(run.endpoint)
    own = f"{_ALL}{run.started_at:014.3f}#{run.experiment_id}"
    return [
        {"Put": {"Item": {**key(pk, run.name), **attributes}, **condition}},
        {"Put": {"Item": {**key(pk, own), **attributes}}},
    ]


def _token(items: list[Item]) -> str:
    """The same for the same items, so that a change sent twice is done once."""
    return hashlib.sha256(repr(items).encode()).hexdigest()[:_TOKEN_CHARS]


def _pk(endpoint: str) -> str:
    return f"experiment#{endpoint}"
