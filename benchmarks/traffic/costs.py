"""Tables of what requests cost: calls counted, units consumed, and a price for a million of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report import Report, Table, Target, paragraphs
from benchmarks.traffic.drive import (
    Found,
    Served,
    calls_per_request,
    is_target,
    share_without_waiting,
    units_per_request,
)
from benchmarks.traffic.prices import MILLION, Assumptions, Prices, Work, front_cost, function_cost, total
from benchmarks.traffic.scenarios import JOBS, KEYS, PREDICT, RUNS, WARM

MOST = 0.5
NOTES = paragraphs("""\
Traffic: each scenario is one container, a process of its own, given real proxy events in real time and frozen (SIGSTOP)
between them, as Lambda freezes an environment: what its threads had begun goes on with the next request. The account is
moto in another process, so that neither its CPU nor its answers' making count; DynamoDB's units are computed from the
items' sizes before and after each call, as DynamoDB counts them. The endpoint is a stub that takes 20 ms.

A call is waited for when the request's own thread started it; all others ran beside the request. State calls are those
of DynamoDB, S3, SQS and Secrets Manager. Calls belong to the request in whose time they ended.

Prices are assumptions, not measurements: list prices of one region, written down by hand with their date, and the other
assumptions named in the last table. They are for `predict` at its declared memory; the price of the endpoint's
instances, of provisioned or restored environments, of data sent to callers, and monthly fees (custom metrics, secrets,
keys, the firewall's rules) are not in the sum for a million requests.

Billed time is taken as CPU plus waiting, as if nothing in the background ran while the request waits: an upper bound.
CPU was measured here, on another processor and another Python than Lambda's.

A job costs its acceptance, its run (the message's delivery and `job_run`) and a second `predict`, which `job_run` waits
for.
""")


def add(
    report: Report,
    found: Sequence[Found],
    *,
    memory_mb: Mapping[str, int],
    instances: Sequence[tuple[str, str, int, int]],
) -> None:
    """Add targets, tables and notes.

    Args:
        report: to add to.
        found: what every scenario came to.
        memory_mb: of each function's module.
        instances: endpoint, instance type, fewest and most instances.
    """
    prices, given = Prices(), Assumptions()
    by_name = {one.scenario.name: one for one in found}
    works = {name: work_of(one.served, memory_mb=memory_mb[one.scenario.module]) for name, one in by_name.items()}
    warm = share_without_waiting(by_name[WARM].served)
    report.targets.append(
        Target(
            "warm requests without a state call that they wait for, 10 per second", "most", f"{warm:.1%}", warm > MOST
        )
    )
    report.tables += [
        _traffic_table(found, works, given),
        _calls_table(found),
        _price_table(by_name, works, prices, given),
        _instance_table(instances, prices),
        _assumptions_table(prices, given),
    ]
    report.notes += NOTES
    report.raw["traffic"] = {name: _raw(one) for name, one in by_name.items()}


def work_of(served: Sequence[Served], *, memory_mb: int) -> Work:
    """What a function did per request, on average."""
    count = len(served)
    write_units, read_units = units_per_request(served)
    calls = Counter(call.what for one in served for call in one.calls if not is_target(call))
    return Work(
        memory_mb=memory_mb,
        cpu_ms=sum(one.cpu_ms for one in served) / count,
        target_waits=sum(one.target_waits for one in served) / count,
        state_waits=sum(len(one.state_waits) for one in served) / count,
        calls={what: number / count for what, number in calls.items()},
        write_units=write_units,
        read_units=read_units,
        log_bytes=sum(one.log_bytes for one in served) / count,
    )


def _traffic_table(found: Sequence[Found], works: Mapping[str, Work], given: Assumptions) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in found:
        work = works[one.scenario.name]
        rows.append(
            (
                one.scenario.name,
                str(len(one.served)),
                f"{share_without_waiting(one.served):.0%}",
                f"{work.state_waits:.2f}",
                f"{sum(work.calls.values()) - work.state_waits:.2f}",
                f"{work.write_units:.2f}",
                f"{work.read_units:.2f}",
                f"{work.cpu_ms:.1f}",
                f"{work.billed_ms(given):.0f}",
                f"{work.log_bytes:,.0f}",
                str(one.store_failures),
            )
        )
    first = next(one for one in found if one.scenario.name == WARM).first
    rows.append(_first_row(first))
    columns = ("one container", "requests", "waited for none", "state calls waited for", "beside", "write units")
    more = ("read units", "CPU ms, mean", "billed ms", "log bytes", "failed calls")
    return Table("State calls, units and time per request", columns + more, tuple(rows))


def _first_row(first: Served) -> tuple[str, ...]:
    waits = len(first.state_waits)
    writes, reads = units_per_request([first])
    beside = sum(not is_target(call) for call in first.calls) - waits
    cells = (f"{waits}", f"{beside}", f"{writes:.2f}", f"{reads:.2f}", f"{first.cpu_ms:.0f}", "-")
    return ("first request of a cold container, its import included", "1", "0%", *cells, f"{first.log_bytes:,}", "-")


def _calls_table(found: Sequence[Found]) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in found:
        for waited in (True, False):
            for what, number in calls_per_request(one.served, waited=waited).items():
                rows.append((one.scenario.name, what, "waited for" if waited else "beside", f"{number:.3f}"))
    first = next(one for one in found if one.scenario.name == WARM).first
    rows += [
        ("first request of a cold container", what, "waited for", f"{number:.0f}")
        for what, number in calls_per_request([first], waited=True).items()
    ]
    return Table(
        "Calls per request, by operation and kind of item", ("traffic", "call", "how", "per request"), tuple(rows)
    )


def _price_table(
    found: Mapping[str, Found], works: Mapping[str, Work], prices: Prices, given: Assumptions
) -> Table:  # fmt: skip
    front = front_cost(prices=prices, given=given)
    authorizer = function_cost(works[KEYS], prices=prices, given=given)

    def one(name: str) -> dict[str, float]:
        return function_cost(works[name], prices=prices, given=given)

    costs = {
        name: total(front, authorizer, one(name))
        for name, each in found.items()
        if each.scenario.module == PREDICT and name != JOBS
    }
    queue = {"S3, SQS, secrets": given.queue_calls * prices.message}
    costs[f"{JOBS}, each with its run"] = total(front, authorizer, one(JOBS), queue, one(RUNS), one(WARM))
    parts = ("API Gateway", "firewall", "Lambda", "DynamoDB", "logs", "traces", "S3, SQS, secrets")
    rows = [
        (name, *(f"{cost.get(part, 0.0) * MILLION:.2f}" for part in parts), f"{sum(cost.values()) * MILLION:.2f}")
        for name, cost in costs.items()
    ]
    return Table(
        "Dollars for a million requests, without the endpoint's instances", ("traffic", *parts, "all"), tuple(rows)
    )


def _instance_table(instances: Sequence[tuple[str, str, int, int]], prices: Prices) -> Table:
    rows = []
    for name, kind, fewest, most in instances:
        hour = prices.instance_hour[kind]
        rows.append((name, kind, f"{fewest} to {most}", f"{hour:.3f}", f"{fewest * hour:.2f} to {most * hour:.2f}"))
    columns = ("endpoint", "instance type", "instances", "dollars an hour each", "dollars an hour")
    return Table("The endpoints' own instances, as declared", columns, tuple(rows))


def _assumptions_table(prices: Prices, given: Assumptions) -> Table:
    rows = [(f"price: {name.replace('_', ' ')}", _shown(value)) for name, value in _fields(prices).items()]
    rows += [(name.replace("_", " "), _shown(value)) for name, value in _fields(given).items()]
    return Table("Assumptions: check them", ("what", "taken as"), tuple(rows))


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _raw(one: Found) -> dict[str, Any]:
    return {
        "requests": len(one.served),
        "without_waiting": share_without_waiting(one.served),
        "waited": calls_per_request(one.served, waited=True),
        "beside": calls_per_request(one.served, waited=False),
        "units": units_per_request(one.served),
        "cpu_ms": [round(each.cpu_ms, 3) for each in one.served],
        "wall_ms": [round(each.wall_ms, 3) for each in one.served],
        "first": {"import_ms": one.first.import_ms, "wall_ms": one.first.wall_ms, "cpu_ms": one.first.cpu_ms},
        "failed_calls": one.store_failures,
    }
