"""One turn, and the rollouts that turns make."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.catalog import Capabilities
from headrace.errors import InvalidRequest
from headrace.rollouts import actions
from headrace.rollouts.counted import SURENESS_BUCKETS, Counted, bucket_ms, time_bucket
from headrace.rollouts.plan import Limit
from headrace.rollouts.states import Rollout, RolloutState
from headrace.rollouts.turns import WAIT_MAX_S, Counts, Turned, turn
from headrace.routing.changes import of_declaration
from tests.unit.headrace.rollouts.rollout_world import ENDPOINT, NOW, PLAN, World


def look(world: World, counts: Counts, *, after_s: float = 10.0) -> Turned:
    """One turn of the present rollout."""
    return turn(world.current, world.routing, counts, now=world.current.stage.since + after_s)


def at_one_percent(world: World, **control: object) -> Rollout:
    """A rollout that has measured the control."""
    world.start()
    measured = Counted(requests=200, times={50: 190, 60: 10}, sureness={30: 20, 90: 180}, **control)  # type: ignore[arg-type]
    turned = look(world, {(0, "control"): measured})
    assert turned.change is not None
    world.rollouts.commit(turned.change)
    return world.current


@pytest.mark.parametrize(
    ("canary", "serving", "refused"),
    [
        ({}, {"max_items": 1, "languages": ("en",), "tenants": ("acme",), "tier_min": 2}, ""),
        ({"max_items": 1, "max_payload_bytes": 1000}, {}, ""),  # the endpoint takes no more anyway
        ({"max_payload_bytes": 999}, {}, "max_payload_bytes"),
        ({"max_text_chars": 10}, {"max_text_chars": 20}, "max_text_chars"),
        ({"languages": ("en",)}, {"languages": ("en", "fr")}, "languages"),
        ({"languages": ("en", "fr")}, {"languages": ("fr",)}, ""),
        ({"groups": ("beta",)}, {}, "groups"),
        ({"plans": ("gold",), "tier_min": 2}, {"tier_min": 1}, "plans, tier_min"),
        ({"hardware": "cpu", "cost_class": 3}, {}, ""),
    ],
)
def test_a_canary_that_serves_less_is_refused(canary: dict[str, Any], serving: dict[str, Any], refused: str) -> None:
    """At 100 % callers would fail whom no evidence speaks for, as they never met the canary."""
    first, second, *others = ENDPOINT.versions
    can = replace(first, capabilities=Capabilities(**serving)), replace(second, capabilities=Capabilities(**canary))
    endpoint = replace(ENDPOINT, versions=(*can, *others[1:]))
    asked: dict[str, Any] = {"earlier": [], "plan": PLAN, "rollout_id": "ro_1", "now": NOW, "who": "ada", "why": "why"}
    if not refused:
        assert actions.start(endpoint, "v2", of_declaration(endpoint), **asked).rollout.canary == "v2"
        return
    with pytest.raises(InvalidRequest, match=f"less than v1, which has traffic: {refused}\\.") as found:
        actions.start(endpoint, "v2", of_declaration(endpoint), **asked)
    assert found.value.code == "serves_less"


@pytest.mark.parametrize("share", [0, 1_000])
def test_a_canary_whose_callers_no_other_version_serves_is_refused(share: int) -> None:
    """At share 0 they would be refused; without traffic of its own there are none."""
    first, second, *others = ENDPOINT.versions
    endpoint = replace(
        ENDPOINT, versions=(replace(first, capabilities=Capabilities(languages=("en",))), second, *others[1:])
    )
    standing = replace(of_declaration(endpoint), weights={"v1": 10_000 - share, "v2": share}, slots={})
    asked: dict[str, Any] = {"earlier": [], "plan": PLAN, "rollout_id": "ro_1", "now": NOW, "who": "ada", "why": "why"}
    if not share:
        assert actions.start(endpoint, "v2", standing, **asked).rollout.canary == "v2"
        return
    with pytest.raises(InvalidRequest, match="no other version") as found:
        actions.start(endpoint, "v2", standing, **asked)
    assert found.value.code == "serves_alone"


def test_the_control_is_measured_first() -> None:
    """At share 0 nobody meets the canary; with enough answers of the control the first step begins."""
    world = World()
    plan = replace(PLAN, limits=(*PLAN.limits, Limit("unsure", odds_allowed=1.25)))
    world.start(plan=plan)
    assert world.routing.weights["v2"] == 0
    few = look(world, {(0, "control"): Counted(requests=199)})
    assert few.change is not None
    assert few.change.rollout.state == "measuring"
    assert few.change.routing is None
    counted = Counted(requests=200, times={50: 189, time_bucket(0.3): 11}, sureness={30: 20, 90: 180})
    turned = look(world, {(0, "control"): counted})
    assert turned.change is not None
    after, routing = turned.change.rollout, turned.change.routing
    assert (after.state, after.stage.number, after.stage.share) == ("running", 1, 100)
    assert after.slower_ms == bucket_ms(time_bucket(0.3))
    assert after.unsure_below == 31 / SURENESS_BUCKETS
    assert routing is not None
    assert routing.canary is not None
    assert (routing.canary.slower_ms, routing.canary.unsure_below) == (after.slower_ms, after.unsure_below)
    assert turned.change.decision is not None
    assert turned.change.decision.what == "measured"


def test_references_are_only_those_that_are_asked_for() -> None:
    """A metric that does not count gets no reference, so that nothing is counted for it."""
    world = World()
    rollout = at_one_percent(world)
    assert rollout.slower_ms is not None
    assert rollout.unsure_below is None


def test_a_later_step_compares_with_what_the_control_did_last() -> None:
    """Where the step before has seen enough of the control; else the references stay."""
    world = World()
    before = at_one_percent(world).slower_ms
    few = Counted(requests=199, times={40: 199})
    for control, after in ((few, before), (Counted(requests=200, times={40: 200}), bucket_ms(40))):
        turned = look(world, {(1, "canary"): Counted(requests=300), (1, "control"): control}, after_s=30.0)
        assert turned.change is not None
        assert turned.change.routing is not None
        assert turned.change.routing.canary is not None
        assert turned.change.rollout.slower_ms == turned.change.routing.canary.slower_ms == after


def test_a_step_advances_when_its_bounds_are_reached() -> None:
    """Time and counts together; all others keep their proportions to each other."""
    world = World()
    at_one_percent(world)
    good: Counts = {(1, "canary"): Counted(requests=300), (1, "control"): Counted(requests=29_700)}
    early = look(world, good, after_s=29.0)
    assert early.change is not None
    assert early.change.rollout.stage.number == 1
    turned = look(world, good, after_s=30.0)
    assert turned.change is not None
    assert turned.change.routing is not None
    assert dict(turned.change.routing.weights) == {"v1": 6_750, "v2": 2_500, "v3": 750}
    assert turned.change.decision is not None
    assert turned.change.decision.counts["canary"]["requests"] == 300
    assert turned.change.decision.bounds["failed"] < 0.05


def test_bad_evidence_rolls_back_in_one_write() -> None:
    """The record ends, the baseline's weights stand again, and the version is withdrawn: one change."""
    world = World()
    at_one_percent(world)
    bad = Counted(requests=30, bad={"failed": 20}, bad_callers={"failed": 20})
    turned = look(world, {(1, "canary"): bad, (1, "control"): Counted(requests=3_000)})
    assert turned.again is False
    assert turned.change is not None
    assert turned.change.rollout.state == "rolled_back"
    assert "failed" in turned.change.rollout.reason
    routing = turned.change.routing
    assert routing is not None
    assert dict(routing.weights) == dict(of_declaration(ENDPOINT).weights)
    assert (routing.canary, dict(routing.withdrawn)) == (None, {"v2": "ro_1"})
    assert turned.change.decision is not None
    assert turned.change.decision.total >= 2.0


def test_a_timeout_is_inconclusive_and_holds() -> None:
    """Without enough requests in all that time nothing is decided: the share stays, until a person says what next."""
    world = World()
    at_one_percent(world)
    turned = look(world, {(1, "canary"): Counted(requests=3)}, after_s=3_600.0)
    assert turned.change is not None
    assert turned.change.rollout.state == "inconclusive"
    assert turned.change.rollout.stage.share == 100
    assert turned.change.routing is None
    assert turned.again is True
    world.rollouts.commit(turned.change)
    later = look(world, {(1, "canary"): Counted(requests=30_000)}, after_s=3_700.0)
    assert later.change is not None
    assert later.change.rollout.state == "inconclusive"


@pytest.mark.parametrize("state", ["paused", "inconclusive"])
def test_what_stands_still_is_still_watched(state: RolloutState) -> None:
    """Neither a pause nor an inconclusive step keeps bad evidence from rolling back."""
    world = World()
    rollout = replace(at_one_percent(world), state=state)
    bad = Counted(requests=30, bad={"failed": 20}, bad_callers={"failed": 20})
    turned = turn(rollout, world.routing, {(1, "canary"): bad, (1, "control"): Counted(requests=99)}, now=NOW + 99)
    assert turned.change is not None
    assert turned.change.rollout.state == "rolled_back"


def test_a_routing_document_of_somebody_else_holds() -> None:
    """Where the document no longer carries this rollout, what is counted is not its own: a person has to look."""
    world = World()
    rollout = at_one_percent(world)
    stranger = replace(world.routing, canary=None)
    turned = turn(rollout, stranger, {}, now=NOW + 99)
    assert turned.change is not None
    assert turned.change.rollout.state == "inconclusive"


def test_what_is_over_is_left_alone() -> None:
    """A turn after the end writes nothing."""
    world = World()
    rollout = replace(at_one_percent(world), state="finished")
    assert turn(rollout, world.routing, {}, now=NOW) == Turned(None)


def test_holds_are_noted_now_and_then() -> None:
    """Holds are noted ever more rarely, and each look leaves its time."""
    world = World()
    rollout = replace(at_one_percent(world), plan=replace(PLAN, step_s_max=1e9))
    entries, now = 0, NOW
    for _ in range(1_500):
        now += 100.0
        turned = turn(rollout, world.routing, {(1, "canary"): Counted(requests=3)}, now=now)
        assert turned.change is not None
        rollout = turned.change.rollout
        entries += turned.change.decision is not None
        assert rollout.turned_at == now
    assert 100 < entries < 700


def test_waits_are_whole_seconds_within_bounds() -> None:
    """The state machine takes whole seconds; however rarely a plan looks, somebody comes by every minute."""
    world = World()
    rollout = at_one_percent(world)
    for look_s, wait_s in ((0.2, 1), (2.5, 3), (900.0, WAIT_MAX_S)):
        turned = turn(replace(rollout, plan=replace(PLAN, look_s=look_s)), world.routing, {}, now=NOW + 20)
        assert turned.wait_s == wait_s


def test_a_good_version_reaches_everybody() -> None:
    """Through all steps to the whole, with each step's decision kept."""
    world = World()
    world.start()
    assert world.run().state == "finished"
    assert dict(world.routing.weights) == {"v1": 0, "v2": 10_000, "v3": 0}
    said = [decision.what for decision in world.rollouts.histories["ro_1"] if decision.what != "hold"]
    assert said == ["start", "measured", "advance", "advance", "finish"]
    numbers = [decision.number for decision in world.rollouts.histories["ro_1"]]
    assert numbers == sorted(set(numbers))


def test_a_bad_version_is_rolled_back() -> None:
    """One that fails every fifth time does not reach the second step."""
    world = World(bad=0.2)
    world.start()
    stepped = world.run()
    assert stepped.state == "rolled_back"
    assert stepped.event is not None
    assert stepped.event["share"] <= 2_500
    assert world.routing.weights["v2"] == 0


def test_an_unreadable_document_holds_and_can_be_rolled_back_and_aborted() -> None:
    """Nothing advances on a document that may say more than is understood; every way out is open, and mends it."""
    for way in ("wait", "roll back", "alarm", "abort"):
        world = World(bad=0.5 if way == "roll back" else 0.0)
        world.start()
        while not world.current.stage.number:
            world.controller().step("detect", "ro_1")
            world.pass_time(10.0)
        world.pass_time(10.0)
        good = world.routing
        world.routings.garbage["detect"] = "{"
        if way == "abort":
            world.operations().abort(who="ada", why="enough")
        elif way == "alarm":
            world.controller().alarm("detect", "v2", name="it")
        else:
            world.controller().step("detect", "ro_1")
        if way == "wait":
            assert world.current.state == "inconclusive"
            assert "cannot be read" in world.current.reason
            assert "detect" in world.routings.garbage
            world.routings.garbage.clear()
            world.operations().resume(who="ada", why="restored")
            assert world.run().state == "finished"
            continue
        assert world.current.state == ("aborted" if way == "abort" else "rolled_back")
        assert world.routing.version == good.version + 1
        assert (world.routing.canary, world.routing.weights.get("v2", 0)) == (None, 0)


def test_another_try_knows_who_withdrew_the_version() -> None:
    """So that an abort can put it back."""
    world = World(bad=0.5)
    world.start()
    assert world.run().state == "rolled_back"
    world.now += actions.COOLDOWN_S
    assert world.start(rollout_id="ro_2", again=True).withdrawn_by == "ro_1"
    assert not world.routing.withdrawn
    world.operations().abort(who="ada", why="enough")
    assert dict(world.routing.withdrawn) == {"v2": "ro_1"}
