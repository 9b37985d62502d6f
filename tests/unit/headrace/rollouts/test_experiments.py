"""A/B tests: what their counts say, when they end, and that no order of events leaves one half ended."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog import Catalog, Endpoint
from headrace.errors import InvalidRequest, StoreUnavailable, UnknownTarget
from headrace.fakes.experiments import FakeExperimentExecutions, FakeExperiments
from headrace.fakes.routing import FakeRoutings
from headrace.fakes.tallies import FakeTallies
from headrace.rollouts.assessing import assess
from headrace.rollouts.controller import SWEEP_AFTER_S
from headrace.rollouts.counted import Counted, Values
from headrace.rollouts.experiment_turns import execution_name, start_experiment, turn_experiment
from headrace.rollouts.experimenting import ExperimentController, ExperimentOperations
from headrace.rollouts.experiments import ExperimentPlan, ExperimentRun, Guardrail, dump_run, load_run
from headrace.rollouts.plan import RolloutPlan
from headrace.rollouts.states import Rollout, StageRecord
from headrace.rollouts.turns import RENEW_AFTER_TURNS
from headrace.routing.changes import of_declaration, rolled_back, without_experiment
from headrace.routing.document import Canary, Routing

NOW = 1_800_000_000.0
PLAN = ExperimentPlan(outcome="click", min_s=100.0, max_s=1_000.0, look_s=10.0)


def run_of(plan: ExperimentPlan = PLAN, **changes: Any) -> ExperimentRun:
    """An experiment between the detector's two versions."""
    made = ExperimentRun(
        experiment_id="ex_1",
        name="boxes",
        endpoint="detection",
        arms={"control": "v1", "new": "v2"},
        weights={"control": 5_000, "new": 5_000},
        plan=plan,
        started_at=NOW,
        updated_at=NOW,
        who="ada",
        why="to see",
        execution=execution_name("ex_1", 0),
    )
    return replace(made, **changes)


def arm(callers: int, outcomes: int, *, value: float = 1.0, **bad: int) -> Counted:
    """What one arm did."""
    return Counted(
        requests=callers,
        callers=callers,
        bad_callers=bad,  # type: ignore[arg-type]
        outcomes={"click": Values(outcomes, outcomes * value, outcomes * value * value)},
    )


def counts_of(control: Counted, new: Counted) -> dict[tuple[int, str], Counted]:
    """Of both arms."""
    return {(0, "control"): control, (0, "new"): new}


def carrying(run: ExperimentRun, endpoint: Endpoint) -> Routing:
    """The document that an experiment is in force by."""
    change = start_experiment(run, endpoint, of_declaration(endpoint), standing=[])
    assert change.routing is not None
    return change.routing


# -- what counts say --------------------------------------------------------------------------------------------------


def test_conversions_are_compared_by_callers() -> None:
    """The rate of callers with an outcome, and the difference with an interval around it."""
    control, new = assess(run_of(), counts_of(arm(1_000, 100), arm(1_000, 200))).arms
    assert (control.arm, control.mean, control.difference) == ("control", 0.1, None)
    assert (new.mean, new.callers, new.outcomes) == (0.2, 1_000, 200)
    assert new.difference is not None
    assert 0.0 < new.difference.low < new.difference.estimate < new.difference.high
    assert new.difference.estimate == pytest.approx(0.1)


def test_means_count_callers_without_an_outcome_as_nothing() -> None:
    """The value per caller that was exposed, not per event."""
    run = run_of(replace(PLAN, kind="mean"))
    control, new = assess(run, counts_of(arm(1_000, 100, value=5.0), arm(1_000, 100, value=9.0))).arms
    assert [control.mean, new.mean] == pytest.approx([0.5, 0.9])
    assert new.difference is not None
    assert new.difference.estimate == pytest.approx(0.4)


def test_an_outcome_without_its_exposure_is_a_callers_all_the_same() -> None:
    """An exposure may be lost; a rate never exceeds the whole."""
    _, new = assess(run_of(), counts_of(arm(10, 1), replace(arm(3, 5)))).arms
    assert (new.callers, new.mean) == (5, 1.0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 300), st.integers(0, 300))
def test_any_counts_can_be_assessed(callers: int, others: int, bad: int, worse: int) -> None:
    """Nothing counted, or everything bad: finite evidence and an order of the interval's ends."""
    found = assess(run_of(), counts_of(arm(callers, callers // 3, failed=bad), arm(others, others // 2, failed=worse)))
    for result in found.arms:
        assert math.isfinite(result.guard)
        if result.difference is not None:
            assert result.difference.low <= result.difference.estimate <= result.difference.high


def test_more_arms_ask_for_more_evidence() -> None:
    """Alpha is shared between the comparisons."""
    two = assess(run_of(), counts_of(arm(500, 50), arm(500, 60)))
    three = assess(
        run_of(
            arms={"control": "v1", "new": "v2", "other": "v3"}, weights={"control": 4_000, "new": 3_000, "other": 3_000}
        ),
        {**counts_of(arm(500, 50), arm(500, 60)), (0, "other"): arm(500, 60)},
    )
    narrow, wide = two.arms[1].difference, three.arms[1].difference
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low
    assert wide.high > narrow.high
    assert three.guard_needed == pytest.approx(two.guard_needed + math.log10(2))


# -- turns ------------------------------------------------------------------------------------------------------------


def test_a_turn_waits_while_nothing_is_known(catalog: Catalog) -> None:
    """The record says that somebody looked."""
    run = run_of()
    turned = turn_experiment(
        run, carrying(run, catalog.endpoint("detection")), counts_of(arm(9, 1), arm(9, 1)), now=NOW
    )
    assert (turned.again, turned.wait_s) == (True, 10)
    assert turned.change is not None
    assert (turned.change.run.turns, turned.change.run.version, turned.change.routing) == (1, 2, None)


def test_a_guardrail_stops_it_at_once(catalog: Catalog) -> None:
    """Long before its least time, and the document that follows does not carry it."""
    run = run_of()
    counts = counts_of(arm(500, 5, failed=1), arm(500, 500, failed=30))
    turned = turn_experiment(run, carrying(run, catalog.endpoint("detection")), counts, now=NOW + 1)
    assert turned.change is not None
    assert (turned.change.run.state, turned.again) == ("stopped_by_guardrail", False)
    assert "failed" in turned.change.run.reason
    assert turned.change.routing is not None
    assert turned.change.routing.experiments == ()


@pytest.mark.parametrize(
    ("after_s", "conclude", "state"),
    [(50, True, "running"), (150, True, "concluded"), (150, False, "running"), (1_000, False, "ended")],
)
def test_a_known_difference_concludes_after_the_least_time(
    catalog: Catalog,
    after_s: float,
    conclude: bool,  # noqa: FBT001
    state: str,
) -> None:
    """Unless it was asked to go on to its end."""
    run = run_of(replace(PLAN, conclude=conclude))
    counts = counts_of(arm(1_000, 100), arm(1_000, 300))
    turned = turn_experiment(run, carrying(run, catalog.endpoint("detection")), counts, now=NOW + after_s)
    assert turned.change is not None
    assert turned.change.run.state == state


def test_callers_that_are_not_divided_as_declared_conclude_nothing(catalog: Catalog) -> None:
    """Whatever drew them is broken, and so is the comparison."""
    run = run_of()
    counts = counts_of(arm(1_000, 100), arm(3_000, 900))
    assert assess(run, counts).undivided
    turned = turn_experiment(run, carrying(run, catalog.endpoint("detection")), counts, now=NOW + 500)
    assert turned.change is not None
    assert turned.change.run.state == "running"


def test_an_experiment_that_the_document_lost_is_over(catalog: Catalog) -> None:
    """A rollback takes a version from everywhere, experiments with it."""
    run, endpoint = run_of(), catalog.endpoint("detection")
    routing = without_experiment(carrying(run, endpoint), "boxes", who="ada", why="away", at=NOW)
    turned = turn_experiment(run, routing, {}, now=NOW)
    assert turned.change is not None
    assert (turned.change.run.state, turned.change.routing) == ("ended", None)


def test_a_rollback_ends_experiments_with_the_withdrawn_version(catalog: Catalog) -> None:
    """Nobody is left on a version that was rolled back, whoever put them there."""
    run, endpoint = run_of(), catalog.endpoint("detection")
    rollout = Rollout(
        rollout_id="ro_1",
        endpoint="detection",
        canary="v2",
        digest="sha256:0",
        baseline={"v1": 10_000},
        plan=RolloutPlan(()),
        state="running",
        stages=(StageRecord(1, 1_000, NOW),),
        started_at=NOW,
        updated_at=NOW,
        who="ada",
        why="new",
    )
    routing = rolled_back(carrying(run, endpoint), rollout, who="controller", why="bad", at=NOW)
    assert routing.experiments == ()
    turned = turn_experiment(run, routing, {}, now=NOW)
    assert turned.change is not None
    assert turned.change.run.state == "ended"


def test_it_runs_beside_a_rollout(catalog: Catalog) -> None:
    """Beginning and ending it leave the canary alone."""
    run, endpoint = run_of(), catalog.endpoint("detection")
    routing = replace(
        of_declaration(endpoint), weights={"v1": 9_000, "v2": 1_000}, canary=Canary("ro_1", "v2", 1, 1_000)
    )
    begun = start_experiment(run, endpoint, routing, standing=[]).routing
    assert begun is not None
    assert begun.canary is not None
    turned = turn_experiment(run, begun, {}, now=NOW + 2_000)
    assert turned.change is not None
    assert turned.change.routing is not None
    assert (turned.change.routing.canary, turned.change.routing.weights) == (begun.canary, begun.weights)


# -- starting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"why": " "}, "why"),
        ({"arms": {"control": "v1", "new": "v9"}}, "experiments.boxes.arms.new"),
        ({"arms": {"control": "v1", "new": "v1"}}, "arms"),
        ({"arms": {"old": "v1", "new": "v2"}, "weights": {"old": 5_000, "new": 5_000}}, "experiments.boxes.arms"),
        ({"weights": {"control": 10_000, "new": 0}}, "weights"),
        ({"weights": {"control": 4_000, "new": 5_000}}, "experiments.boxes.weights"),
        ({"name": "Boxes!"}, "experiments"),
        ({"share": 0}, "experiments.boxes.share"),
        ({"plan": replace(PLAN, outcome="")}, "outcome"),
        ({"plan": replace(PLAN, outcome="a click")}, "outcome"),
        ({"arms": {"control": "v1", "a#b": "v2"}, "weights": {"control": 5_000, "a#b": 5_000}}, "arms"),
        ({"plan": replace(PLAN, alpha=1.0)}, "alpha"),
        ({"plan": replace(PLAN, min_s=2_000.0)}, "max"),
        ({"plan": replace(PLAN, guardrails=(Guardrail("failed", 0.5),))}, "guardrails"),
    ],
)
def test_what_cannot_be_run_is_refused(catalog: Catalog, changes: dict[str, Any], field: str) -> None:
    """With the field that is to be changed."""
    endpoint = catalog.endpoint("detection")
    with pytest.raises(InvalidRequest) as refused:
        start_experiment(run_of(**changes), endpoint, of_declaration(endpoint), standing=[])
    assert refused.value.field == field


def test_a_withdrawn_version_takes_no_part(catalog: Catalog) -> None:
    """It was rolled back, and gets traffic by no other door."""
    endpoint = catalog.endpoint("detection")
    routing = replace(of_declaration(endpoint), weights={"v1": 10_000, "v2": 0}, withdrawn={"v2": "ro_1"}, slots={})
    with pytest.raises(InvalidRequest):
        start_experiment(run_of(), endpoint, routing, standing=[])


def test_records_survive_being_written() -> None:
    """As JSON, equal texts for equal records."""
    run = run_of(tenants=("acme",), groups=("beta",))
    assert load_run(dump_run(run)) == run
    assert dump_run(load_run(dump_run(run))) == dump_run(run)


# -- the stores -------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Stores, a controller and an operator."""

    catalog: Catalog
    now: float = NOW
    routings: FakeRoutings = field(default_factory=FakeRoutings)
    tallies: FakeTallies = field(default_factory=FakeTallies)
    executions: FakeExperimentExecutions = field(default_factory=FakeExperimentExecutions)

    def __post_init__(self) -> None:
        """Wire."""
        self.experiments = FakeExperiments(self.routings)
        common: dict[str, Any] = {
            "experiments": self.experiments,
            "routings": self.routings,
            "executions": self.executions,
            "wall": lambda: self.now,
        }
        self.controller = ExperimentController(catalog=self.catalog, tallies=self.tallies, **common)
        self.operator = ExperimentOperations(self.catalog.endpoint("detection"), **common)

    @property
    def standing(self) -> ExperimentRun:
        """The record."""
        found = self.experiments.current("detection", "boxes")
        assert found is not None
        return found

    def carried(self) -> bool:
        """Whether callers are drawn for it."""
        routing = self.routings.read("detection")
        return routing is not None and bool(routing.experiments)

    def count(self, control: Counted, new: Counted) -> None:
        """What callers did."""
        for name, counted in (("control", control), ("new", new)):
            self.tallies.write("ex_1", stage=0, arm=name, holder="h", counted=counted)


@pytest.fixture
def world(catalog: Catalog) -> World:
    """Nothing runs yet."""
    return World(catalog)


def test_one_life(world: World) -> None:
    """Started, looked at, stopped by hand, and its name free again."""
    run, begun = world.operator.start(run_of())
    assert begun
    assert world.executions.started == [("ex_1-r0", "detection", "ex_1")]
    assert world.carried()
    with pytest.raises(InvalidRequest, match="boxes"):
        world.operator.start(run_of(experiment_id="ex_2"))
    assert world.controller.step("detection", "ex_1", execution=run.execution).again
    assert world.operator.stop("boxes", who="ada", why="enough").state == "ended"
    assert not world.carried()
    over = world.controller.step("detection", "ex_1", execution=run.execution)
    assert (over.again, over.event is None) == (False, False)
    with pytest.raises(InvalidRequest):
        world.operator.stop("boxes", who="ada", why="again")
    assert world.operator.start(run_of(experiment_id="ex_2", started_at=NOW + 5))[0].experiment_id == "ex_2"
    assert [each.experiment_id for each in world.experiments.newest("detection", limit=9)] == ["ex_2", "ex_1"]
    assert world.controller.step("detection", "ex_1").state == "ended"
    with pytest.raises(UnknownTarget):
        world.controller.step("detection", "ex_3")


def test_a_lost_execution_is_found(world: World) -> None:
    """The sweep gives it another; the one before ends by itself, and long ones are renewed."""
    world.executions.down = True
    assert world.operator.start(run_of())[1] is False
    world.executions.down = False
    assert world.controller.sweep() == []
    world.now += SWEEP_AFTER_S
    assert world.controller.sweep() == ["ex_1"]
    assert world.executions.started == [("ex_1-r1", "detection", "ex_1")]
    assert not world.controller.step("detection", "ex_1", execution="ex_1-r0").again
    assert world.controller.step("detection", "ex_1", execution="ex_1-r1").again
    long = replace(world.standing, turns=2 * RENEW_AFTER_TURNS, plan=replace(PLAN, max_s=1e9))
    world.experiments.records["detection", "boxes"] = [long]
    assert not world.controller.step("detection", "ex_1", execution="ex_1-r1").again
    assert world.executions.started[-1] == ("ex_1-r2", "detection", "ex_1")


@pytest.mark.parametrize("seed", range(30))
def test_a_controller_that_dies_anywhere_ends_as_one_that_does_not(catalog: Catalog, seed: int) -> None:
    """Record and document are one: an experiment that is over is in no document, and one that runs is."""
    random = Random(seed)  # noqa: S311 - a simulation
    world = World(catalog)
    world.operator.start(run_of())

    def trouble(_call: str, _moment: str) -> None:
        if random.random() < 0.2:
            raise StoreUnavailable("The fake had a bad moment.")

    world.experiments.trouble = trouble
    harm = random.random() < 0.5
    for look in range(60):
        world.now += 50
        world.count(arm(0, 0), arm(0, 0, failed=look if harm else 0))
        with suppress(StoreUnavailable):
            world.controller.step("detection", "ex_1", execution=world_execution(world))
        world.experiments.trouble = lambda _call, _moment: None
        assert world.standing.active == world.carried()
        world.experiments.trouble = trouble
    world.experiments.trouble = lambda _call, _moment: None
    assert world.standing.state == ("stopped_by_guardrail" if harm else "ended")
    assert not world.carried()


def world_execution(world: World) -> str:
    """The execution in charge, read past the trouble."""
    return world.experiments.records["detection", "boxes"][-1].execution


def test_the_operator_and_the_controller_do_not_undo_each_other(world: World) -> None:
    """Whoever comes second sees what the first wrote, and tries again."""
    world.operator.start(run_of())
    raced: list[int] = []

    def race(call: str, moment: str) -> None:
        if (call, moment) == ("commit", "before") and not raced:
            raced.append(1)
            world.controller.step("detection", "ex_1", execution="ex_1-r0")

    world.experiments.trouble = race
    assert world.operator.stop("boxes", who="ada", why="enough").state == "ended"
    assert not world.carried()


# -- what is promised -------------------------------------------------------------------------------------------------


def test_guardrails_stop_harmless_experiments_no_more_often_than_promised() -> None:
    """Four hundred experiments whose arms fail alike, looked at after every bad caller; alpha is one in twenty."""
    random = Random(11)  # noqa: S311 - a simulation
    run = run_of(replace(PLAN, guard_alpha=0.05), weights={"control": 7_000, "new": 3_000})
    stopped = 0
    for _ in range(400):
        bad = {"control": 0, "new": 0}
        for _ in range(80):
            bad["new" if random.random() < 0.3 else "control"] += 1
            found = assess(run, counts_of(*(Counted(bad_callers={"failed": bad[name]}) for name in ("control", "new"))))
            if found.breached is not None:
                stopped += 1
                break
    assert stopped <= 20


@pytest.mark.parametrize(("rate", "lift"), [(0.02, 0.0), (0.5, 0.05)])
def test_intervals_hold_the_truth_at_every_look(rate: float, lift: float) -> None:
    """Sixty experiments looked at again and again: alpha is one in ten, and what is promised holds for every look."""
    random = Random(f"{rate} {lift}")  # noqa: S311 - a simulation
    run, missed = run_of(replace(PLAN, alpha=0.1)), 0
    for _ in range(60):
        posted, callers = {"control": 0, "new": 0}, {"control": 0, "new": 0}
        for look in range(6):
            for name, chance in (("control", rate), ("new", rate + lift)):
                more = 20 << look
                callers[name] += more
                posted[name] += sum(random.random() < chance for _ in range(more))
            found = assess(run, counts_of(*(arm(callers[name], posted[name]) for name in ("control", "new"))))
            interval = found.arms[1].difference
            assert interval is not None
            if not interval.low <= lift <= interval.high:
                missed += 1
                break
    assert missed <= 6
