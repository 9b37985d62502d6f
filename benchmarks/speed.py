"""Measures one model: bare loops, the serving program and its peers in turns, then servers at other concurrencies."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from benchmarks.arithmetic import Spread, ratios, spread
from benchmarks.bare import ONE_BY_ONE, SHAPES, Bare, BareWindow, Shape
from benchmarks.load.agreement import mismatches
from benchmarks.models import BenchModel
from benchmarks.processes import Program
from benchmarks.rounds import in_turns, say
from benchmarks.servers import HEADRACE, PLAIN, TUNED, Served, load, server

CONCURRENCIES = (1, 8, 32, 64)
SERVERS = (HEADRACE, TUNED, PLAIN)
BEST_KEPT = 2  # bare loops that go into the turns, beside one thread and batch 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Attributes:
        concurrency: Connections in the turns.
        rounds: Turns.
        window_s: Length of a window, in whole seconds.
        trial_s: Length of each bare loop's trial before the turns.
        side_rounds: Windows of each server at the other concurrencies.
        inline: Whether tuned FastAPI computes on its event loop.
    """

    concurrency: int
    rounds: int
    window_s: int
    trial_s: float
    side_rounds: int
    inline: bool


@dataclass(slots=True)
class Findings:
    """What was measured of one model.

    Attributes:
        bare: Bare loop → its windows in the turns.
        trials: Bare loop → rows a second in its trial.
        served: Server → its windows in the turns.
        side: (server, concurrency) → windows.
        wrong: Server → wrong answers before and after the load.
        start_s: Server → seconds from spawning to the first right answer.
        memory_mb: Server → resident and proportional set size after the load.
        profile: What the serving program's warm-up decided.
    """

    bare: dict[str, list[BareWindow]] = field(default_factory=dict)
    trials: dict[str, float] = field(default_factory=dict)
    served: dict[str, list[Served]] = field(default_factory=dict)
    side: dict[tuple[str, int], list[Served]] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    start_s: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, tuple[float, float]] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)

    def bare_rates(self, name: str) -> list[float]:
        """Rows a second of a bare loop, round by round."""
        return [window.rows / window.seconds for window in self.bare[name]]

    def rates(self, name: str) -> list[float]:
        """Good answers a second of a server, round by round."""
        return [window.rate for window in self.served[name]]

    @property
    def best_bare(self) -> str:
        """The bare loop with the highest median in the turns."""
        return max(self.bare, key=lambda name: spread(self.bare_rates(name)).median)

    def over(self, server_name: str, bare_name: str) -> Spread:
        """A server's throughput over a bare loop's."""
        return ratios(self.rates(server_name), self.bare_rates(bare_name))

    def over_peer(self, peer: str) -> Spread:
        """The serving program's throughput over a peer's. A window without any answer counts as one answer."""
        floor = [max(window.rate, 1 / window.load.seconds) for window in self.served[peer]]
        return ratios(self.rates(HEADRACE), floor)

    def tail(self, name: str) -> Spread:
        """A server's 99th percentile over its median latency."""
        return spread([window.load.p99_ms / max(window.load.p50_ms, 1e-3) for window in self.served[name]])

    def raw(self) -> dict[str, Any]:
        """Every window, for the JSON file."""
        return {
            "bare": {name: [asdict(window) for window in windows] for name, windows in self.bare.items()},
            "bare_trials_rows_per_s": self.trials,
            "served": {name: [asdict(window) for window in windows] for name, windows in self.served.items()},
            "other_concurrencies": {
                f"{name}, {concurrency}": [asdict(window) for window in windows]
                for (name, concurrency), windows in self.side.items()
            },
            "wrong_answers": self.wrong,
            "start_s": self.start_s,
            "memory_mb": self.memory_mb,
            "profile": self.profile,
        }


def measure(model: BenchModel, plan: Plan) -> Findings:
    """Measure a model with every server running, each idle while another contender has its window."""
    found = Findings()
    bare = Bare(model)
    expected = bare.expected()
    say(f"{model.name}: trying the bare loops")
    for shape in SHAPES:
        window = bare.loop(shape, seconds=plan.trial_s)
        found.trials[shape.name] = window.rows / window.seconds
    with contextlib.ExitStack() as stack:
        programs: dict[str, Program] = {}
        for name in SERVERS:
            say(f"{model.name}: starting {name}")
            programs[name] = stack.enter_context(server(name, model, expected=expected[0], inline=plan.inline))
            found.start_s[name] = programs[name].start_s
            found.wrong[name] = mismatches(programs[name], model, expected)
        found.profile = _profile(programs[HEADRACE])
        _turns(found, plan, bare=bare, programs=programs, model=model)
        _other_concurrencies(found, plan, programs=programs, model=model)
        for name, program in programs.items():
            found.memory_mb[name] = program.memory_mb()
            found.wrong[name] += mismatches(program, model, expected)
    return found


def _turns(found: Findings, plan: Plan, *, bare: Bare, programs: dict[str, Program], model: BenchModel) -> None:
    best = sorted(SHAPES, key=lambda shape: -found.trials[shape.name])[:BEST_KEPT]
    shapes: dict[str, Shape] = {shape.name: shape for shape in (ONE_BY_ONE, *best)}
    contenders: dict[str, Callable[[], BareWindow | Served]] = {
        name: partial(bare.loop, shape, seconds=plan.window_s) for name, shape in shapes.items()
    }
    for name, program in programs.items():
        contenders[name] = partial(load, program, model, concurrency=plan.concurrency, seconds=plan.window_s)
    say(f"{model.name}: {plan.rounds} rounds of {len(contenders)} windows of {plan.window_s} s")
    for name, windows in in_turns(contenders, rounds=plan.rounds).items():
        if name in programs:
            found.served[name] = [window for window in windows if isinstance(window, Served)]
        else:
            found.bare[name] = [window for window in windows if isinstance(window, BareWindow)]


def _other_concurrencies(found: Findings, plan: Plan, *, programs: dict[str, Program], model: BenchModel) -> None:
    for concurrency in CONCURRENCIES:
        if concurrency == plan.concurrency:
            continue
        say(f"{model.name}: concurrency {concurrency}")
        contenders = {
            name: partial(load, program, model, concurrency=concurrency, seconds=plan.window_s)
            for name, program in programs.items()
        }
        for name, windows in in_turns(contenders, rounds=plan.side_rounds).items():
            found.side[name, concurrency] = windows
    for name in programs:
        found.side[name, plan.concurrency] = found.served[name]


def _profile(program: Program) -> dict[str, Any]:
    """What the serving program logged when it became ready."""
    for line in program.log.read_text(encoding="utf-8").splitlines():
        if '"event": "ready"' in line or '"event":"ready"' in line:
            fields: dict[str, Any] = json.loads(line)
            wanted = ("batchable", "batch_rows_max", "inline", "wide_session", "preprocess_off_loop", "curve_ms")
            return {name: fields[name] for name in wanted if name in fields}
    return {}
