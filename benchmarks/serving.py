"""`python -m benchmarks serving`: the serving program against bare ONNX Runtime and FastAPI, and what it loses."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import behaviour
from benchmarks.arithmetic import ratios, spread
from benchmarks.bare import ONE_BY_ONE
from benchmarks.conditions import conditions
from benchmarks.load import wrk
from benchmarks.models import make_encoder, make_mlp
from benchmarks.processes import SCRATCH
from benchmarks.report import Report, Table, Target, paragraphs
from benchmarks.rounds import say
from benchmarks.servers import HEADRACE, TUNED
from benchmarks.speed import CONCURRENCIES, SERVERS, Findings, Plan, measure

PLANS = {
    "mlp": Plan(concurrency=64, rounds=6, window_s=2, trial_s=0.5, side_rounds=2, inline=True),
    "encoder": Plan(concurrency=32, rounds=5, window_s=3, trial_s=1.0, side_rounds=2, inline=False),
}
QUICK = {
    "mlp": Plan(concurrency=64, rounds=1, window_s=1, trial_s=0.1, side_rounds=1, inline=True),
    "encoder": Plan(concurrency=32, rounds=1, window_s=2, trial_s=0.3, side_rounds=1, inline=False),
}
STEADY = 1.25
"""A bare loop's best round over its worst; beyond it the machine was busy with something else."""
PACKAGES = ("onnxruntime", "numpy", "onnx", "uvloop", "httptools", "orjson", "fastapi", "uvicorn", "pydantic")
NOTES = paragraphs("""\
Programs take turns window by window in one run; a ratio compares windows of the same round, and is quoted as the
median with the range over the rounds. The absolute figures hold for this machine and this hour only.

wrk runs on the same two cores as the server it loads; its share is in the tables (cores of wrk). The bare loops
have both cores to themselves, so every server's ratio is a little too low.

The best bare loop is the best of nine (one thread, two threads inside a run, two runs at once; batches of 1, 8 and
32): all nine are tried first, the best two take part in the turns.

Requests are Open Inference Protocol JSON with one row each, 64 different bodies in rotation, on kept-alive
connections, each sending its next request at the last answer. All servers are single processes and use the same
session options: CPU, no spinning; the peers compute with one thread per run.

Tuned FastAPI: raw body, orjson both ways, the small model on the event loop, the encoder in two threads. Plain
FastAPI: pydantic models and a `def` endpoint. Both under uvicorn with uvloop, httptools and no access log.

Wrong answers are counted before and after the load: 64 inputs from 16 threads, compared with ONNX Runtime's own
answers at a relative tolerance of 1e-3.
""")


def run(*, quick: bool = False) -> Report:
    """Measure everything about the serving program.

    Args:
        quick: One short window each, to see that the benchmark itself works; its figures mean nothing.
    """
    plans = QUICK if quick else PLANS
    turns = "; ".join(
        f"{name}: {plan.rounds} rounds of {plan.window_s} s at concurrency {plan.concurrency}"
        for name, plan in plans.items()
    )
    report = Report("serving", "Serving", conditions(PACKAGES, repetitions=turns))
    if reason := wrk.missing():
        report.targets.append(Target("throughput and latency", "not measured", reason, None))
        report.notes.append(reason)
        return report
    say("making the two models")
    scratch = SCRATCH / "models"
    small, large = make_mlp(scratch), make_encoder(scratch)
    mlp, encoder = measure(small, plans["mlp"]), measure(large, plans["encoder"])
    report.targets += _targets(mlp, encoder)
    report.tables += [*_tables("MLP", mlp, plans["mlp"]), *_tables("Encoder", encoder, plans["encoder"])]
    report.raw = {"mlp": mlp.raw(), "encoder": encoder.raw()}
    seconds, stops = (1.0, 1) if quick else (4.0, 3)
    behaviour.report_on(report, small=small, large=large, scratch=scratch, seconds=seconds, stops=stops)
    report.notes += [*_disturbances({"MLP": mlp, "encoder": encoder}), *NOTES]
    return report


def _disturbances(found: dict[str, Findings]) -> list[str]:
    """Warn where the machine did other work meanwhile: the same loop should be as quick in every round."""
    notes = []
    for name, findings in found.items():
        rates = spread(findings.bare_rates(ONE_BY_ONE.name))
        if rates.high > STEADY * rates.low:
            notes.append(
                f"The machine was busy: the {name}'s bare loop ran {rates.high / rates.low:.1f} times as fast in its "
                "best round as in its worst. Measure again before believing these ratios."
            )
    return notes


def _targets(mlp: Findings, encoder: Findings) -> list[Target]:
    whole, tail = encoder.over(HEADRACE, encoder.best_bare), encoder.tail(HEADRACE)
    bare, tuned = mlp.over(HEADRACE, ONE_BY_ONE.name), mlp.over_peer(TUNED)
    wrong = sum(mlp.wrong.values()) + sum(encoder.wrong.values())
    best = f"best bare loop ({encoder.best_bare.removeprefix('bare, ')})"
    return [
        Target(f"encoder, concurrency 32: throughput over the {best}", "≥ 0.95", whole.text(), whole.median >= 0.95),
        Target("encoder, concurrency 32: p99 over p50", "≤ 2", tail.text(), tail.median <= 2),
        Target(
            "MLP, concurrency 64, JSON: throughput over the bare one-thread batch-1 loop",
            "≥ 0.9",
            bare.text(),
            bare.median >= 0.9,
        ),
        Target("MLP, concurrency 64, JSON: throughput over tuned FastAPI", "≥ 5", tuned.text(), tuned.median >= 5),
        Target("wrong answers of any server, before and after the load", "0", str(wrong), wrong == 0),
    ]


def _tables(title: str, found: Findings, plan: Plan) -> list[Table]:
    columns = (
        "contender",
        "rows/s",
        "÷ bare b1",
        "÷ best bare",
        "p50 ms",
        "p99 ms",
        "CPU µs a row",
        "cores",
        "wrk cores",
    )
    rows = (*_bare_rows(found), *_server_rows(found))
    tables = [Table(f"{title}: in turns at concurrency {plan.concurrency}", columns, rows)]
    tables += [_concurrencies(title, found), _processes(title, found)]
    if found.profile:
        decided = ", ".join(f"{name} {value}" for name, value in found.profile.items() if name != "curve_ms")
        curve = ", ".join(f"{rows_}: {ms}" for rows_, ms in found.profile.get("curve_ms", []))
        tables.append(Table(f"{title}: what warm-up decided", ("decisions", "rows: ms a batch"), ((decided, curve),)))
    return tables


def _bare_rows(found: Findings) -> Iterator[tuple[str, ...]]:
    for name, windows in found.bare.items():
        rates = found.bare_rates(name)
        yield (
            name,
            spread(rates).text(0),
            *_over(found, rates),
            spread([window.p50_ms for window in windows]).text(),
            spread([window.p99_ms for window in windows]).text(),
            f"{spread([window.cpu_s / window.rows * 1e6 for window in windows]).median:,.0f}",
            f"{spread([window.cpu_s / window.seconds for window in windows]).median:.2f}",
            "0",
        )


def _server_rows(found: Findings) -> Iterator[tuple[str, ...]]:
    for name, windows in found.served.items():
        rates = found.rates(name)
        yield (
            name,
            spread(rates).text(0),
            *_over(found, rates),
            spread([window.load.p50_ms for window in windows]).text(),
            spread([window.load.p99_ms for window in windows]).text(),
            f"{spread([window.cpu_us for window in windows]).median:,.0f}",
            f"{spread([window.cpu_s / window.load.seconds for window in windows]).median:.2f}",
            f"{spread([window.load.load_cpu_s / window.load.seconds for window in windows]).median:.2f}",
        )


def _over(found: Findings, rates: list[float]) -> tuple[str, str]:
    one, best = found.bare_rates(ONE_BY_ONE.name), found.bare_rates(found.best_bare)
    return ratios(rates, one).text(), ratios(rates, best).text()


def _concurrencies(title: str, found: Findings) -> Table:
    rows = []
    for concurrency in CONCURRENCIES:
        ours = spread([window.rate for window in found.side[HEADRACE, concurrency]]).median
        for name in SERVERS:
            windows = found.side[name, concurrency]
            rate = spread([window.rate for window in windows]).median
            p50, p99 = (spread([getattr(w.load, key) for w in windows]).median for key in ("p50_ms", "p99_ms"))
            cpu = spread([window.cpu_us for window in windows]).median
            bad = sum(window.load.bad_status + window.load.lost for window in windows)
            times = f"{ours / rate:.1f}" if rate else "no answers"
            rows.append(
                (str(concurrency), name, f"{rate:,.0f}", times, f"{p50:.2f}", f"{p99:.2f}", f"{cpu:,.0f}", str(bad))
            )
    columns = ("concurrency", "server", "req/s", "Headrace ÷ this", "p50 ms", "p99 ms", "CPU µs a request", "failed")
    return Table(f"{title}: by concurrency (medians)", columns, tuple(rows))


def _processes(title: str, found: Findings) -> Table:
    rows = tuple(
        (name, f"{found.start_s[name]:.2f}", *(f"{mb:,.0f}" for mb in found.memory_mb[name]), str(found.wrong[name]))
        for name in SERVERS
    )
    return Table(f"{title}: processes", ("server", "start s", "RSS MB", "PSS MB", "wrong answers"), rows)
