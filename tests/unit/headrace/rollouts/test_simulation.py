"""The simulation of canary decisions: small, repeatable, and of one mind with `judge`."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rollout
from benchmarks.report import Report, write
from benchmarks.rollout_callers import RULES, Crowd, draw_events
from benchmarks.rollout_cases import ALPHA, RAMP
from benchmarks.rollout_measure import ONE, Checked, false_alarms, rollouts, watch, wilson
from benchmarks.rollout_streams import Scenario, draw, steady
from benchmarks.rollout_watch import NEVER, RIVALS, Headrace, alarm, events_of, evidence
from benchmarks.rollout_whole import Canary
from headrace.rollouts.evidence import Bad, beginnings, log_evidence_since
from headrace.rollouts.plan import Limit, RolloutPlan

FAILED = Limit("failed", rate_max=0.05)


@pytest.fixture(scope="module")
def report() -> Report:
    """The whole benchmark with a few runs of each kind."""
    return rollout.run(quick=True)


def test_the_same_seed_gives_the_same_figures(report: Report, tmp_path: Path) -> None:
    """Nothing in it depends on the machine or the day."""
    pages = [
        write(one, folder=tmp_path / name).read_bytes() for name, one in (("a", report), ("b", rollout.run(quick=True)))
    ]
    assert pages[0] == pages[1]


def test_judge_agrees_with_the_simulation(report: Report) -> None:
    """It was asked, and never said otherwise."""
    assert report.raw["judge"]["asked"] > 100
    assert report.raw["judge"]["said otherwise"] == 0


def test_evidence_added_up_by_event_is_that_of_the_counts() -> None:
    """Every fiftieth event of a ramp with an incident, against `log_evidence_since` of the counts up to there."""
    scenario = Scenario("ramp", RAMP, 0.01, 0.03, incident=(10, 12, 20.0))
    (streams,) = draw(scenario, runs=3, seed=1)
    events, shares = events_of(streams), tuple(share for share, _ in RAMP)
    logs = evidence(events, shares, planned=4, odds_allowed=1.25)
    for index in range(0, len(logs), 50):
        mine = (events.run == events.run[index]) & (np.arange(len(logs)) <= index)
        rows = []
        for stage, share in enumerate(shares[: events.stage[index] + 1]):
            counted = events.canary[mine & (events.stage == stage)]
            rows.append(Bad(share, int(counted.sum()), int((~counted).sum())))
        found = [*log_evidence_since(rows, odds_allowed=1.25), *[0.0] * (4 - len(rows))]
        assert logs[index] == pytest.approx(
            max(math.log(weight) + log for weight, log in zip(beginnings(4), found, strict=True)), abs=1e-6
        )


@pytest.mark.parametrize("share", [100, 2_500])
def test_a_good_version_is_hardly_ever_stopped(share: int) -> None:
    """Three hundred runs, looked at after every event: no more than alpha allows, by far less than others."""
    checked = Checked()
    found = false_alarms(steady("mix", share, 0.005, 0.005, minutes=20), runs=300, seed=4, checked=checked)
    assert found.false[ONE] <= ALPHA * 300
    assert found.false["Argo, limit 0"] > 100
    assert checked.differed == 0


def test_a_bad_version_is_stopped() -> None:
    """0.5 to 5 % at 10 % of the traffic: in every run, in about 900 requests."""
    found = watch(steady("bad", 1_000, 0.005, 0.05, minutes=40), runs=200, seed=5, checked=Checked())
    assert found.caught[ONE] == 1.0
    assert 600 < found.median[ONE] < 1_200


def test_counting_callers_is_what_keeps_the_promise() -> None:
    """Broken callers with many requests: counted by request, good versions are stopped again and again."""
    crowd = Crowd("a few", RAMP, callers=100, broken=0.05)
    shares = tuple(share for share, _ in RAMP)
    stopped = dict.fromkeys(RULES, 0)
    for events in draw_events(crowd, runs=200, seed=6):
        for rule in RULES:
            watcher = Headrace(RolloutPlan((FAILED,), steps=shares), FAILED)
            stopped[rule] += int((watcher.watch(events[rule], shares) < NEVER).sum())
            assert watcher.differed == 0
    assert stopped["as Headrace counts"] <= 0.01 * 200
    assert stopped["each request"] > 0.1 * 200


@pytest.mark.parametrize(
    ("canary", "ended"),
    [
        (Canary("good", {}), "finished"),
        (Canary("fails from 25 % on", {"failed": 0.05}, 2_500), "rolled_back"),
        (Canary("twice as slow", {"slower": 0.398, "late": 0.117}), "rolled_back"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_whole_rollouts_end_as_they_should(canary: Canary, ended: str) -> None:
    """From the measuring of the control to the end, by `judge`'s word alone."""
    assert rollouts(canary, runs=5, seed=7, rpm=6_000).ended == {ended: 5}


def test_others_do_what_their_documentation_says() -> None:
    """A canary that fails everything, and one that fails nothing."""
    for rate, stops in ((1.0, True), (0.0, False)):
        (streams,) = draw(steady("plain", 1_000, 0.0, rate, minutes=20), runs=5, seed=8)
        for name, rival in RIVALS.items():
            assert (np.isfinite(rival(streams)) == stops).all(), name
    (streams,) = draw(Scenario("late", ((1_000, 20),), 0.0, 1.0, onset_min=7), runs=5, seed=8)
    assert (alarm(5, 3)(streams) == 10 * streams.scenario.rpm).all()
    assert (RIVALS["Argo, limit 3"](streams) == 11 * streams.scenario.rpm).all()
    assert (RIVALS["Flagger, 10"](streams) == 17 * streams.scenario.rpm).all()


def test_wilsons_interval() -> None:
    """As it is tabulated: 1 of 10, and none of 100."""
    assert wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
