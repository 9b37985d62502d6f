"""`python -m benchmarks overload`: what is still served, and to whom, when far more is asked for than can be done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.conditions import conditions
from benchmarks.load.shots import Plan, Seen, Shot, fire, firing
from benchmarks.local_stack import Cores, cores_apart, cpu_by_part, issue_keys, pin, platform, wait_until
from benchmarks.overload_endpoint import NAME, Tower, make_tower
from benchmarks.overload_figures import Window, due_in, served_again_after_s, settled_after_s, window
from benchmarks.overload_load import TIERS, capacity_of, draw, plain
from benchmarks.overload_report import sum_up
from benchmarks.processes import SCRATCH
from benchmarks.report import Report
from benchmarks.rounds import say
from infra_local.threaded import ThreadedStack

SEED = 20261122
SERVICE_S = 0.25
SLO_MS = 1000
DEADLINE_MS = 3000
ENVIRONMENTS = 10
PACKAGES = ("onnxruntime", "aiohttp", "fastapi", "uvicorn", "moto", "awslambdaric")


@dataclass(frozen=True, slots=True)
class Phase:
    """Part of the timeline: so many times the capacity, for so long; what comes before `warm_in_s` is not counted."""

    multiple: float
    seconds: float
    warm_in_s: float


@dataclass(frozen=True, slots=True)
class Course:
    """How long everything is measured.

    Attributes:
        capacity_s: Of the closed loop.
        phases: For the platform, one after the other without a break.
        peer: For the plain server, which is started anew for each: what it has queued would take minutes to compute.
    """

    capacity_s: float
    phases: tuple[Phase, ...]
    peer: tuple[Phase, ...]


# The jump is from 1x to 10x; then a calm time, which shows the way back.
FULL = Course(
    capacity_s=15,
    phases=(Phase(1, 35, 10), Phase(10, 75, 15), Phase(0.5, 45, 40), Phase(2, 35, 10), Phase(4, 35, 10)),
    peer=tuple(Phase(multiple, 22, 6) for multiple in (1, 2, 4, 10)),
)
QUICK = Course(
    capacity_s=5,
    phases=(Phase(1, 6, 2), Phase(10, 14, 6), Phase(0.5, 6, 2), Phase(2, 6, 2), Phase(4, 6, 2)),
    peer=tuple(Phase(multiple, 6, 2) for multiple in (1, 2, 4, 10)),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A server under each multiple.

    Attributes:
        capacity: Of the closed loop, requests a second.
        windows: Multiple → what was seen.
        cores: Multiple → cores used by each part.
        settled_s: After the jump to the highest multiple.
        recovered_s: After the load fell again.
    """

    capacity: float
    windows: dict[float, Window]
    cores: dict[float, dict[str, float]]
    settled_s: int | None = None
    recovered_s: int | None = None


def run(*, quick: bool = False) -> Report:
    """Measure the platform, then the peer, under the same load.

    Args:
        quick: A few seconds each, to see that the benchmark itself works.
    """
    course = QUICK if quick else FULL
    seconds = "; ".join(f"{phase.multiple:g}x for {phase.seconds:g} s" for phase in course.phases)
    report = Report("overload", "Overload", conditions(PACKAGES, phases=seconds))
    say("making the model")
    tower = make_tower(SCRATCH / NAME, service_s=SERVICE_S, slo_ms=SLO_MS, deadline_ms=DEADLINE_MS)
    with cores_apart() as cores:
        ours = _platform(tower, course, cores)
        peer = _peer(tower, course, cores, capacity=ours.capacity)
    sum_up(report, ours=ours, peer=peer, tower=tower, slo_ms=SLO_MS, shares=TIERS)
    report.raw = {"platform": asdict(ours), "peer": asdict(peer), "blocks": tower.blocks, "service_s": tower.service_s}
    return report


# -- the platform -----------------------------------------------------------------------------------------------------


def _platform(tower: Tower, course: Course, cores: Cores) -> Measured:
    say("starting the platform")
    # The serving program plans for the cores that it may use when it starts.
    pin([os.getpid()], cores.model)
    with platform(
        endpoints=tower.endpoints, artifacts=tower.artifacts, name="overload", environments=ENVIRONMENTS
    ) as stack:
        children = stack.process_ids()
        rest = [pid for part, pids in children.items() if not part.startswith("serving-") for pid in pids]
        pin([os.getpid(), *rest], cores.rest)
        keys = issue_keys(stack, {plan: plan for plan in TIERS})
        headers = [{"x-api-key": keys[plan]} for plan in TIERS]
        url = f"{stack.url}/v2/models/{NAME}/infer"
        capacity = capacity_of(url, tower, headers[-1:], seconds=course.capacity_s, patience_s=DEADLINE_MS / 1000)
        return _phases(stack, url, tower, headers, course, capacity=capacity)


def _phases(
    stack: ThreadedStack, url: str, tower: Tower, headers: list[dict[str, str]], course: Course, *, capacity: float
) -> Measured:
    random = np.random.default_rng(SEED)
    shots: list[Shot] = []
    begin_s = 0.0
    for phase in course.phases:
        shots += draw(capacity * phase.multiple, seconds=phase.seconds, tower=tower, random=random, from_s=begin_s)
        begin_s += phase.seconds
    plan = Plan(
        url=url, shots=shots, bodies=tower.bodies, headers=headers, give_up_s=DEADLINE_MS / 1000, keep_bodies=True
    )
    cores: dict[float, dict[str, float]] = {}
    with firing(plan) as load:
        begin_s = 0.0
        for phase in course.phases:
            say(f"the platform at {phase.multiple:g} times its capacity")
            wait_until(load.start_s + begin_s + phase.warm_in_s)
            before = cpu_by_part(stack)
            begin_s += phase.seconds
            wait_until(load.start_s + begin_s)
            after, took_s = cpu_by_part(stack), phase.seconds - phase.warm_in_s
            cores[phase.multiple] = {
                part: max(0.0, used - before.get(part, 0)) / took_s for part, used in after.items()
            }
    windows, highest = {}, max(course.phases, key=lambda phase: phase.multiple)
    settled_s = recovered_s = None
    begin_s, fell = 0.0, False
    for phase in course.phases:
        end_s = begin_s + phase.seconds
        windows[phase.multiple] = _window(load.seen, phase, begin_s)
        if fell:
            recovered_s = served_again_after_s(load.seen, begin_s=begin_s, end_s=end_s, share=0.99)
        if phase is highest:
            settled_s = settled_after_s(load.seen, begin_s=begin_s, end_s=end_s, slo_s=SLO_MS / 1000)
        fell, begin_s = phase is highest, end_s
    return Measured(capacity, windows, cores, settled_s, recovered_s)


# -- the peer ---------------------------------------------------------------------------------------------------------


def _peer(tower: Tower, course: Course, cores: Cores, *, capacity: float) -> Measured:
    with plain(tower, cores) as url:
        own = capacity_of(url, tower, [{}], seconds=course.capacity_s, patience_s=DEADLINE_MS / 1000)
    windows = {}
    for phase in course.peer:
        say(f"plain FastAPI at {phase.multiple:g} times the platform's capacity")
        with plain(tower, cores) as url:
            random = np.random.default_rng(SEED)
            shots = draw(capacity * phase.multiple, seconds=phase.seconds, tower=tower, random=random)
            plan = Plan(
                url=url,
                shots=shots,
                bodies=tower.bodies,
                headers=[{}] * len(TIERS),
                give_up_s=DEADLINE_MS / 1000,
                keep_bodies=True,
            )
            windows[phase.multiple] = _window(fire(plan), phase, 0.0)
    return Measured(own, windows, {})


def _window(seen: Sequence[Seen], phase: Phase, begin_s: float) -> Window:
    names = list(TIERS)
    counted = due_in(seen, begin_s + phase.warm_in_s, begin_s + phase.seconds)
    return window(
        counted,
        seconds=phase.seconds - phase.warm_in_s,
        slo_s=SLO_MS / 1000,
        caller=lambda each: names[each.shot.headers],
    )
