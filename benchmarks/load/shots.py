"""Open-loop load: when each request is sent is drawn beforehand, so that slow answers do not slow the arrivals.

Who waits for one answer before sending the next measures how polite it is, and not how the server fares
("coordinated omission"): a server that stands still for a second would be asked once in that second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conditions import ROOT
from benchmarks.processes import SCRATCH

GRACE_S = 30.0
"""For starting, and for the last answers."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: when it is due, seconds from the beginning, and which of the plan's bodies and headers it has."""

    at_s: float
    body: int = 0
    headers: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one request.

    Attributes:
        shot: The request.
        late_s: How long after it was due it was sent: the generator's own fault.
        seconds: From when it was due until the last byte, or until its caller gave up.
        status: The HTTP status; 0 where there was no answer.
        headers: Those that the plan asked for, by name.
        body: The answer, where the plan wanted it.
    """

    shot: Shot
    late_s: float
    seconds: float
    status: int
    headers: Mapping[str, str]
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send.

    Attributes:
        url: Where.
        shots: In the order of their times.
        bodies: JSON texts.
        headers: Sets of request headers.
        give_up_s: How long a caller waits.
        workers: 0 sends each when it is due. Else so many callers send one after the other as fast as they are
            answered, and `at_s` counts nothing.
        watched: Names of answer headers to keep, in lower case.
        keep_bodies: Whether answers are kept.
    """

    url: str
    shots: Sequence[Shot]
    bodies: Sequence[str]
    headers: Sequence[Mapping[str, str]] = ({},)
    give_up_s: float
    workers: int = 0
    watched: Sequence[str] = ()
    keep_bodies: bool = False


def poisson(rate: float, *, seconds: float, random: np.random.Generator) -> list[float]:
    """Arrival times in [0, seconds) of independent callers, `rate` a second on average."""
    times: list[float] = []
    at_s = float(random.exponential(1 / rate))
    while at_s < seconds:
        times.append(at_s)
        at_s += float(random.exponential(1 / rate))
    return times


@dataclass(slots=True)
class Firing:
    """Load under way.

    Attributes:
        start_s: Monotonic time of `at_s` 0, the same in every process of this machine.
        seen: What became of each request, in the order of the plan; filled when the block ends.
    """

    start_s: float
    seen: list[Seen] = field(default_factory=list)


@contextmanager
def firing(plan: Plan) -> Iterator[Firing]:
    """Send a plan's requests from a process of their own, meanwhile run the block, and wait for the last answer.

    Raises:
        RuntimeError: The generator failed; its words are in the message.
    """
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        asked, told = Path(folder, "plan.json"), Path(folder, "seen.json")
        asked.write_text(json.dumps(_written(plan)), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.load.generator", str(asked), str(told)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                load = Firing(_began_s(process))
                yield load
                if process.wait(timeout=_seconds(plan) + plan.give_up_s + GRACE_S):
                    raise RuntimeError("the load generator failed")
            finally:
                process.kill()
        rows = json.loads(told.read_text(encoding="utf-8"))
        load.seen = [
            Seen(Shot(at_s, shot.body, shot.headers), late_s, seconds, status, headers, body)
            for shot, (at_s, late_s, seconds, status, headers, body) in zip(plan.shots, rows, strict=True)
        ]


def _began_s(process: subprocess.Popen[str]) -> float:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError("the load generator did not start")
    return float(line)


def fire(plan: Plan) -> list[Seen]:
    """Send a plan's requests and return what became of them."""
    with firing(plan) as load:
        pass
    return load.seen


def _seconds(plan: Plan) -> float:
    if plan.workers:
        return plan.give_up_s * len(plan.shots) / plan.workers
    return plan.shots[-1].at_s if plan.shots else 0.0


def _written(plan: Plan) -> dict[str, Any]:
    return {
        "url": plan.url,
        "shots": [(shot.at_s, shot.body, shot.headers) for shot in plan.shots],
        "bodies": list(plan.bodies),
        "headers": [dict(each) for each in plan.headers],
        "give_up_s": plan.give_up_s,
        "workers": plan.workers,
        "watched": list(plan.watched),
        "keep_bodies": plan.keep_bodies,
    }


def _scratch() -> Path:
    folder = SCRATCH / "load"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
