"""Contenders in small simulated fleets: facts that hold whatever the figures, and runs that repeat byte for byte."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleet.card import card
from benchmarks.fleet.clients import Crowd
from benchmarks.fleet.contenders import (
    CONTENDERS,
    HEADRACE,
    NO_POLICY,
    PER_CONTAINER,
    POWERTOOLS,
    THREE_TRIES,
)
from benchmarks.fleet.endpoint import Capacity
from benchmarks.fleet.faults import Fails, Fault, Garbage, Hangs, Spell
from benchmarks.fleet.fleet import Function
from benchmarks.fleet.page import BEGIN, END, update
from benchmarks.fleet.plots import file_name, plot
from benchmarks.fleet.runs import Run, run_all, run_one
from benchmarks.fleet.scenarios import FREE, PREMIUM, SCENARIOS, STANDARD, Scenario
from benchmarks.fleet.scorecard import Score
from benchmarks.report import Report, write
from headrace.plans import Budget, Plan, Rate

SMALL = Capacity(servers=4, queue=8, median_s=0.08)
"""About 45 calls per second."""
STAND_IN = Capacity(servers=8, queue=8, median_s=0.05)
TIGHT = Plan("tight", 1, concurrency=6, rate=Rate(8.0, 10), budgets=(Budget("gpu_ms", 6_000, 60),))


def tiny(what: Fault | None = None, **changes: object) -> Scenario:
    """Twenty users a second for half a minute; what goes wrong does so from 5 s to 17 s."""
    spells = () if what is None else (Spell(5.0, 17.0, what),)
    plain = Scenario(
        "tiny", "Something small", (Crowd(STANDARD, 2, 20.0),), (5.0, 17.0), spells, length_s=30.0,
        endpoint=SMALL, stand_in=STAND_IN, sdk_retries=0,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def scores(scenario: Scenario, *names: str, seed: int = 1) -> list[Score]:
    """What each contender is judged by."""
    return [run_one(scenario, name, seed).score for name in names]


def written(runs: list[Run], folder: Path) -> dict[str, bytes]:
    """The scorecard's and a plot's files."""
    report = Report("fleet", "Fleet", {"seeds": "1"})
    card(report, runs)
    write(report, folder=folder)
    plot(runs[0].scenario, runs, folder / "plot.svg")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Scorecard and plot are functions of scenario, contender and seed, and of nothing else."""
    scenario = tiny(Fails(0.2), length_s=20.0, function=Function(crash_share=0.01))
    files = []
    for turn in ("first", "second"):
        (tmp_path / turn).mkdir()
        runs = run_all([scenario], [NO_POLICY, HEADRACE], [1], processes=1)
        files.append(written(runs, tmp_path / turn))
    assert files[0] == files[1]
    assert set(files[0]) == {"fleet.json", "fleet.md", "plot.svg"}


def test_another_seed_gives_another_run() -> None:
    """Chance is used at all: what repeats does so because of the seed."""
    assert run_one(tiny(), NO_POLICY, 1).timeline != run_one(tiny(), NO_POLICY, 2).timeline


@pytest.mark.parametrize("name", list(CONTENDERS))
def test_a_healthy_endpoint_answers_everybody(name: str) -> None:
    """No contender fails, wastes or degrades anything when nothing is wrong."""
    (found,) = scores(tiny(length_s=15.0), name)
    assert found.primary == found.users > 200
    assert found.wasted == found.failures == found.not_primary_after == 0


@pytest.mark.parametrize("what", [Fails(0.2), Fails(5.0), Hangs(), Garbage()], ids=["fast", "slow", "hang", "garbage"])
def test_headrace_asks_a_dead_endpoint_less_and_answers_everybody(what: Fault) -> None:
    """A dead endpoint is asked a fraction of what no policy asks it, and users get marked answers from the stand-in."""
    plain, ours = scores(tiny(what, length_s=45.0), NO_POLICY, HEADRACE)
    assert ours.wasted < plain.wasted / 2
    assert ours.failures == ours.wrong == 0
    assert ours.degraded > 0
    assert plain.failures > 100
    assert ours.recovery_s is not None


def test_headrace_sees_a_hang_before_breakers_that_count_ended_calls() -> None:
    """What never ends is not counted by the others until their calls time out."""
    shared, own, ours = scores(tiny(Hangs()), POWERTOOLS, PER_CONTAINER, HEADRACE)
    assert ours.wasted < min(shared.wasted, own.wasted)
    assert ours.peak_containers < min(shared.peak_containers, own.peak_containers)


def test_retries_do_not_multiply() -> None:
    """Three tries at once triple what an unwell endpoint is asked; the retry budget does not."""
    eager, ours = scores(tiny(Fails(0.05, share=0.4)), THREE_TRIES, HEADRACE)
    assert eager.amplification > 1.3
    assert ours.amplification < 1.2
    assert ours.failures == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_limits_and_budgets_hold_when_containers_die(seed: int) -> None:
    """Nothing is admitted above rate or concurrency, and nothing spent above a budget, however containers end."""
    crowds = (Crowd(TIGHT, 2, 10.0, swings=((5.0, 15.0, 8.0),)),)
    scenario = tiny(crowds=crowds, function=Function(crash_share=0.02), sdk_retries=2, length_s=25.0)
    plain, ours = scores(scenario, NO_POLICY, HEADRACE, seed=seed)
    assert (ours.over_rate, ours.over_concurrency, ours.overspend) == (0, 0, 0)
    assert ours.limited > 0
    assert min(plain.over_rate, plain.over_concurrency, plain.overspend) > 0


def test_a_store_that_is_away_fails_nobody() -> None:
    """With the state store silent and the endpoint well, every user without a budget is answered by the model."""
    (found,) = scores(tiny(store_outages=((5.0, 17.0),)), HEADRACE)
    assert found.failures == 0
    assert found.primary == found.users


def test_the_higher_tier_keeps_the_model_under_overload() -> None:
    """With four times what the endpoint can do, the premium tier is served by the model far more than the free one."""
    crowds = (Crowd(FREE, 4, 15.0, swings=((5.0, 25.0, 10.0),)), Crowd(PREMIUM, 2, 10.0))
    (found,) = scores(tiny(crowds=crowds, fault_s=(5.0, 25.0), length_s=35.0), HEADRACE)
    assert found.high_primary > 2 * found.low_primary


def test_figures_go_between_the_marks_of_the_page(tmp_path: Path) -> None:
    """What stands around them stays; a page without marks is refused."""
    page = tmp_path / "fleet.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    update(page, [run_one(tiny(length_s=15.0), NO_POLICY, 1)])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| tiny | 0.0 % |" in text
    assert "old" not in text
    page.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        update(page, [])


def test_every_scenario_is_named_once_and_has_its_own_plot() -> None:
    """Tables and files are found by a scenario's name."""
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert len({file_name(scenario) for scenario in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        assert scenario.fault_s[1] + 20 <= scenario.length_s, scenario.name


def test_the_kept_scorecard_covers_every_scenario_and_contender() -> None:
    """What is in `results/` was made with the scenarios and contenders of this tree."""
    path = Path(__file__).parents[3] / "benchmarks" / "results" / "fleet.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["raw"]["runs"]
    assert {run["scenario"] for run in runs} == {scenario.name for scenario in SCENARIOS}
    assert {run["contender"] for run in runs} == set(CONTENDERS)
    assert len({run["seed"] for run in runs}) >= 5
