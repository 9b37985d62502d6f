"""What a million rows of a batch cost: measured time and counted calls, at the prices of `benchmarks.traffic`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batch_notes import Sum
from benchmarks.traffic.prices import MILLION, Assumptions, Prices, Work, function_cost, total

COUNTER_UNITS, WRITE_UNITS, READ_UNITS = 1.0, 2.0, 1.0
"""Of one call of DynamoDB: an update counts something in a small item, records that are put are below two kB, and what
is read is below four."""
_COUNTERS = ("UpdateItem",)
_READS = ("GetItem", "Query", "BatchGetItem", "TransactGetItems")
_ENDPOINT = "SageMaker"
CHILD_START = 1
"""A child execution of a distributed map is one transition by itself (Step Functions' price page)."""
HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class Transitions:
    """States entered, as the machine's file has them: of a batch beside its shards, and of one shard's first run.

    A run more of a shard (`more`, `paused`) enters `again` further states.
    """

    batch: int
    shard: int
    again: int

    def of(self, *, shards: int, runs: int) -> int:
        """Of a whole batch whose shards took so many runs of the scorer."""
        return self.batch + shards * self.shard + max(0, runs - shards) * self.again


def transitions_of(machine: Path) -> Transitions:
    """Count the states on the way through the map.

    Raises:
        KeyError: The file has other states than this knows of.
    """
    states = json.loads(machine.read_text(encoding="utf-8"))["States"]
    inner = states["Shards"]["ItemProcessor"]["States"]
    way = [states[name] for name in ("Plan", "Method", "Shards", "Finish", "Tell", "Outcome", "BatchOver")]
    once = [inner[name] for name in ("Score", "Scored", "Over")]
    return Transitions(len(way), CHILD_START + len(once), again=len([inner["Score"], inner["Scored"]]))


def work_of(one: Sum, *, memory_mb: int, cpu_only: bool = False) -> Work:
    """One mean invocation as the price list takes it.

    Args:
        one: What all invocations took.
        memory_mb: As the stage declares it.
        cpu_only: Take CPU for the time, as if nothing it waited for took any.
    """
    calls = {what: number / one.runs for what, number in one.calls.items() if not what.startswith(_ENDPOINT)}
    tables = {what.split()[1]: 0.0 for what in calls if what.startswith("DynamoDB")}
    for what, number in calls.items():
        if what.startswith("DynamoDB"):
            tables[what.split()[1]] += number
    reads = sum(number for name, number in tables.items() if name in _READS)
    counters = sum(number for name, number in tables.items() if name in _COUNTERS)
    writes = sum(tables.values()) - reads - counters
    return Work(
        memory_mb=memory_mb,
        cpu_ms=(one.cpu_s if cpu_only else one.seconds) / one.runs * 1_000,
        target_waits=0,
        state_waits=0,
        calls=calls,
        write_units=writes * WRITE_UNITS + counters * COUNTER_UNITS,
        read_units=reads * READ_UNITS,
        log_bytes=0,
    )


def batch_cost(
    sums: Mapping[str, Sum],
    *,
    memory_mb: Mapping[str, int],
    rows: int,
    transitions: int,
    prices: Prices,
    cpu_only: bool = False,
) -> dict[str, float]:
    """Dollars for a million rows, by part, the endpoint's instances left out.

    Args:
        sums: Function → what all its invocations for one batch took.
        memory_mb: Function → as declared.
        rows: Of that batch.
        transitions: Of its execution.
        prices: See there.
        cpu_only: See `work_of`.
    """
    costs = []
    for name, one in sums.items():
        work = work_of(one, memory_mb=memory_mb[name], cpu_only=cpu_only)
        each = function_cost(work, prices=prices, given=Assumptions())
        costs.append({part: dollars * one.runs for part, dollars in each.items()})
    costs.append({"Step Functions": transitions * prices.transition})
    return {part: dollars / rows * MILLION for part, dollars in total(*costs).items()}


def instance_cost(seconds: float, *, rows: int, hourly: float) -> float:
    """Dollars for a million rows, were one instance kept for as long as these rows took."""
    return seconds / HOUR_S * hourly / rows * MILLION
