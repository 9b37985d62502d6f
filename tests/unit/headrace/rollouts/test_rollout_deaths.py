"""Controllers that die anywhere, stores that answer in doubt, and people who act at the same moment."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import HeadraceError, InvalidRequest, StoreUnavailable
from headrace.fakes.rollouts import Moment
from headrace.rollouts.controller import SWEEP_AFTER_S
from headrace.rollouts.turns import RENEW_AFTER_TURNS
from headrace.routing import changes
from tests.unit.headrace.rollouts.rollout_world import PLAN, Killed, World

KILLS = 50


def outcome(world: World) -> tuple[object, ...]:
    """Where a rollout came to: its state and stages, and who is served by what."""
    rollout, routing = world.current, world.routing
    return (
        rollout.state,
        tuple((stage.number, stage.share) for stage in rollout.stages),
        dict(routing.weights),
        dict(routing.withdrawn),
        routing.canary,
        routing.shadow,
    )


class Deaths:
    """Fifty deaths at random calls of stores, before anything is done or after all of it; half are lost answers."""

    def __init__(self, seed: int, *, often: float) -> None:
        self.left = KILLS
        self._often = often
        self._chance = random.Random(seed)  # noqa: S311 - reproducible

    def __call__(self, _call: str, _moment: Moment) -> None:
        """Perhaps the end of the caller."""
        if self.left and self._chance.random() < self._often:
            self.left -= 1
            raise Killed if self._chance.random() < 0.5 else StoreUnavailable("No answer came.")


@pytest.mark.parametrize(("bad", "often"), [(0.0, 0.3), (0.08, 0.55)])
@pytest.mark.parametrize("seed", range(12))
def test_fifty_deaths_change_nothing(seed: int, bad: float, often: float) -> None:
    """A rollout whose controller was killed fifty times ends as one whose was not, good or bad."""
    calm, rough = World(bad=bad), World(bad=bad)
    calm.start()
    calm.run()
    rough.start()
    rough.trouble = deaths = Deaths(seed, often=often)
    rough.run()
    assert not deaths.left
    if bad:
        # At which step the evidence is seen depends on when somebody looks; what it leads to does not.
        assert (rough.current.state, dict(rough.routing.weights)) == (calm.current.state, dict(calm.routing.weights))
        assert rough.routing.withdrawn == calm.routing.withdrawn
    else:
        assert outcome(rough) == outcome(calm)
    numbers = [decision.number for decision in rough.rollouts.histories["ro_1"]]
    assert numbers == sorted(set(numbers))
    ends = [each.what for each in rough.rollouts.histories["ro_1"] if each.what in {"finish", "roll_back"}]
    assert len(ends) == 1


@pytest.mark.parametrize("call", ["current", "tallies.read", "commit"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("failure", [Killed, StoreUnavailable])
def test_a_death_at_each_call_of_the_rollback(call: str, moment: Moment, failure: type[BaseException]) -> None:
    """Wherever the controller dies in the turn that rolls back, the next turn leaves one rollback and good weights."""
    world = World(bad=1.0)
    world.start(plan=replace(PLAN, measure_requests=1))
    world.pass_time(1.0)
    world.controller().step("detect", "ro_1")
    world.pass_time(60.0)
    told: list[str] = []

    def trouble(called: str, when: Moment) -> None:
        if (called, when) == (call, moment) and not told:
            told.append(called)
            raise failure("gone")

    world.trouble = trouble
    with suppress(Killed, StoreUnavailable):
        world.controller().step("detect", "ro_1")
    world.trouble = lambda _call, _moment: None
    for _ in range(3):
        stepped = world.controller().step("detect", "ro_1")
        assert (stepped.state, stepped.again) == ("rolled_back", False)
        assert stepped.event is not None
    assert dict(world.routing.weights) == {"v1": 9_000, "v2": 0, "v3": 1_000}
    assert [each.what for each in world.rollouts.histories["ro_1"]].count("roll_back") == 1


def test_two_starts_race_and_one_wins() -> None:
    """Between the reading and the writing of one start another one is written: it is refused, and says by whom."""
    world = World()
    begun: list[str] = []

    def trouble(call: str, moment: Moment) -> None:
        if (call, moment) == ("commit", "before") and not begun:
            begun.append(call)
            world.start("v3", rollout_id="ro_other")

    world.trouble = trouble
    with pytest.raises(InvalidRequest, match="ro_other") as refused:
        world.start()
    assert refused.value.code == "rollout_active"
    assert world.current.canary == "v3"


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_an_abort_during_a_turn_wins_or_loses_whole(bad: float) -> None:
    """The turn that was decided before the abort writes nothing over it, and no weight of the canary stays."""
    world = World(bad=bad)
    world.start(plan=replace(PLAN, measure_requests=1))
    world.pass_time(1.0)
    world.controller().step("detect", "ro_1")
    world.pass_time(60.0)
    done: list[str] = []

    def trouble(call: str, moment: Moment) -> None:
        if (call, moment) == ("commit", "before") and not done:
            done.append(call)
            world.operations().abort(who="bob", why="enough")

    world.trouble = trouble
    stepped = world.controller().step("detect", "ro_1")
    assert (stepped.state, stepped.again) == ("aborted", False)
    assert world.routing.weights["v2"] == 0
    assert world.routing.canary is None
    assert not world.routing.withdrawn


def test_an_abort_after_the_end_is_refused() -> None:
    """The turn came first, and ended the rollout: the abort says so and changes nothing."""
    world = World(bad=1.0)
    world.start(plan=replace(PLAN, measure_requests=1))
    world.pass_time(1.0)
    world.controller().step("detect", "ro_1")
    world.pass_time(60.0)
    turned: list[str] = []

    def trouble(call: str, moment: Moment) -> None:
        if (call, moment) == ("commit", "before") and not turned:
            turned.append(call)
            world.controller().step("detect", "ro_1")

    world.trouble = trouble
    with pytest.raises(InvalidRequest, match="rolled back"):
        world.operations().abort(who="bob", why="enough")
    assert world.routing.withdrawn == {"v2": "ro_1"}


def test_a_promotion_whose_answer_is_lost_is_made_once() -> None:
    """The write was done and its answer lost; the operator's second try does not go another step."""
    world = World()
    world.start()
    lost: list[str] = []

    def trouble(call: str, moment: Moment) -> None:
        if (call, moment) == ("commit", "after") and not lost:
            lost.append(call)
            raise StoreUnavailable("No answer came.")

    world.trouble = trouble
    rollout = world.operations().promote(to=None, who="ada", why="sure")
    assert (rollout.stage.number, rollout.stage.share) == (1, 100)
    assert world.current == rollout


def test_a_lost_execution_is_found() -> None:
    """A rollout whose state machine never began, or ended, gets a new execution; the old one stops."""
    world = World()
    world.executions.down = True
    world.start()
    assert world.executions.started == []
    world.executions.down = False
    assert world.controller().sweep() == []
    world.now += SWEEP_AFTER_S
    assert world.controller().sweep() == ["ro_1"]
    assert world.executions.started == [("ro_1-r1", "detect", "ro_1")]
    late = world.controller().step("detect", "ro_1", execution="ro_1-r0")
    assert (late.again, late.event) == (False, None)
    mine = world.controller().step("detect", "ro_1", execution="ro_1-r1")
    assert mine.again
    assert world.controller().sweep() == []


def test_a_sweep_that_dies_before_it_starts_the_execution_is_made_good() -> None:
    """The record names an execution that was never started: whoever meets it starts it."""
    world = World()
    world.start()
    world.now += SWEEP_AFTER_S
    world.executions.down = True
    with pytest.raises(StoreUnavailable):
        world.controller().sweep()
    world.executions.down = False
    assert world.current.execution == "ro_1-r1"
    world.controller().step("detect", "ro_1", execution="ro_1-r0")
    assert world.executions.started[-1][0] == "ro_1-r1"


def test_executions_renew_themselves() -> None:
    """Long before its history is full an execution hands over to the next, and ends without a word."""
    world = World()
    world.start()
    turns = RENEW_AFTER_TURNS - 1
    place = world.rollouts.records["detect"]
    place[-1] = replace(place[-1], turns=turns)
    stepped = world.controller().step("detect", "ro_1", execution="ro_1-r0")
    assert (stepped.again, stepped.event) == (False, None)
    assert world.executions.started[-1][0] == "ro_1-r1"
    assert world.current.execution == "ro_1-r1"
    assert world.controller().step("detect", "ro_1", execution="ro_1-r1").again


def test_an_alarm_rolls_back_the_canary_alone() -> None:
    """An alarm of another version is none of the rollout's; one of the canary's ends it, once."""
    world = World()
    world.start()
    assert world.controller().alarm("detect", "v1", name="slow") is None
    after = world.controller().alarm("detect", "v2", name="v2 fails")
    assert after is not None
    assert (after.state, after.reason) == ("rolled_back", "v2 fails is in alarm")
    assert world.routing.weights["v2"] == 0
    assert world.controller().alarm("detect", "v2", name="v2 fails") is None


OPERATIONS = st.sampled_from(
    (
        *("turn", "turn", "turn", "kill", "doubt", "pass", "good", "bad", "sweep", "alarm", "wait"),
        *("start", "start_again", "start_other", "pause", "resume", "promote", "promote_last", "abort", "pin"),
    )
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(OPERATIONS, min_size=5, max_size=40), seed=st.integers(0, 1_000))
def test_nothing_leaves_traffic_on_a_version_that_was_rolled_back(steps: list[str], seed: int) -> None:
    """Whatever is done, dies or is lost, in any order: after each step the record and the traffic belong together."""
    world, chance = World(), random.Random(seed)  # noqa: S311 - reproducible
    world.start(rollout_id="ro_0")
    for number, step in enumerate(steps):
        with suppress(HeadraceError, Killed):
            act(world, step, number, chance)
        world.trouble = lambda _call, _moment: None
        check(world)


def act(world: World, step: str, number: int, chance: random.Random) -> None:
    """One thing that happens."""
    operations, said = world.operations(), {"who": "ada", "why": "a test"}
    match step:
        case "turn" | "kill" | "doubt":
            if step != "turn":
                at = chance.randrange(1, 6)
                failure: BaseException = Killed() if step == "kill" else StoreUnavailable("No answer came.")
                world.trouble = dying_at(at, failure)
            world.controller().step("detect", world.current.rollout_id)
        case "pass":
            world.pass_time(30.0)
        case "wait":
            world.now += 4_000.0
        case "good" | "bad":
            world.bad = 0.0 if step == "good" else 1.0
        case "pause":
            operations.pause(**said)
        case "resume":
            operations.resume(**said)
        case "promote":
            operations.promote(to=None, **said)
        case "promote_last":
            operations.promote(to=10_000, **said)
        case "abort":
            operations.abort(**said)
        case "alarm":
            world.controller().alarm("detect", "v2", name="alarm")
        case "start" | "start_again" | "start_other":
            version = "v3" if step == "start_other" else "v2"
            world.start(version, rollout_id=f"ro_{number + 1}", again=step == "start_again")
        case "sweep":
            world.controller().sweep()
        case "pin":
            world.routings.put(changes.pinned(world.routing, f"t{number}", "v2", at=world.now, **said))


def dying_at(at: int, failure: BaseException) -> Callable[[str, Moment], None]:
    """Trouble at the n-th call."""
    left = [at]

    def trouble(_call: str, _moment: Moment) -> None:
        left[0] -= 1
        if not left[0]:
            raise failure

    return trouble


def check(world: World) -> None:
    """What must hold at every moment."""
    rollout, routing = world.current, world.routing
    assert sum(routing.weights.values()) == 10_000
    for version in routing.withdrawn:
        assert not routing.weights.get(version)
        assert version not in routing.pins.values()
        assert routing.shadow is None or routing.shadow.version != version
    if rollout.active:
        assert routing.canary is not None
        assert routing.canary.rollout_id == rollout.rollout_id
        assert (routing.canary.stage, routing.canary.share) == (rollout.stage.number, rollout.stage.share)
        assert routing.weights[rollout.canary] == rollout.stage.share
    else:
        assert routing.canary is None
    last: dict[str, tuple[str, str]] = {}
    for each in world.rollouts.records["detect"]:
        last[each.canary] = (each.state, each.rollout_id)
    for version, (state, rollout_id) in last.items():
        if state == "rolled_back":
            assert routing.withdrawn[version] == rollout_id
            assert routing.weights[version] == 0
