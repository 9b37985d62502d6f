"""`python -m benchmarks gateway`: the gateway's own time per request, its calls of AWS, and what a million costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.arithmetic import percentile, spread
from benchmarks.conditions import ROOT, conditions
from benchmarks.deployed import LEAN, account, classification_event, environment, issue_key, stub
from benchmarks.processes import SCRATCH
from benchmarks.report import Report, Table, Target, paragraphs
from benchmarks.rounds import say
from benchmarks.traffic import costs
from benchmarks.traffic.drive import Found, drive
from benchmarks.traffic.prices import Assumptions
from benchmarks.traffic.scenarios import SCENARIOS, Scenario
from benchmarks.traffic.scenarios import quick as shortened
from headrace.declaration.files import read_declarations
from infra_cdk.stages import PROD

COUNT = 200
RUNS = 3
QUICK_COUNT = 40
CPU_TARGET_MS = 3.0
PROBE_S_MAX = 300
PACKAGES = ("fastapi", "starlette", "pydantic", "mangum", "aws-lambda-powertools", "boto3", "botocore")
NOTES = paragraphs("""\
The handler is called in a process of its own, as Lambda calls it: one event at a time, from a real API Gateway
proxy event to the proxy answer. It talks to a stub of the SageMaker runtime in another process on loopback,
which answers at once. Logs and metrics are written to the null device.

CPU is that of the whole process (all threads, user and system) per call, so neither the stub nor waiting counts;
the part of the call that talks to the endpoint does count as the gateway's own.

Own wall time = handler time less the round trip of the same bytes over a plain socket, which stands for endpoint
and network. Server-Timing's own split (total less target) is quoted too; there the target contains the call's time.

The parts are measured in turns with the whole, call by call: `without the call` runs the same application over ports
in memory, `framework` is Mangum and FastAPI around an empty route, `policy` is the invocation policy over stores in
memory around a call that takes no time, `call` is the signed call alone, `JSON` is strict parsing of the body and the
endpoint's request and answer. Parts overlap a little and need not add up exactly.

`hand-over` is what is left: the thread that bounds the call in time, caches gone cold meanwhile, and the policy's
writes in the background, about one a second each: back to back, many requests share one. At the rates of the table
of state calls fewer do, the process sleeps in between, and a request takes more CPU there.
""")

SHARES = (0.1, 0.5, 0.9, 0.99)
"""Which percentiles of each process are kept."""

Figures = dict[str, dict[str, list[float]]]


def run(*, quick: bool = False) -> Report:
    """Measure the gateway.

    Args:
        quick: A few calls, to see that the benchmark itself works.
    """
    count, runs = (QUICK_COUNT, 1) if quick else (COUNT, RUNS)
    report = Report(
        "gateway",
        "The gateway's own time and cost per request",
        conditions(PACKAGES, repetitions=f"{runs} processes of {count} calls"),
    )
    measured = _own_time(count=count, runs=runs)
    for case, several in measured.items():
        report.tables += [_whole_table(case, several), _parts_table(case, several)]
    report.targets += [_target(case, several) for case, several in measured.items()]
    report.notes += NOTES
    report.raw = {
        case: {
            part: {
                kind: [
                    {f"p{share * 100:g}": round(percentile(figures[part][kind], share), 3) for share in SHARES}
                    for figures in several
                ]
                for kind, values in several[0][part].items()
                if values
            }
            for part in several[0]
        }
        for case, several in measured.items()
    }
    costs.add(
        report,
        _traffic(SCENARIOS if not quick else [shortened(one) for one in SCENARIOS]),
        memory_mb={f"functions.{name}.handler": scale.memory_mb for name, scale in PROD.functions.items()},
        instances=[
            (each.name, each.hardware.instance_types[0], each.capacity.min_instances, each.capacity.max_instances)
            for each in read_declarations(ROOT / "endpoints")
        ],
    )
    return report


def _own_time(*, count: int, runs: int) -> dict[str, list[Figures]]:
    """What the handler and its parts take, by case, one for each process."""
    measured: dict[str, list[Figures]] = {}
    with stub() as runtime, account() as state:
        settings = {**environment(stub_port=runtime.port, account_port=state.port), **LEAN}
        for turn in range(runs):
            say(f"gateway: process {turn + 1} of {runs}")
            for case, figures in _probe(settings, count=count).items():
                measured.setdefault(case, []).append(figures)
    return measured


def _traffic(scenarios: Sequence[Scenario]) -> list[Found]:
    """What each scenario came to."""
    with stub(pause_ms=Assumptions().target_ms) as runtime, account() as state:
        settings = {**environment(stub_port=runtime.port, account_port=state.port), **LEAN}
        key = issue_key(settings, tenant="acme")
        found = []
        for one in scenarios:
            say(f"traffic: {one.name}, {one.seconds:.0f} s")
            found.append(drive(one, settings, event=classification_event(), key=key))
    return found


def _probe(settings: dict[str, str], *, count: int) -> dict[str, Figures]:
    output = SCRATCH / "gateway.json"
    command = [sys.executable, "-m", "benchmarks.gateway_probe", str(output), str(count)]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, check=True, timeout=PROBE_S_MAX
    )
    found: dict[str, Figures] = json.loads(output.read_text(encoding="utf-8"))
    return found


def _own_wall(figures: Figures) -> list[float]:
    """Handler time less the bare round trip next to it, call by call, in milliseconds."""
    pairs = zip(figures["handler"]["wall_ms"], figures["round trip"]["wall_ms"], strict=True)
    return [whole - trip for whole, trip in pairs]


def _server_timing(figures: Figures) -> list[float]:
    pairs = zip(figures["handler"]["wall_ms"], figures["handler"]["target_ms"], strict=True)
    return [whole - target for whole, target in pairs]


def _over_runs(several: list[Figures], pick: Any, share: float) -> str:
    return spread([percentile(pick(figures), share) for figures in several]).text()


def _target(case: str, several: list[Figures]) -> Target:
    own = spread([percentile(figures["handler"]["cpu_ms"], 0.5) for figures in several])
    return Target(
        f"{case}: own CPU time, p50", f"≤ {CPU_TARGET_MS:g} ms", f"{own.text()} ms", own.median <= CPU_TARGET_MS
    )


def _whole_table(case: str, several: list[Figures]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, pick in (
        ("own CPU", lambda figures: figures["handler"]["cpu_ms"]),
        ("own wall (handler less bare round trip)", _own_wall),
        ("own wall by Server-Timing (the call counted as target)", _server_timing),
        ("whole handler, wall", lambda figures: figures["handler"]["wall_ms"]),
        ("bare round trip, wall", lambda figures: figures["round trip"]["wall_ms"]),
    ):
        rows.append((name, *(_over_runs(several, pick, share) for share in (0.5, 0.99))))
    return Table(f"{case}: milliseconds per request", ("what", "p50", "p99"), tuple(rows))


def _parts_table(case: str, several: list[Figures]) -> Table:
    def cpu(part: str) -> float:
        return spread([percentile(figures[part]["cpu_ms"], 0.5) for figures in several]).median

    whole, framework, silent = cpu("handler"), cpu("framework"), cpu("without the call and telemetry")
    reported, call, policy = cpu("without the call"), cpu("call"), cpu("policy")
    parts = {
        "framework (Mangum, FastAPI, an empty route)": framework,
        "application (its JSON included)": silent - framework - policy,
        "invocation policy": policy,
        "telemetry (log line and metrics)": reported - silent,
        "InvokeEndpoint, signed and sent": call,
        "hand-over, and the policy's work in the background": whole - reported - call,
        "whole handler": whole,
        "of the policy: limits": cpu("limits"),
        "of the policy: circuit, shedding and percentiles": cpu("health"),
        "of the policy: the cache's key, look-up and entry": cpu("cache"),
        "of the application: JSON of body, request and answer": cpu("json"),
        "in a rollout: drawn by the routing document": cpu("drawn"),
        "in a rollout: counted": cpu("counted"),
        "in a rollout: the token for an outcome": cpu("token"),
        "for comparison: InvokeEndpoint by boto3's client": cpu("boto3"),
    }
    rows = tuple((name, f"{value:.3f}", f"{value / whole:.0%}") for name, value in parts.items())
    return Table(f"{case}: where the CPU goes (p50, ms)", ("part", "ms", "share"), rows)
