"""`python -m benchmarks fleet [--quick]`: run the scenarios, print the scorecard, write plots to `docs/`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fleet.card import card, store_use
from benchmarks.fleet.contenders import CONTENDERS, HEADRACE, NO_POLICY, PER_CONTAINER
from benchmarks.fleet.engine import EPOCH_S
from benchmarks.fleet.page import update
from benchmarks.fleet.plots import file_name, plot
from benchmarks.fleet.runs import Run, run_all
from benchmarks.fleet.scenarios import HEALTHY, SCENARIOS
from benchmarks.report import Report
from benchmarks.rounds import say

SEEDS = (1, 2, 3, 4, 5)
QUICK = ("outage 0.2 s", "hang")
PLOTTED = (
    "outage 5 s",
    "brown-out",
    "hang",
    "thundering herd",
    "tenfold traffic",
    "two tiers",
    "store outage, endpoint down",
)
COLUMNS = (NO_POLICY, PER_CONTAINER, HEADRACE)
DOCS = Path(__file__).parents[2] / "docs"


def run(*, quick: bool) -> Report:
    """Run everything.

    Args:
        quick: two scenarios with one seed, and no plots.
    """
    scenarios = [one for one in SCENARIOS if not quick or one.name in QUICK]
    seeds = SEEDS[:1] if quick else SEEDS
    names = tuple(CONTENDERS)
    say(f"{len(scenarios)} scenarios, {len(names)} contenders, {len(seeds)} seeds")
    runs = run_all(scenarios, names, seeds)
    report = Report(
        "fleet",
        "The fleet on virtual time",
        {
            "seeds": ", ".join(map(str, seeds)),
            "virtual time": f"from {EPOCH_S:,.0f} s after 1970; nothing here depends on the machine or the day",
            "endpoint": "16 servers, 80 ms median, room for 32 waiting calls: about 190 calls per second",
            "stand-in": "60 at once, 50 ms median, unless the scenario says less",
            "store": "5 ms for each access that a request waits for; 200 ms until a silent one is given up",
            "containers": "one request each, 0.6 s cold start, 3 ms of own work, the most recently used one first",
        },
    )
    card(report, runs)
    if not quick:
        report.tables.append(store_use(run_all(HEALTHY, (HEADRACE,), seeds)))
        draw(runs)
        update(DOCS / "fleet.md", runs)
    return report


def draw(runs: list[Run]) -> None:
    """Write the plots: the first seed of some scenarios, for three contenders."""
    for scenario in SCENARIOS:
        if scenario.name in PLOTTED:
            shown = [
                run
                for name in COLUMNS
                for run in runs
                if run.scenario == scenario and run.contender == name and run.seed == SEEDS[0]
            ]
            plot(scenario, shown, DOCS / file_name(scenario))
