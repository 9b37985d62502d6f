"""Counts of arms and marks of callers in the state table.

    pk tally#<subject>                  sk <stage:05d>#<arm>#<holder>   what one process has counted so far
    pk mark#<subject>#<stage>#<what>    sk <caller's hash>              the first time that this caller met this

A process overwrites its own item with its totals. A write that comes late, after a newer one, changes nothing. Subjects
are rollouts and experiments, which are the platform's and belong to no tenant; callers are hashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from headrace.rollouts.counted import NOTHING, Counted
from headrace_aws.state_table import ConditionFailed, StateTable

KEPT_S = 90 * 86_400
"""After the last write; long after the rollout is over, its decisions are kept for longer."""


class TalliesTable:
    """See `headrace.rollouts.store.Tallies`. `wall` is seconds since the epoch."""

    def __init__(self, table: StateTable, *, wall: Callable[[], float]) -> None:
        self._table = table
        self._wall = wall

    def write(self, subject: str, *, stage: int, arm: str, holder: str, counted: Counted) -> None:
        """Put what this process has counted so far, unless a newer total of its own stands there."""
        from headrace.rollouts.documents import dump_counted  # noqa: PLC0415 - not where a request waits

        item = {
            "pk": {"S": f"tally#{subject}"},
            "sk": {"S": f"{stage:05d}#{arm}#{holder}"},
            "counted": {"S": json.dumps(dump_counted(counted), separators=(",", ":"), allow_nan=False)},
            "events": {"N": str(counted.events)},
            "expires_at": {"N": str(int(self._wall()) + KEPT_S)},
        }
        try:
            self._table.put(
                item,
                ConditionExpression="attribute_not_exists(pk) OR events < :events",
                ExpressionAttributeValues={":events": {"N": str(counted.events)}},
                ReturnValuesOnConditionCheckFailure="NONE",
            )
        except ConditionFailed:
            return

    def read(self, subject: str) -> Mapping[tuple[int, str], Counted]:
        """All processes' counts added up. Eventually consistent: half the price, and a moment old as counts are."""
        from headrace.rollouts.documents import load_counted  # noqa: PLC0415 - as above

        items = self._table.pages(
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"tally#{subject}"}},
        )
        sums: dict[tuple[int, str], Counted] = {}
        for item in items:
            stage, arm, _ = item["sk"]["S"].split("#", 2)
            place = int(stage), arm
            sums[place] = sums.get(place, NOTHING).plus(load_counted(json.loads(item["counted"]["S"])))
        return sums

    def mark(self, subject: str, *, stage: int, what: str, caller: str, holder: str) -> bool:
        """Whether this caller meets `what` for the first time in this stage."""
        item = {
            "pk": {"S": f"mark#{subject}#{stage}#{what}"},
            "sk": {"S": caller},
            "holder": {"S": holder},
            "expires_at": {"N": str(int(self._wall()) + KEPT_S)},
        }
        try:
            self._table.put(
                item,
                ConditionExpression="attribute_not_exists(pk) OR holder = :holder",
                ExpressionAttributeValues={":holder": {"S": holder}},
                ReturnValuesOnConditionCheckFailure="NONE",
            )
        except ConditionFailed:
            return False
        return True
