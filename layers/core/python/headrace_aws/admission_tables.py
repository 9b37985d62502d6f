"""Admission's stores in DynamoDB: one item per bucket, shelf and ledger, changed by single conditional updates.

Each item is a partition of its own (the shard is in `pk`), because DynamoDB bounds writes per partition key. A failed
condition returns the item as it stood, which tells the next step without a read. Nothing is ever sent twice.
"""

from __future__ import annotations

from typing import Any

from headrace.admission.gcra import US_PER_S, Bucket, Payment, pay
from headrace.admission.ledger import Charge, Ledger
from headrace.admission.shelf import Room, Shelf, expired, in_use
from headrace_aws.state_table import ConditionFailed, Item, StateTable

SORT_KEY = "admission"
WRITES_MAX = 4
"""Per question; each failed write has learnt something that only another process's write can make untrue."""
FORGET_RATE_S, FORGET_SLOTS_S, FORGET_LEDGER_S = 3_600, 3_600, 7 * 86_400
"""How long after its last use an item may be forgotten; ledgers stay a week for whoever asks."""


class RatesTable:
    """See `headrace.admission.rates.RateStore`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def take(self, bucket: Bucket, *, permits: int, now_us: int, seen_us: int) -> Payment:
        """See `RateStore.take`. One write when nobody else interferes."""
        tat_us = seen_us
        for write in range(WRITES_MAX):
            # The last writes ask for one permit: that fails only when there is none.
            wanted = permits if write < WRITES_MAX // 2 else 1
            payment = pay(bucket, tat_us=tat_us, permits=wanted, now_us=now_us)
            if not payment.permits:
                break
            try:
                return Payment(payment.permits, self._move(bucket, tat_us, payment, now_us))
            except ConditionFailed as refused:
                tat_us = _number(refused.item, "tat")
        return Payment(0, tat_us)

    def _move(self, bucket: Bucket, tat_us: int, payment: Payment, now_us: int) -> int:
        """The tat after paying: added to where it lies ahead of now, set from now where it does not."""
        cost_us = payment.permits * bucket.interval_us
        values = {":now": _n(now_us), ":forget": _n(payment.tat_us // US_PER_S + FORGET_RATE_S)}
        if tat_us > now_us:
            change, condition = "tat = tat + :cost", "tat > :now AND tat <= :room"
            values |= {":cost": _n(cost_us), ":room": _n(now_us + bucket.burst * bucket.interval_us - cost_us)}
        else:
            change, condition = "tat = :tat", "attribute_not_exists(tat) OR tat <= :now"
            values |= {":tat": _n(now_us + cost_us)}
        item = self._table.update(
            bucket.key,
            SORT_KEY,
            UpdateExpression=f"SET {change}, expires_at = :forget",
            ConditionExpression=condition,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        return _number(item, "tat")


class SlotsTable:
    """See `headrace.admission.shelf.SlotStore`. A map from a slot's name to the second at which it expires."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def acquire(self, shelf: Shelf, name: str, *, until: int, now: float) -> Room:
        """See `SlotStore.acquire`. One write while there is room."""
        slots: dict[str, int] | None = {}
        gone: dict[str, int] = {}
        for _ in range(WRITES_MAX):
            try:
                taken = self._add(shelf, name, until, gone) if slots is not None else self._start(shelf, name, until)
            except ConditionFailed as refused:
                slots = _slots(refused.item)
                full = slots is not None and len(slots) >= shelf.limit
                gone = expired(slots, now) if slots is not None and full else {}
                # More may be on the shelf than its limit after a plan has shrunk: then a sweep does not make room.
                if slots is not None and len(slots) - len(gone) >= shelf.limit:
                    break
            else:
                return Room(taken=True, size=in_use(taken, now), first_until=min(taken.values(), default=0))
        return Room(taken=False, size=in_use(slots or {}, now), first_until=min((slots or {}).values(), default=0))

    def extend(self, shelf: Shelf, name: str, *, until: int, now: float) -> Room:
        """See `SlotStore.extend`."""
        try:
            item = self._table.update(
                shelf.key,
                SORT_KEY,
                UpdateExpression="SET slots.#name = :until, expires_at = :forget",
                ConditionExpression="slots.#name < :until",
                ExpressionAttributeNames={"#name": name},
                ExpressionAttributeValues={":until": _n(until), ":forget": _n(until + FORGET_SLOTS_S)},
                ReturnValues="ALL_NEW",
            )
        except ConditionFailed as refused:
            return Room(taken=False, size=in_use(_slots(refused.item) or {}, now))
        return Room(taken=True, size=in_use(_slots(item) or {}, now))

    def release(self, shelf: Shelf, name: str) -> None:
        """See `SlotStore.release`."""
        try:
            self._table.update(
                shelf.key,
                SORT_KEY,
                UpdateExpression="REMOVE slots.#name",
                ConditionExpression="attribute_exists(slots.#name)",
                ExpressionAttributeNames={"#name": name},
            )
        except ConditionFailed:
            return  # it expired and somebody has swept it

    def _add(self, shelf: Shelf, name: str, until: int, gone: dict[str, int]) -> dict[str, int]:
        """Put a slot on the shelf, in the place of these expired ones, which must be as they were seen."""
        names = {"#name": name} | {f"#gone{place}": old for place, old in enumerate(gone)}
        values = {f":gone{place}": _n(expiry) for place, expiry in enumerate(gone.values())}
        values |= {
            ":until": _n(until),
            ":forget": _n(until + FORGET_SLOTS_S),
            # `size` is the size before: without the ones that go and with the one that comes it is within the limit.
            ":limit": _n(shelf.limit + len(gone)),
        }
        unchanged = "".join(f" AND slots.#gone{place} = :gone{place}" for place in range(len(gone)))
        removed = ", ".join(f"slots.#gone{place}" for place in range(len(gone)))
        item = self._table.update(
            shelf.key,
            SORT_KEY,
            UpdateExpression="SET slots.#name = :until, expires_at = :forget" + (f" REMOVE {removed}" if gone else ""),
            ConditionExpression=f"attribute_exists(slots) AND size(slots) < :limit{unchanged}",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        return _slots(item) or {}

    def _start(self, shelf: Shelf, name: str, until: int) -> dict[str, int]:
        """The shelf's first slot."""
        self._table.update(
            shelf.key,
            SORT_KEY,
            UpdateExpression="SET slots = :slots, expires_at = :forget",
            ConditionExpression="attribute_not_exists(slots)",
            ExpressionAttributeValues={":slots": {"M": {name: _n(until)}}, ":forget": _n(until + FORGET_SLOTS_S)},
        )
        return {name: until}


class BudgetsTable:
    """See `headrace.admission.ledger.BudgetStore`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def charge(self, ledger: Ledger, *, units: int) -> Charge:
        """See `BudgetStore.charge`. One write."""
        room = ledger.amount - units
        if room < 0:
            return Charge(charged=False, used=ledger.amount)
        try:
            item = self._table.update(
                ledger.key,
                SORT_KEY,
                UpdateExpression="SET used = if_not_exists(used, :none) + :units, expires_at = :forget",
                ConditionExpression="attribute_not_exists(used) OR used <= :room",
                ExpressionAttributeValues={
                    ":none": _n(0),
                    ":units": _n(units),
                    ":room": _n(room),
                    ":forget": _n(ledger.end + FORGET_LEDGER_S),
                },
                ReturnValues="ALL_NEW",
            )
        except ConditionFailed as refused:
            return Charge(charged=False, used=_number(refused.item, "used"))
        return Charge(charged=True, used=_number(item, "used"))

    def give_back(self, ledger: Ledger, *, units: int) -> None:
        """See `BudgetStore.give_back`. One write."""
        try:
            self._table.update(
                ledger.key,
                SORT_KEY,
                UpdateExpression="SET used = used - :units",
                ConditionExpression="used >= :units",
                ExpressionAttributeValues={":units": _n(units)},
            )
        except ConditionFailed:
            return  # the ledger was forgotten long after its window: nothing is owed


def _n(number: int) -> dict[str, str]:
    return {"N": str(number)}


def _number(item: Item, name: str) -> int:
    return int(item[name]["N"]) if name in item else 0


def _slots(item: Item) -> dict[str, int] | None:
    """The map, or None where the shelf has never been used."""
    if "slots" not in item:
        return None
    found: dict[str, Any] = item["slots"]["M"]
    return {name: int(until["N"]) for name, until in found.items()}
