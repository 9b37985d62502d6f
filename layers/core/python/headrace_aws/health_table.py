"""The fleet's health in DynamoDB: one partition per endpoint, read with one Query.

    pk health#<endpoint>   sk b#<10-digit second>   counts of that second, by ADD; forgotten after minutes
    pk health#<endpoint>   sk ~state                what the fleet agreed on, by compare-and-set on `version`

`b` sorts before `~`, so that the range from the first second wanted to `~state` is the window and the state together.
Health is of endpoints and belongs to no tenant.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from headrace.health.counts import Buckets, Counts, Second
from headrace.health.store import AS_NEW, Circuit, Shed, State
from headrace_aws.state_table import ConditionFailed, Item, StateTable

SECONDS_KEPT = 600
STATE_SECONDS_KEPT = 86_400
"""A state not changed for a day is as good as none."""
_SEPARATOR = " "
"""Between target and count in an attribute's name; names of targets have none."""


class HealthTable:
    """See `headrace.health.store.HealthStore`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def add(self, endpoint: str, second: int, counts: Second) -> None:
        """Add to the counts of a second, in one update however many targets there are."""
        terms: list[str] = []
        names, values = {"#e": "expires_at"}, {":e": {"N": str(second + SECONDS_KEPT)}}
        for target, of_target in counts.items():
            for count, number in of_target._asdict().items():
                if number:
                    at = len(terms)
                    names[f"#{at}"] = f"{target}{_SEPARATOR}{count}"
                    values[f":{at}"] = {"N": str(number)}
                    terms.append(f"#{at} :{at}")
        if terms:
            self._table.update(
                _pk(endpoint),
                f"b#{second:010d}",
                UpdateExpression=f"ADD {', '.join(terms)} SET #e = :e",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )

    def read(self, endpoint: str, *, since: int) -> tuple[Buckets, State]:
        """The counts from `since` on, and the state. Eventually consistent: half the price, and a moment old."""
        items = self._table.query(
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": _pk(endpoint)},
                ":first": {"S": f"b#{since:010d}"},
                ":last": {"S": "~state"},
            },
        )
        buckets: Buckets = {}
        state = AS_NEW
        for item in items:
            if item["sk"]["S"] == "~state":
                state = _state(item)
            else:
                buckets[int(item["sk"]["S"][2:])] = _counts(item)
        return buckets, state

    def change(self, endpoint: str, state: State) -> tuple[bool, State]:
        """Put a state in the place of the one with the version before."""
        first = state.version == 1
        condition = "attribute_not_exists(version)" if first else "version = :before"
        values = {} if first else {"ExpressionAttributeValues": {":before": {"N": str(state.version - 1)}}}
        item = {
            "pk": {"S": _pk(endpoint)},
            "sk": {"S": "~state"},
            "version": {"N": str(state.version)},
            "circuits": {"S": json.dumps({name: asdict(circuit) for name, circuit in state.circuits.items()})},
            "shed": {"S": json.dumps(asdict(state.shed))},
            "expires_at": {"N": str(_latest_s(state) + STATE_SECONDS_KEPT)},
        }
        try:
            self._table.put(item, ConditionExpression=condition, **values)
        except ConditionFailed as failed:
            return False, _state(failed.item) if failed.item else AS_NEW
        return True, state


def _pk(endpoint: str) -> str:
    return f"health#{endpoint}"


def _latest_s(state: State) -> int:
    # The port has no clock; every change carries a time near to now.
    times = [max(circuit.open_until, circuit.probe_until, circuit.ramp_at) for circuit in state.circuits.values()]
    return int(max([state.shed.second, *times]))


def _counts(item: Item) -> dict[str, Counts]:
    found: dict[str, dict[str, int]] = {}
    for name, value in item.items():
        target, separator, count = name.rpartition(_SEPARATOR)
        if separator and count in Counts._fields:
            found.setdefault(target, {})[count] = int(value["N"])
    return {target: Counts(**numbers) for target, numbers in found.items()}


def _state(item: Item) -> State:
    circuits: dict[str, Any] = json.loads(item["circuits"]["S"])
    return State(
        int(item["version"]["N"]),
        MappingProxyType({name: Circuit(**fields) for name, fields in circuits.items()}),
        Shed(**json.loads(item["shed"]["S"])),
    )
