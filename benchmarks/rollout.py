"""Canary decisions, simulated: false rollbacks, how soon regressions are seen, and others on the same requests.

    rollout_streams.py   requests of two versions     rollout_callers.py    callers who stay with their version
    rollout_watch.py     who watches them             rollout_whole.py      whole rollouts, several metrics
    rollout_intervals.py bounds and intervals         rollout_cases.py      what is tried
    rollout_measure.py   figures of each case         rollout_tables.py     how they are shown

Nothing here depends on the machine: a seed repeats all of it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import rollout_intervals as looks
from benchmarks import rollout_tables as tables
from benchmarks.report import Report, Target
from benchmarks.rollout_cases import (
    ALPHA,
    BAD_CROWD,
    CROWDS,
    HARMLESS,
    LATENCY,
    MIXES,
    REGRESSIONS,
    ROLLOUTS,
    WANTED,
)
from benchmarks.rollout_measure import (
    ALL,
    ONE,
    OURS,
    SLOWER,
    Checked,
    Found,
    crowd,
    false_alarms,
    rollouts,
    watch,
    wilson,
)
from benchmarks.rollout_streams import RPM
from benchmarks.rollout_tables import LookedAt
from benchmarks.rollout_watch import NEVER
from benchmarks.rollout_whole import several_at_once
from headrace.rollouts.plan import SPLIT_ALPHA

SEED = 20_261_122
ROLLOUT_RPM = 6_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run; `again` for the mix that had most false rollbacks, and for disagreement."""

    harmless: int
    regressions: int
    rollouts: int
    intervals: int
    again: int
    cases: int | None = None


FULL = Size(harmless=2_000, regressions=2_000, rollouts=1_000, intervals=1_000, again=20_000)
QUICK = Size(harmless=20, regressions=20, rollouts=5, intervals=10, again=40, cases=2)


@dataclass(slots=True)
class Results:
    """Everything that was found."""

    harmless: list[Found] = field(default_factory=list)
    again: dict[str, Found] = field(default_factory=dict)
    several: dict[str, int] = field(default_factory=dict)
    crowds: dict[str, Mapping[str, float]] = field(default_factory=dict)
    regressions: list[Found] = field(default_factory=list)
    rollouts: list[Any] = field(default_factory=list)
    looked_at: list[LookedAt] = field(default_factory=list)
    checked: Checked = field(default_factory=Checked)


def run(*, quick: bool = False) -> Report:
    """Simulate all of it."""
    size = QUICK if quick else FULL
    found = measure(size)
    report = Report(
        "rollout",
        "Canary decisions, simulated",
        {
            "seeds": f"{SEED} and the case's number; each run of a crowd or a rollout adds its own number",
            "runs": f"{size.harmless} of each mix, {size.regressions} of each regression, {size.rollouts} rollouts",
            "traffic": f"{RPM} requests a minute, both versions together; {ROLLOUT_RPM} in whole rollouts",
            "alpha": f"{ALPHA:g} over everything that is sought in one rollout",
            "Python, NumPy": f"{platform.python_version()}, {np.__version__}",
        },
    )
    report.targets += targets(found, size)
    report.tables += [
        tables.false_rollbacks(found.harmless),
        tables.crowds(found.crowds, found.several, runs=size.rollouts),
        tables.detection(found.regressions),
        tables.whole_rollouts(found.rollouts),
        tables.looked_at(found.looked_at),
    ]
    report.notes += tables.NOTES
    report.raw = {
        "false rollbacks": [one.raw() for one in found.harmless],
        "the worst again": {who: one.raw() for who, one in found.again.items()},
        "detection": [one.raw() for one in found.regressions],
        "several metrics": found.several,
        "crowds": {name: dict(shares) for name, shares in found.crowds.items()},
        "rollouts": [tables.raw_rollouts(one) for one in found.rollouts],
        "looked at": [
            {"what": one.what, "alpha": one.alpha, "in": one.count, "of": one.runs} for one in found.looked_at
        ],
        "judge": {"asked": found.checked.compared, "said otherwise": found.checked.differed},
    }
    return report


def measure(size: Size) -> Results:
    """All cases; each has a seed of its own, so that one more changes no other."""
    found = Results()
    checked = found.checked
    for number, mix in enumerate(HARMLESS[: size.cases]):
        found.harmless.append(false_alarms(mix, runs=size.harmless, seed=SEED + number, checked=checked))
    found.again = repeated(found, size)
    for number, share in enumerate((100, 500, 2_500, 5_000)[: size.cases]):
        alarms, compared, differed = several_at_once(share, runs=size.rollouts, seed=SEED + 100 + number, minutes=30)
        checked.compared += compared
        checked.differed += differed
        found.several[f"{share / 100:g} % to the canary"] = int((alarms < NEVER).sum())
    for number, case in enumerate((*CROWDS, BAD_CROWD)[: size.cases]):
        when = crowd(case, runs=size.rollouts, seed=SEED + 200 + number, checked=checked)
        found.crowds[case.name] = {rule: float((alarms < NEVER).mean()) for rule, alarms in when.items()}
    for number, case_ in enumerate(REGRESSIONS[: size.cases]):
        found.regressions.append(watch(case_, runs=size.regressions, seed=SEED + 300 + number, checked=checked))
    for number, case_ in enumerate(LATENCY[: size.cases]):
        one = watch(case_, runs=size.regressions, seed=SEED + 400 + number, checked=checked, limit=SLOWER, latency=True)
        found.regressions.append(one)
    for number, canary in enumerate(ROLLOUTS[: size.cases]):
        found.rollouts.append(rollouts(canary, runs=size.rollouts, seed=SEED + 500 + number, rpm=ROLLOUT_RPM))
    found.looked_at += intervals(size.intervals, size.again)
    return found


def repeated(found: Results, size: Size) -> dict[str, Found]:
    """The worst mix of each of our plans once more: the worst of many is a matter of luck, its repetition is not."""
    again: dict[str, Found] = {}
    for who in OURS:
        worst = max(range(len(found.harmless)), key=lambda number: found.harmless[number].false[who])
        seed = SEED + 50 + worst
        done = [one for one in again.values() if one.seed == seed]
        again[who] = (
            done[0] if done else false_alarms(HARMLESS[worst], runs=size.again, seed=seed, checked=found.checked)
        )
    return again


def intervals(runs: int, again: int) -> list[LookedAt]:
    """How often what holds at all times did not."""
    seed = SEED + 600
    over, under = looks.bounds_missed(0.01, alpha=0.05, runs=runs, seed=seed)
    rows = [
        LookedAt("upper bound of a rate of 1 %", 0.05, over, runs),
        LookedAt("lower bound of a rate of 1 %", 0.05, under, runs),
    ]
    for control, treatment in ((0.005, 0.005), (0.05, 0.05), (0.5, 0.5), (0.05, 0.08)):
        missed = looks.conversions_missed(control, treatment, alpha=0.05, runs=runs, seed=seed + 1)
        rows.append(LookedAt(f"difference of conversions, {control:g} and {treatment:g}", 0.05, missed, runs))
    values: dict[str, looks.Draw] = {"normal": looks.normal, "most 0, log-normal": looks.purchases}
    for name, draw in values.items():
        missed = looks.means_missed(draw, alpha=0.05, runs=runs, seed=seed + 2)
        rows.append(LookedAt(f"difference of means, {name}", 0.05, missed, runs))
    alarms, _ = looks.disagreement_alarms(0.2, rate_max=0.2, alpha=ALPHA, runs=again, seed=seed + 3)
    rows.append(LookedAt("disagreement of 20 %, 20 % are put up with", ALPHA, alarms, again))
    for rate in (0.3, 0.5):
        alarms, when = looks.disagreement_alarms(rate, rate_max=0.2, alpha=ALPHA, runs=runs, seed=seed + 4)
        rows.append(LookedAt(f"disagreement of {100 * rate:g} %", None, alarms, runs, when))
    for share in (100, 5_000):
        alarms, _ = looks.split_alarms(share, share / 10_000, alpha=SPLIT_ALPHA, runs=runs, seed=seed + 5)
        rows.append(LookedAt(f"division at {share / 100:g} %, as declared", SPLIT_ALPHA, alarms, runs))
    for share, true in ((500, 0.06), (5_000, 0.45)):
        alarms, when = looks.split_alarms(share, true, alpha=SPLIT_ALPHA, runs=runs, seed=seed + 6)
        rows.append(LookedAt(f"division at {share / 100:g} %, {100 * true:g} % come", None, alarms, runs, when))
    return rows


def targets(found: Results, size: Size) -> list[Target]:
    """What was aimed at."""
    listed = [_false(found, who) for who in OURS]
    worst = max(found.several.values())
    listed.append(
        Target(
            "five metrics that overlap, worst share: false rollbacks",
            f"≤ {ALPHA:.0%}",
            f"{worst / size.rollouts:.1%} ({worst} of {size.rollouts})",
            worst <= ALPHA * size.rollouts,
        )
    )
    crowds_ = {name: rules["as Headrace counts"] for name, rules in found.crowds.items() if name != BAD_CROWD.name}
    most = max(crowds_.values())
    listed.append(Target("heavy and broken callers: false rollbacks", f"≤ {ALPHA:.0%}", f"{most:.1%}", most <= ALPHA))
    for one in found.regressions:
        if one.name in WANTED:
            wanted, (low, high) = WANTED[one.name], one.between[ONE]
            in_full = f"{one.median[ONE]:,.0f} ({low:,.0f}-{high:,.0f}); within the default plan {one.median[ALL]:,.0f}"
            name = f"{one.name}: median requests (its 95 % interval), one metric"
            listed.append(Target(name, f"≤ {wanted:,.0f}, within error", in_full, low <= wanted))
    asked, otherwise = found.checked.compared, found.checked.differed
    said = f"{otherwise} of {asked:,}"
    listed.append(Target("`judge` said otherwise than the simulation", "0", said, otherwise == 0))
    held = [row for row in found.looked_at if row.alpha is not None]
    over = [row for row in held if row.count > row.alpha * row.runs]  # type: ignore[operator]
    share = f"{len(held) - len(over)} of {len(held)}"
    listed.append(Target("bounds and intervals wrong at most as often as they may be", "all", share, not over))
    return listed


def _false(found: Results, who: str) -> Target:
    again = found.again[who]
    mixes = [one for one in found.harmless if one.name in {mix.name for mix in MIXES}]
    count, runs = sum(one.false[who] for one in mixes), sum(one.runs for one in mixes)
    first = next(one for one in found.harmless if one.name == again.name)
    return Target(
        f"false rollbacks, {who}: the worst mix ({again.name}), run again",
        f"≤ {ALPHA:.0%}",
        f"{_rate(again.false[who], again.runs)}, at first {first.false[who] / first.runs:.2%}; "
        f"all {len(mixes)} mixes together {_rate(count, runs)}",
        again.false[who] <= ALPHA * again.runs,
    )


def _rate(count: int, runs: int) -> str:
    low, high = wilson(count, runs)
    return f"{count / runs:.2%} ({low:.2%}-{high:.2%} of {runs:,})"
