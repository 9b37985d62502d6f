"""The batch benchmark's tables, targets and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.batch_costs import Transitions, batch_cost, instance_cost, transitions_of
from benchmarks.batch_throughput import Batched, raw
from benchmarks.report import Report, Table, Target, paragraphs
from benchmarks.traffic.prices import Prices
from infra_cdk.stages import PROD
from infra_local.machines import BATCH_MACHINE

if TYPE_CHECKING:
    from benchmarks.batch import Findings
    from benchmarks.batch_memory import Load
    from benchmarks.batch_online import Beside

RATIO_MIN, MEMORY_MB_MAX, P99_RATIO_MAX = 0.7, 300.0, 1.3
ITEMS = 32
"""In one request: `limits.max_items` of the endpoint."""
ROWS, EXACT, MEMORY, ONLINE = (
    "rows per second over the model in process at the same batch size (32), state machine included",
    "every row once in results or errors, and answers as online",
    "peak memory of a function's process, largest file",
    "online p99 beside a batch over that without one",
)
NOTES = paragraphs("""\
The real sentiment endpoint (its latency objective raised to the default deadline: the declared one is for a GPU, and a
batch keeps its requests within it) and real tweets: each distinct one, shuffled, again from the first when they are
used up, each row with an id of its own. The file goes up by a presigned POST; the clock runs from POST /v1/batches
until the caller, who looks four times a second, sees the batch completed. Stand-ins may not answer (`"degraded":
false`).

The model in process: the same artifact, its own pre- and post-processing, JSON in and out, and nothing else; each way
in a fresh process, before the platform is started and after it has ended, since the machine is not equally fast at all
times. The bar is the best of those runs at the size of a batch's requests, 32 texts; the tables divide by the best of
any size, since texts of very different lengths are padded to the longest, and eight at a time waste less.

On this machine everything shares the cores: the model, scorers, emulated AWS services (moto, one Python process) and
API. The model in process on two threads has both cores to itself. CPU by part says where time goes; children that
ended meanwhile are left out.

Checked: ids of results and errors against the rows, and a random sample of answers against what the online route says
to the same text now: the same label, scores within 0.0001.

Memory: the largest resident size (VmHWM, reset at the beginning of each invocation) of the processes of each function,
in MB of 10^6 bytes. A stub answers for the model and both files are dropped under the tenant's incoming prefix;
records have some 4 kB. The small file comes first, in the same processes.

Online: on a platform of its own, with the objective that the endpoint declares (500 ms): a batch sizes its requests by
it, so that less is under way when callers come, and fewer rows a second pass while it is alone. The same requests
(Poisson, with a seed) each round, first without a batch, then beside one; every text once, no cache, no ladder.
Latencies count from when a request was due; those of requests without a 200 do not count, so read
them with the share that was answered. The batch's rate is counted from answers of the endpoint to scorers.

Cost: functions' time as measured here, at the memory that `prod` declares; in `CPU only` a function is billed for its
CPU alone, as if the endpoint and AWS answered at once. The first is too dear for a fast endpoint (here scorers wait
for a model on a shared core), the second is a lower bound. Prices are assumptions of `benchmarks/traffic/prices.py`.
DynamoDB: two units for a record that is put and one for a counter or a read. EventBridge, alarms, storage and the
endpoint's instances are not in the sum; what instances cost stands apart, were they as fast as this machine.
""")


def sum_up(report: Report, found: Findings, *, baseline_rows: int) -> None:
    """Fill the report."""
    best = best_of(found)
    report.targets += [_rows_target(found, best), _exact_target(found), _memory_target(found), _online_target(found)]
    batches = [one for one in (found.jsonl, found.csv) if one is not None]
    report.tables += [_rates(found, batches, best, baseline_rows), _stages(batches), _cpu(batches), _functions(batches)]
    if found.loads is not None:
        report.tables.append(_memory(found.loads))
    if found.beside is not None:
        report.tables += [_online(found.beside), _beside_rates(found.beside)]
    if found.jsonl is not None and found.jsonl.functions:
        report.tables += list(_costs(found.jsonl, transitions_of(BATCH_MACHINE)))
    if found.failed:
        report.tables.append(Table("What did not come to its end", ("part", "why"), tuple(found.failed.items())))
    report.notes += NOTES
    report.raw = _raw(found)


def best_of(found: Findings, *, items: int = 0) -> float:
    """Rows a second of the model in process at this batch size, the best of ways and moments; 0 without any.

    Whatever the size when `items` is 0.
    """
    runs = (*found.before, *found.after)
    return max((one.rate for one in runs if items in {0, one.items}), default=0.0)


def _rows_target(found: Findings, best: float) -> Target:
    wanted = f"≥ {RATIO_MIN}"
    if found.jsonl is None or not best:
        return Target(ROWS, wanted, "see what did not come to its end", None)
    same = best_of(found, items=ITEMS)
    ratio = found.jsonl.rate / same
    told = f"{ratio:.2f} ({found.jsonl.rows:,} rows as JSONL); {found.jsonl.rate / best:.2f} of the best of any size"
    return Target(ROWS, wanted, told, ratio >= RATIO_MIN)


def _exact_target(found: Findings) -> Target:
    wanted = "all, for JSONL and CSV"
    if found.jsonl is None or found.csv is None:
        return Target(EXACT, wanted, "see what did not come to its end", None)
    both = (found.jsonl, found.csv)
    met = all(one.state == "completed" and one.join.exact and one.compared == one.agreed > 0 for one in both)
    told = "; ".join(
        f"{one.form}: {one.join.results:,} results, {one.join.errors:,} errors of {one.rows:,}, "
        f"{one.agreed} of {one.compared} sampled agree"
        for one in both
    )
    return Target(EXACT, wanted, told, met)


def _memory_target(found: Findings) -> Target:
    wanted = f"≤ {MEMORY_MB_MAX:g} MB"
    if not found.loads or not found.loads[-1].functions:
        return Target(MEMORY, wanted, "see what did not come to its end", None)
    large = found.loads[-1]
    name, peak = max(((name, one.peak_mb) for name, one in large.functions.items()), key=lambda each: each[1])
    told = f"{peak:.0f} MB ({name}, file of {large.size / 1e6:,.0f} MB, {large.state})"
    return Target(MEMORY, wanted, told, peak <= MEMORY_MB_MAX if large.state == "completed" else None)


def _online_target(found: Findings) -> Target:
    wanted = f"≤ {P99_RATIO_MAX}"
    if found.beside is None:
        return Target(ONLINE, wanted, "see what did not come to its end", None)
    quiet, busy = found.beside.quiet, found.beside.busy
    ratio = busy.p99_ms / quiet.p99_ms
    told = f"{ratio:.2f} ({busy.p99_ms:.0f} ms over {quiet.p99_ms:.0f} ms)"
    return Target(ONLINE, wanted, told, ratio <= P99_RATIO_MAX and busy.answered == busy.requests)


def _rates(found: Findings, batches: list[Batched], best: float, baseline_rows: int) -> Table:
    rows = [
        (f"in process, {when}", f"{one.items} at a time, {one.threads} thread(s)", f"{baseline_rows:,}", "",
         f"{one.rate:.1f}", _over(one.rate, best))
        for when, several in (("before", found.before), ("after", found.after))
        for one in several
    ]  # fmt: skip
    rows += [
        (f"batch, {one.form}", f"{one.method}, {one.shards} shard(s)", f"{one.rows:,}", f"{one.seconds:.1f}",
         f"{one.rate:.1f}", _over(one.rate, best))
        for one in batches
    ]  # fmt: skip
    return Table("Throughput", ("what", "how", "rows", "seconds", "rows/s", "÷ best in process"), tuple(rows))


def _over(rate: float, best: float) -> str:
    return f"{rate / best:.2f}" if best else "-"


def _stages(batches: list[Batched]) -> Table:
    names = tuple(batches[0].stages) if batches else ()
    rows = tuple((one.form, *(f"{one.stages[name]:.1f}" for name in names)) for one in batches)
    return Table("Seconds in each state, as a caller sees it", ("file", *names), rows)


def _cpu(batches: list[Batched]) -> Table:
    parts = dict.fromkeys(part for one in batches for part, used in one.cpu_s.items() if used >= 0.05)
    rows = []
    for part in parts:
        cells = [(one.cpu_s.get(part, 0.0), one) for one in batches]
        rows.append((part, *(f"{used:.1f} ({used / one.rows * 1e3:.2f} per 1,000 rows)" for used, one in cells)))
    return Table("CPU seconds by part", ("part", *(one.form for one in batches)), tuple(rows))


def _functions(batches: list[Batched]) -> Table:
    rows = tuple(
        (
            one.form,
            name,
            str(each.runs),
            f"{each.seconds:.1f}",
            f"{each.cpu_s:.1f}",
            f"{each.peak_mb:.0f}",
            ", ".join(f"{what}: {number:,}" for what, number in sorted(each.calls.items())),
        )
        for one in batches
        for name, each in one.functions.items()
    )
    columns = ("file", "function", "runs", "seconds", "CPU seconds", "peak MB", "calls of AWS in all")
    return Table("What the functions took", columns, rows)


def _memory(loads: list[Load]) -> Table:
    small, large = loads
    rows = [
        (
            name,
            f"{small.functions[name].peak_mb:.0f}" if name in small.functions else "-",
            f"{one.peak_mb:.0f}",
            f"{one.peak_mb / small.functions[name].peak_mb:.2f}" if name in small.functions else "-",
            str(one.runs),
            f"{one.seconds:.1f}",
            f"{one.cpu_s:.1f}",
        )
        for name, one in large.functions.items()
    ]
    told = [f"{each.size / 1e6:,.0f} MB, {each.rows:,} records: {each.state}, {each.seconds:.0f} s" for each in loads]
    columns = ("function", "peak MB, small", "peak MB, large", "large ÷ small", "runs, large", "seconds", "CPU seconds")
    return Table(f"Memory ({'; '.join(told)})", columns, tuple(rows))


def _online(beside: Beside) -> Table:
    rows = tuple(
        (name, str(one.requests), f"{one.answered / one.requests:.1%}", f"{one.p50_ms:.0f}", f"{one.p99_ms:.0f}",
         f"{one.worst_ms:.0f}")
        for name, one in (("without a batch", beside.quiet), ("beside a batch", beside.busy))
    )  # fmt: skip
    return Table("Online callers", ("when", "requests", "answered", "p50 ms", "p99 ms", "worst ms"), rows)


def _beside_rates(beside: Beside) -> Table:
    rows = tuple((str(turn + 1), *(f"{rate:.1f}" for rate in rates)) for turn, rates in enumerate(beside.rates))
    return Table("The batch's rows per second", ("round", "alone before", "beside callers", "alone after"), rows)


def _costs(one: Batched, ways: Transitions) -> Iterator[Table]:
    prices = Prices()
    memory_mb = {name: scale.memory_mb for name, scale in PROD.functions.items()}
    scored = one.functions.get("batch_score")
    entered = ways.of(shards=one.shards, runs=scored.runs if scored else 0)

    def cost(*, cpu_only: bool) -> Mapping[str, float]:
        return batch_cost(
            one.functions, memory_mb=memory_mb, rows=one.rows, transitions=entered, prices=prices, cpu_only=cpu_only
        )

    measured, least = cost(cpu_only=False), cost(cpu_only=True)
    rows = [(part, f"{measured[part]:.3f}", f"{least[part]:.3f}") for part in measured]
    rows.append(("all", f"{sum(measured.values()):.3f}", f"{sum(least.values()):.3f}"))
    what = f"Dollars for a million rows ({entered} transitions for {one.shards} shard(s) of this batch)"
    yield Table(what, ("part", "time as measured", "CPU only"), tuple(rows))
    seconds = one.stages.get("in_progress", one.seconds)
    kinds = tuple(
        (kind, f"{hourly:g}", f"{instance_cost(seconds, rows=one.rows, hourly=hourly):.2f}")
        for kind, hourly in prices.instance_hour.items()
    )
    yield Table(
        "Beside that: an instance kept for as long as scoring a million rows takes at this machine's speed",
        ("instance type", "dollars an hour", "dollars for a million rows"),
        kinds,
    )


def _raw(found: Findings) -> dict[str, Any]:
    return {
        "in_process": {"before": [asdict(one) for one in found.before], "after": [asdict(one) for one in found.after]},
        "batches": [raw(one) for one in (found.jsonl, found.csv) if one is not None],
        "memory": [asdict(one) for one in found.loads or ()],
        "online": None if found.beside is None else asdict(found.beside),
        "failed": found.failed,
        "seconds_by_part": found.seconds,
    }
