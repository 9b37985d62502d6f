"""`python -m benchmarks faults`: things break under a steady load; who is answered, by whom, and is it said."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.conditions import ROOT, conditions
from benchmarks.faults_cases import AFTER_S, BEFORE_S, CASES, ENDPOINT, STORE_FAULT_S, Case, chosen
from benchmarks.faults_figures import (
    WATCHED,
    Figures,
    Scores,
    Verdict,
    figures,
    judge,
    recovered_after_s,
    scores_of,
)
from benchmarks.faults_load import LADDER, PINNED, SEED, bodies_of, shots, texts
from benchmarks.faults_report import sum_up
from benchmarks.load.endings import OK
from benchmarks.load.shots import Plan, Seen, Shot, fire, firing
from benchmarks.local_stack import issue_keys, platform, wait_until
from benchmarks.processes import SCRATCH
from benchmarks.report import Report, Target
from benchmarks.rounds import say
from endpoints.building import artifacts_root
from infra_local.plan import PlanError, read_plan
from infra_local.threaded import ThreadedStack

RATE = 20.0
DEADLINE_S = 2.0
"""The endpoint's own, which these callers do not change."""
GIVE_UP_S = 4.0
TEXTS = 900
ENVIRONMENTS = 24
WARM_UP_S = 10.0
WELL_S = 4.0
"""The platform counts as healthy again when the primary has served nearly all for so long."""
RECOVERY_S_MAX = 120.0
REFERENCE_CALLERS = 2
REFERENCE_ROUNDS = 3
VERSION = "v1"
PRIMARY = f"{ENDPOINT}/{VERSION}"
QUICK_CASES = ("killed once", "all answers garbage", "DynamoDB's state table throttled")
PACKAGES = ("onnxruntime", "aiohttp", "fastapi", "moto", "awslambdaric")


@dataclass(frozen=True, slots=True)
class Course:
    """How long each part of a case lasts, and which cases there are."""

    cases: tuple[Case, ...]
    before_s: float
    fault_s_max: float
    after_s: float
    texts: int


FULL = Course(CASES, BEFORE_S, STORE_FAULT_S, AFTER_S, TEXTS)
QUICK = Course(chosen(QUICK_CASES), 2.0, 4.0, 4.0, 300)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case.

    Attributes:
        case: Its name.
        whole: All requests that may be answered by the ladder.
        during: Those that were due while the fault was in force.
        pinned: The same load without a ladder, while the fault was in force.
        recovered_s: After the fault had ended, until the primary served nearly all; None: not within the time watched.
    """

    case: str
    whole: Figures
    during: Figures
    pinned: Figures
    recovered_s: int | None


def run(*, quick: bool = False) -> Report:
    """Break everything in turn.

    Args:
        quick: Three cases, a few seconds each, to see that the benchmark itself works.
    """
    course = QUICK if quick else FULL
    repetitions = (
        f"{course.before_s:g} s before, up to {course.fault_s_max:g} s broken, {course.after_s:g} s and more after"
    )
    report = Report("faults", "Faults", conditions(PACKAGES, load=f"{RATE:g} requests a second", times=repetitions))
    endpoints, artifacts = _declared(SCRATCH / "faults-declared"), artifacts_root(ROOT, {})
    try:
        read_plan(endpoints, artifacts)
    except PlanError:
        reason = "no artifact of sentiment: run `make models`"
        report.targets.append(Target("answered within the deadline", "≥ 99.9 %", reason, None))
        return report
    several = texts(course.texts)
    say("starting the platform")
    with platform(endpoints=endpoints, artifacts=artifacts, name="faults", environments=ENVIRONMENTS) as stack:
        bench = _Bench(stack, course, bodies_of(several))
        bench.warm_up()
        outcomes = [bench.measure(index, case) for index, case in enumerate(course.cases)]
    sum_up(report, outcomes, primary=PRIMARY)
    report.raw = {outcome.case: asdict(outcome) for outcome in outcomes}
    return report


def _declared(folder: Path) -> Path:
    """The real endpoint as it is declared, alone: what is not measured would only take memory and time."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "endpoints" / ENDPOINT, folder / ENDPOINT, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "endpoints" / "plans.yaml", folder)
    return folder


Judged = list[tuple[Seen, Verdict]]


class _Bench:
    """A running platform with the keys and the right answers that all cases need."""

    def __init__(self, stack: ThreadedStack, course: Course, bodies: list[str]) -> None:
        self._stack = stack
        self._course = course
        self._bodies = bodies
        self._url = f"{stack.url}/v1/classifications"
        # A tenant for each case: none finds another's answers in the cache.
        self._keys = issue_keys(stack, {_tenant(index): "standard" for index in range(len(course.cases) + 1)})
        say("collecting the primary's answers")
        self._references = self._collect()

    def warm_up(self) -> None:
        """Let functions scale out under the load that follows: what they take to start is not what is measured."""
        say("warming up")
        fire(self._plan(-1, seconds=WARM_UP_S))

    def measure(self, index: int, case: Case) -> Outcome:
        """Load, break, mend, and judge every answer."""
        say(f"{case.name} ({index + 1} of {len(self._course.cases)})")
        course = self._course
        fault_s = min(case.fault_s, course.fault_s_max)
        from_s, end_s = course.before_s, course.before_s + fault_s
        with firing(self._plan(index, seconds=end_s + course.after_s)) as load:
            for strike_s in case.strikes_s(fault_s):
                wait_until(load.start_s + from_s + strike_s)
                self._stack.fault(**case.fault)
            wait_until(load.start_s + end_s)
            self._stack.fault(clear=True)
        judged, last_s = self._judged(load.seen), end_s + course.after_s
        while not _well(judged, last_s - WELL_S, last_s) and last_s < end_s + RECOVERY_S_MAX:
            with firing(self._plan(index, seconds=WELL_S, seed=SEED + round(last_s * 1000) + index)) as more:
                pass
            shift_s = more.start_s - load.start_s
            later = [replace(each, shot=replace(each.shot, at_s=each.shot.at_s + shift_s)) for each in more.seen]
            judged, last_s = judged + self._judged(later), shift_s + WELL_S
        ladder = [each for each in judged if each[0].shot.headers == LADDER]
        pinned = [each for each in judged if each[0].shot.headers == PINNED]
        return Outcome(
            case.name,
            whole=_figures(ladder),
            during=_figures(_due_in(ladder, from_s, end_s)),
            pinned=_figures(_due_in(pinned, from_s, end_s)),
            recovered_s=recovered_after_s(*_apart(ladder), from_s=end_s, end_s=last_s),
        )

    def _plan(self, index: int, *, seconds: float, seed: int = SEED) -> Plan:
        key = {"x-api-key": self._keys[_tenant(index + 1)]}
        return Plan(
            url=self._url,
            shots=shots(RATE, seconds=seconds, count=len(self._bodies), seed=seed),
            bodies=self._bodies,
            headers=[key, {**key, "x-headrace-version": VERSION, "cache-control": "no-store"}],
            give_up_s=GIVE_UP_S,
            watched=WATCHED,
            keep_bodies=True,
        )

    def _judged(self, seen: Sequence[Seen]) -> Judged:
        return [(each, self._judge(each)) for each in seen]

    def _judge(self, seen: Seen) -> Verdict:
        return judge(seen, primary=PRIMARY, reference=self._references[seen.shot.body], deadline_s=DEADLINE_S)

    def _collect(self) -> dict[int, Scores]:
        """The primary's own answer to every text, one text a request, from the healthy platform."""
        headers = {
            "x-api-key": self._keys[_tenant(0)],
            "x-headrace-version": VERSION,
            "cache-control": "no-store",
            "x-request-timeout-ms": "9000",
        }
        found: dict[int, Scores] = {}
        for _ in range(REFERENCE_ROUNDS):
            missing = [Shot(0.0, index) for index in range(len(self._bodies)) if index not in found]
            plan = Plan(
                url=self._url, shots=missing, bodies=self._bodies, headers=[headers], give_up_s=10.0,
                workers=REFERENCE_CALLERS, watched=WATCHED, keep_bodies=True,
            )  # fmt: skip
            found |= {each.shot.body: scores_of(each.body) for each in fire(plan) if each.status == OK}
            if len(found) == len(self._bodies):
                return found
        raise RuntimeError("the healthy platform does not answer every text")


def _tenant(index: int) -> str:
    return f"faults-{index}"


def _due_in(judged: Judged, from_s: float, end_s: float) -> Judged:
    return [each for each in judged if from_s <= each[0].shot.at_s < end_s]


def _well(judged: Judged, from_s: float, end_s: float) -> bool:
    """Whether the ladder was not needed lately."""
    ladder = [each for each in judged if each[0].shot.headers == LADDER]
    return recovered_after_s(*_apart(ladder), from_s=from_s, end_s=end_s) == 0


def _apart(judged: Judged) -> tuple[list[Seen], list[Verdict]]:
    return [seen for seen, _ in judged], [verdict for _, verdict in judged]


def _figures(judged: Judged) -> Figures:
    return figures(*_apart(judged))
