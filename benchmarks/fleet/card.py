"""The scorecard: targets and tables from runs. Pure, so that the same runs print the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from benchmarks.fleet.contenders import ABOUT, HEADRACE
from benchmarks.fleet.runs import Run
from benchmarks.fleet.scorecard import FIGURES, Score, summary
from benchmarks.report import Report, Table, Target, paragraphs

SET_OUT_TO_MATCH: dict[str, tuple[int, int]] = {
    "outage 0.2 s": (516, 37),
    "outage 5 s": (616, 515),
    "outage 25 s": (609, 610),
}
"""Wasted calls and peak containers at 100 requests per second and an outage of a minute."""
ANSWERED_MIN = 0.999
NEVER = "never"

Cell = Callable[[Sequence[Score]], str]


def _figure(name: str, digits: int = 0, *, unit: str = "") -> Cell:
    def cell(scores: Sequence[Score]) -> str:
        median, low, high = (_number(value, digits) for value in summary(scores, name))
        shown = median if median == NEVER else f"{median}{unit}"
        return shown if low == high else f"{shown} ({low}-{high})"

    return cell


def _number(value: float | None, digits: int) -> str:
    return NEVER if value is None else f"{value:,.{digits}f}"


def _percent(top: str, bottom: str = "") -> Cell:
    def cell(scores: Sequence[Score]) -> str:
        shares = sorted(100 * getattr(one, top) / (max(1, getattr(one, bottom)) if bottom else 1.0) for one in scores)
        low, median, high = (f"{shares[index]:.1f}" for index in (0, len(shares) // 2, -1))
        return f"{median} %" if low == high else f"{median} % ({low}-{high})"

    return cell


MAIN: tuple[tuple[str, Cell], ...] = (
    ("users failed", _percent("failures", "users")),
    ("degraded", _percent("degraded", "users")),
    ("wasted calls", _figure("wasted")),
    ("calls per user in the fault", _figure("amplification", 2)),
    ("recovery", _figure("recovery_s", 1, unit=" s")),
    ("not from the model after it", _figure("not_primary_after")),
    ("peak containers", _figure("peak_containers")),
    ("p99 of answers", _figure("p99_s", 2, unit=" s")),
)
LIMITS: tuple[tuple[str, Cell], ...] = (
    ("over rate", _figure("over_rate")),
    ("over concurrency", _figure("over_concurrency")),
    ("overspend, GPU-ms", _figure("overspend")),
    ("refused for own limits", _percent("limited", "users")),
    ("answered, lowest tier", _percent("low_answered")),
    ("answered, highest tier", _percent("high_answered")),
    ("by the model, lowest tier", _percent("low_primary")),
    ("by the model, highest tier", _percent("high_primary")),
)
STORE: tuple[tuple[str, Cell], ...] = (
    ("waited for", _figure("store_foreground", 2)),
    ("in the background", _figure("store_background", 2)),
)

NOTES = paragraphs("""\
Every figure comes from virtual time: the same seed gives the same bytes on any machine. Cells are medians over seeds,
with the lowest and highest in brackets where they differ.

*Users failed*: no answer before their patience ended, turned away for load, or nonsense passed on as an answer.
Degraded answers, from the stand-in and marked so, are not among them; nor are refusals for a tenant's own limits.

*Wasted calls*: calls to the endpoint that brought no answer which could be used, whatever the reason.

*Calls per user in the fault*: how retries of every kind multiply what the endpoint is asked while it is unwell.

*Recovery*: from the end of the fault until a window of two seconds begins in which 99 of 100 users have the model's own
answer. *Not from the model after it* counts the users who came after the fault and did not have it.

*Over rate* and *over concurrency* are of the one tenant that exceeded its limit by most, in the worst window and at the
worst moment; *overspend* is summed over tenants and windows. The world keeps these accounts itself, from when
requests and calls really ran. Contenders without limits show what limits are for.

The breakers get the same stand-in as Headrace and leave as much time for it.
""")


def card(report: Report, runs: Sequence[Run]) -> None:
    """Add targets, tables, notes and raw figures of `runs`, which are in order of scenario, contender, seed."""
    scenarios = list(dict.fromkeys(run.scenario for run in runs))
    contenders = list(dict.fromkeys(run.contender for run in runs))
    report.tables.append(Table("Contenders", ("who", "what"), tuple((name, ABOUT[name]) for name in contenders)))
    for scenario in scenarios:
        own = [run for run in runs if run.scenario == scenario]
        limited = any(crowd.plan.budgets for crowd in scenario.crowds) or len(scenario.crowds) > 1
        report.tables.append(table(f"{scenario.name}: {_lower(scenario.about)}", own, contenders, MAIN))
        if limited:
            report.tables.append(table(f"{scenario.name}: limits and tiers", own, contenders, LIMITS))
    ours = [run for run in runs if run.contender == HEADRACE]
    report.targets += targets(ours)
    report.notes += NOTES
    report.raw["runs"] = [
        {"scenario": run.scenario.name, "contender": run.contender, "seed": run.seed, **asdict(run.score)}
        for run in runs
    ]
    report.raw["figures"] = list(FIGURES)


def store_use(runs: Sequence[Run]) -> Table:
    """What Headrace asks of the state store in each scenario."""
    names = list(dict.fromkeys(run.scenario.name for run in runs))
    rows = tuple(
        (name, *(cell(_scores(runs, lambda run, one=name: run.scenario.name == one)) for _, cell in STORE))  # type: ignore[misc]
        for name in names
    )
    columns = ("scenario", *(name for name, _ in STORE))
    return Table("Headrace, 100 requests per second, all well: accesses to the state store per request", columns, rows)


def table(title: str, runs: Sequence[Run], contenders: Sequence[str], columns: Sequence[tuple[str, Cell]]) -> Table:
    """A row for each contender."""
    rows = tuple(
        (name, *(cell(_scores(runs, lambda run, one=name: run.contender == one)) for _, cell in columns))  # type: ignore[misc]
        for name in contenders
    )
    return Table(title, ("who", *(name for name, _ in columns)), rows)


def targets(ours: Sequence[Run]) -> Iterable[Target]:
    """What the project promised, against Headrace's runs."""
    for name, (wasted, containers) in SET_OUT_TO_MATCH.items():
        scores = [run.score for run in ours if run.scenario.name == name]
        if scores:
            for what, most in (("wasted", wasted), ("peak_containers", containers)):
                median = summary(scores, what)[0] or 0
                yield Target(
                    f"{name}: {what.replace('_', ' ')}", f"≤ {most:,}", _figure(what)(scores), met=median <= most
                )
    for what, promise in (
        ("over_rate", "requests above a tenant's rate"),
        ("over_concurrency", "requests above a tenant's concurrency"),
        ("overspend", "units above a budget"),
        ("wrong", "nonsense passed on as an answer"),
    ):
        worst = max(ours, key=lambda run: getattr(run.score, what))
        value = getattr(worst.score, what)
        yield Target(
            f"{promise}, any scenario and seed",
            "0",
            f"{value:,} ({worst.scenario.name})" if value else "0",
            met=value == 0,
        )
    worst = min(ours, key=_answered)
    yield Target(
        "users within their limits who get an answer in time, any scenario and seed; of two tiers, the higher",
        f"≥ {ANSWERED_MIN:.1%}",
        f"{_answered(worst):.2%} at worst ({worst.scenario.name})",
        met=_answered(worst) >= ANSWERED_MIN,
    )


def _answered(run: Run) -> float:
    """With two tiers there is less room than users, stand-in included: what is promised then is the higher one."""
    if len(run.scenario.crowds) > 1:
        return run.score.high_answered
    return 1 - run.score.failures / max(1, run.score.users - run.score.limited)


def _scores(runs: Iterable[Run], wanted: Callable[[Run], bool]) -> list[Score]:
    return [run.score for run in runs if wanted(run)]


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
