"""`python -m benchmarks imports`: what each handler's cold import costs, against an empty and a naive handler."""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.arithmetic import ratios, spread
from benchmarks.conditions import ROOT, conditions
from benchmarks.deployed import LEAN, account, classification_event, environment, stub
from benchmarks.processes import SCRATCH
from benchmarks.report import Report, Table, Target, paragraphs
from benchmarks.rounds import in_turns, say

ROUNDS = 12
FIRST_ROUNDS = 6
HEAVIEST = 15
IMPORT_RATIO_MAX = 0.5
PROBE_S_MAX = 60
PACKAGES = ("fastapi", "starlette", "pydantic", "mangum", "aws-lambda-powertools", "aws-xray-sdk", "boto3", "botocore")
PREDICT, NAIVE, EMPTY = "predict", "naive", "empty"
PLUGINS_OFF, UNTRACED = "naive, plugins off", "naive, tracer off"
TRACER_OFF = {"POWERTOOLS_TRACE_DISABLED": "true"}
NOTES = paragraphs("""\
Each figure comes from fresh interpreters, one handler after the other in turns; bytecode is present for all. CPU is
user and system time from just before the import to just after it, so the interpreter's own start is not in it; peak
memory is that of the whole process.

`naive` is `benchmarks/naive/handler.py`: FastAPI, Mangum, Powertools' Logger, Metrics and Tracer, and a boto3 client,
made at import as people make them. Every handler finds the variables that Lambda sets: without LAMBDA_TASK_ROOT the
X-Ray SDK behind the Tracer does work at import that it does not do in Lambda, and the naive handler would look dearer
than it is. The target is held against the quickest of its three variants.

Our functions run with PYDANTIC_DISABLE_PLUGINS=__all__; the naive handler has not heard of it. Both are measured
with and without.

Import time alone flatters a handler that defers its work: the table of first answers counts import and first
request together, against a stub that answers at once, with clients and connections made on the way. Ours then makes
clients of DynamoDB and Secrets Manager too, and asks them about limits, health and its secret; the naive handler has no
limits and asks nobody.

The interpreter here sees the whole development environment, whose many distributions make scanning for plugins
dearer than a Lambda's few.
""")


@dataclass(frozen=True, slots=True)
class Probe:
    """One fresh interpreter's figures. `first_*` are 0 when no request was made."""

    cpu_ms: float
    wall_ms: float
    modules: int
    peak_mb: float
    first_cpu_ms: float = 0.0
    first_wall_ms: float = 0.0
    first_peak_mb: float = 0.0
    status: int = 0


def probe(module: str, settings: Mapping[str, str], *, event: str | None = None) -> Probe:
    """Import a handler in a fresh interpreter, and perhaps have it answer.

    Args:
        module: Dotted name of the handler's module.
        settings: Added to this process's environment.
        event: Path of an event to answer.
    """
    output = SCRATCH / "import.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.import_probe", module, str(output), *([event] if event else [])]
    subprocess.run(command, cwd=ROOT, env=_clean(settings), stdout=subprocess.DEVNULL, check=True, timeout=PROBE_S_MAX)
    return Probe(**json.loads(output.read_text(encoding="utf-8")))


def _clean(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would change an import, and with `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYDANTIC_"))}
    return {**kept, **settings}


def run(*, quick: bool = False) -> Report:
    """Measure the handlers.

    Args:
        quick: Two rounds, to see that the benchmark itself works.
    """
    rounds, first_rounds = (2, 2) if quick else (ROUNDS, FIRST_ROUNDS)
    report = Report(
        "imports",
        "Cold import and first answer of each handler",
        conditions(PACKAGES, repetitions=f"{rounds} fresh interpreters each, {first_rounds} for first answers"),
    )
    for folder in ("functions", "layers", "endpoints", "benchmarks"):
        compileall.compile_dir(ROOT / folder, quiet=2)
    with stub() as runtime, account() as state:
        plain = environment(stub_port=runtime.port, account_port=state.port)
        ours = {**plain, **LEAN}
        naive = "benchmarks.naive.handler"
        imports: dict[str, Callable[[], Probe]] = {
            EMPTY: partial(probe, "benchmarks.empty", ours),
            **{
                name: partial(probe, f"functions.{name}.handler", ours)
                for name in (PREDICT, "authorizer", "fallback", "job_run")
            },
            NAIVE: partial(probe, naive, plain),
            "predict, plugins scanned": partial(probe, "functions.predict.handler", plain),
            PLUGINS_OFF: partial(probe, naive, ours),
            UNTRACED: partial(probe, naive, {**plain, **TRACER_OFF}),
        }
        say("imports: one discarded run of each, so that bytecode and file cache are there")
        in_turns(imports, rounds=1)
        say(f"imports: {rounds} rounds of {len(imports)} interpreters")
        imported = in_turns(imports, rounds=rounds)
        event = SCRATCH / "event.json"
        event.write_text(json.dumps(classification_event()), encoding="utf-8")
        firsts: dict[str, Callable[[], Probe]] = {
            PREDICT: partial(probe, "functions.predict.handler", ours, event=str(event)),
            NAIVE: partial(probe, naive, plain, event=str(event)),
        }
        say(f"first answers: {first_rounds} rounds")
        answered = in_turns(firsts, rounds=first_rounds)
        say("where predict's import goes")
        weights = _weights("functions.predict.handler", ours)
    report.targets.append(_target(imported))
    report.tables += [_imports_table(imported), _first_table(answered), *_weight_tables(weights)]
    report.notes += NOTES
    report.raw = {
        "imports_cpu_ms": {name: [one.cpu_ms for one in probes] for name, probes in imported.items()},
        "imports_peak_mb": {name: [one.peak_mb for one in probes] for name, probes in imported.items()},
        "first_answer_cpu_ms": {name: [one.first_cpu_ms for one in probes] for name, probes in answered.items()},
        "first_answer_wall_ms": {name: [one.first_wall_ms for one in probes] for name, probes in answered.items()},
        "statuses": {name: [one.status for one in probes] for name, probes in answered.items()},
    }
    return report


def _target(imported: dict[str, list[Probe]]) -> Target:
    quicker = min(
        (NAIVE, PLUGINS_OFF, UNTRACED), key=lambda name: spread([one.cpu_ms for one in imported[name]]).median
    )
    found = ratios([one.cpu_ms for one in imported[PREDICT]], [one.cpu_ms for one in imported[quicker]])
    least = min(one.cpu_ms for one in imported[PREDICT]) / min(one.cpu_ms for one in imported[quicker])
    return Target(
        f"predict's cold import over the naive handler's (CPU; {quicker})",
        f"≤ {IMPORT_RATIO_MAX}",
        f"{found.text()}; least over least {least:.2f}",
        found.median <= IMPORT_RATIO_MAX,
    )


def _imports_table(imported: dict[str, list[Probe]]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, probes in imported.items():
        cpu = [one.cpu_ms for one in probes]
        memory = spread([one.peak_mb for one in probes])
        over = ratios(cpu, [one.cpu_ms for one in imported[NAIVE]])
        extra = memory.median - spread([one.peak_mb for one in imported[EMPTY]]).median
        cells = (f"{min(cpu):.0f}", spread(cpu).text(0), over.text(), f"{memory.median:.1f}", f"{extra:+.1f}")
        rows.append((name, *cells, str(probes[0].modules)))
    columns = ("handler", "CPU ms, least", "CPU ms, median", "÷ naive", "peak MB", "over empty", "modules")
    return Table("Import", columns, tuple(rows))


def _first_table(answered: dict[str, list[Probe]]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, probes in answered.items():
        cpu, wall = [one.first_cpu_ms for one in probes], [one.first_wall_ms for one in probes]
        over = ratios(cpu, [one.first_cpu_ms for one in answered[NAIVE]])
        memory = spread([one.first_peak_mb for one in probes])
        statuses = ", ".join(sorted({str(one.status) for one in probes}))
        rows.append(
            (
                name,
                f"{min(cpu):.0f}",
                spread(cpu).text(0),
                spread(wall).text(0),
                over.text(),
                f"{memory.median:.1f}",
                statuses,
            )
        )
    columns = ("handler", "CPU ms, least", "CPU ms, median", "wall ms, median", "÷ naive (CPU)", "peak MB", "status")
    return Table("Import and first answer", columns, tuple(rows))


@dataclass(frozen=True, slots=True)
class Weight:
    """One module of an import: its own time and that with everything it pulled in, in microseconds."""

    module: str
    own_us: int
    whole_us: int


def read_weights(text: str) -> list[Weight]:
    """Read what `-X importtime` prints on standard error."""
    weights = []
    for line in text.splitlines():
        if not line.startswith("import time:") or "self [us]" in line:
            continue
        own, whole, module = line.removeprefix("import time:").split("|")
        weights.append(Weight(module.strip(), int(own), int(whole)))
    return weights


def _weights(module: str, settings: Mapping[str, str]) -> list[Weight]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"],
        cwd=ROOT,
        env=_clean(settings),
        capture_output=True,
        text=True,
        check=True,
        timeout=PROBE_S_MAX,
    )
    return read_weights(done.stderr)


def _weight_tables(weights: list[Weight]) -> list[Table]:
    packages: defaultdict[str, int] = defaultdict(int)
    for weight in weights:
        packages[weight.module.partition(".")[0]] += weight.own_us
    by_module = sorted(weights, key=lambda weight: -weight.own_us)[:HEAVIEST]
    by_package = sorted(packages.items(), key=lambda item: -item[1])[:HEAVIEST]
    return [
        Table(
            "predict's import: the heaviest modules (one run, under importtime)",
            ("module", "own ms", "with what it imports, ms"),
            tuple((one.module, f"{one.own_us / 1000:.1f}", f"{one.whole_us / 1000:.1f}") for one in by_module),
        ),
        Table(
            "predict's import: by package",
            ("package", "own ms, all its modules"),
            tuple((name, f"{own_us / 1000:.1f}") for name, own_us in by_package),
        ),
    ]
