"""What `judge` says to counts: it goes on, stays, rolls back or finishes, and rolls nothing good back often."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.rollouts.counted import NOTHING, Counted, Values
from headrace.rollouts.decide import Advance, Decision, Finish, Hold, Judged, RollBack, Stage, judge
from headrace.rollouts.metrics import METRICS, Metric
from headrace.rollouts.plan import Limit, RolloutPlan, problems

PLAN = RolloutPlan(
    (Limit("failed", rate_max=0.05), Limit("slower", odds_allowed=1.25)), bake_s=300.0, step_s_max=3_600.0
)
SHADOWED = RolloutPlan((Limit("failed", rate_max=0.05), Limit("disagreed", rate_max=0.2)), bake_s=0.0, shadow=500)
SOLD = RolloutPlan((Limit("outcome", better="more"),), outcome="sale", bake_s=0.0)


def arm(requests: int = 0, bad: Mapping[Metric, int] | None = None, **more: object) -> Counted:
    """An arm whose bad events are each a caller's own."""
    return replace(Counted(requests=requests, bad=bad or {}, bad_callers=bad or {}), **more)  # type: ignore[arg-type]


def stage(number: int, share: int, canary: Counted = NOTHING, control: Counted = NOTHING, since: float = 0.0) -> Stage:
    """A stay at one share."""
    return Stage(number, share, since, canary, control)


def judged(*stages: Stage, plan: RolloutPlan = PLAN, now: float = 1_000.0) -> Judged:
    """What is said to these stages."""
    return judge(plan, stages, now=now)


def said(*stages: Stage, plan: RolloutPlan = PLAN, now: float = 1_000.0) -> Decision:
    """The decision alone."""
    return judged(*stages, plan=plan, now=now).decision


GOOD = arm(200)


def test_stage_0_measures_the_control_and_then_goes_to_the_first_step() -> None:
    """However long it lasts; without traffic a person has to decide."""
    assert said(stage(0, 0, control=arm(199))) == Hold("measuring the control")
    assert said(stage(0, 0, control=arm(200))) == Advance(100)
    assert said(stage(0, 0), now=3_600.0) == Hold("measuring the control", inconclusive=True)


def test_each_step_leads_to_the_next_and_the_last_one_to_the_end() -> None:
    """Once it has lasted long enough and its bound is reached."""
    assert [said(stage(1, share, GOOD)) for share in PLAN.steps] == [
        Advance(500), Advance(2_500), Advance(5_000), Advance(10_000), Finish(),
    ]  # fmt: skip
    assert said(stage(1, 700, GOOD)) == Advance(2_500)


def test_time_alone_does_not_lead_on_and_too_much_of_it_is_inconclusive() -> None:
    """Neither too short a step nor too few requests; a time-out is no success."""
    assert said(stage(1, 100, GOOD), now=299.0) == Hold("this step has not lasted long enough")
    waiting = judged(stage(1, 100, arm(50)))
    assert waiting.decision == Hold("not enough requests to bound failed")
    assert waiting.needed == {"failed": 66}
    assert waiting.bounds["failed"] > 0.05
    assert said(stage(1, 100, arm(50)), now=3_600.0) == Hold("not enough requests to bound failed", inconclusive=True)
    assert judged(stage(1, 100, arm(116))).needed == {}


def test_a_step_is_bounded_by_its_own_requests() -> None:
    """A version that fails only under more traffic is not carried on by what it did under less."""
    before = stage(1, 100, arm(100_000), arm(10_000_000))
    assert isinstance(said(before, stage(2, 500, arm(40, {"failed": 1}), arm(760))), Hold)


def test_evidence_rolls_back_before_anything_else() -> None:
    """In any step, at any time, also where a bound is reached, and it names the metrics that brought enough."""
    worse = stage(1, 500, arm(100, {"slower": 60}), arm(1_900, {"slower": 60}))
    for now in (1.0, 1_000.0, 1e9):
        assert said(worse, now=now) == RollBack(("slower",))
    both = stage(1, 500, arm(100, {"slower": 60, "failed": 99}), arm(1_900, {"slower": 60}))
    assert said(both) == RollBack(("failed", "slower"))
    found = judged(both)
    assert found.total == found.evidence["failed"] == max(found.evidence.values()) >= 2.0


def test_no_step_is_taken_while_evidence_gathers() -> None:
    """A metric that has no bound says so by its evidence; a person decides where it stays between."""
    doubtful = stage(1, 5_000, arm(500, {"slower": 102}), arm(500, {"slower": 45}))
    assert 1.0 <= judged(doubtful).evidence["slower"] < 2.0
    assert said(doubtful) == Hold("evidence gathers by slower")
    assert said(doubtful, now=3_600.0) == Hold("evidence gathers by slower", inconclusive=True)
    assert said(stage(1, 5_000, arm(500, {"slower": 60}), arm(500, {"slower": 50}))) == Advance(10_000)


def test_evidence_stays_when_the_next_step_begins() -> None:
    """What was gathered at 1 % counts at 5 % too."""
    little = stage(1, 100, arm(150, {"failed": 1}), arm(10_000))
    more = stage(2, 500, arm(150, {"failed": 1}), arm(10_000))
    alone = judged(stage(1, 500, more.canary, more.control)).evidence["failed"]
    assert judged(little, more).evidence["failed"] > alone


def test_a_regression_that_begins_late_is_seen_in_spite_of_what_was_good() -> None:
    """Fifty bad events of the control and none of the canary at 5 %, then trouble at 25 %."""
    good = stage(1, 500, arm(2_500), arm(50_000, {"failed": 500}))
    assert said(good, stage(2, 2_500, arm(250, {"failed": 12}), arm(750, {"failed": 3}))) == RollBack(("failed",))


def test_an_incident_of_both_is_nobodys_fault() -> None:
    """Half of all requests fail, of both versions alike."""
    decision = said(stage(1, 500, arm(1_000, {"failed": 500}), arm(19_000, {"failed": 9_500})))
    assert isinstance(decision, Hold)
    assert not decision.inconclusive


def test_stage_0_and_the_last_step_say_nothing_of_arms() -> None:
    """There is nothing to compare with."""
    for share in (0, 10_000):
        assert judged(stage(0, share, arm(1_000, {"failed": 900}), arm(10))).total < 0.0


def test_disagreement_counts_at_any_share_and_is_not_asked_for_where_nothing_is_copied() -> None:
    """In stage 0 as well: a version with its classes exchanged never meets a caller."""
    bad = Counted(bad={"disagreed": 25}, of={"disagreed": 30})
    assert said(stage(0, 0, bad, arm(50)), plan=SHADOWED) == RollBack(("disagreed",))
    some = replace(GOOD, bad={"disagreed": 1}, of={"disagreed": 10})
    assert judged(stage(1, 500, some), plan=SHADOWED).needed.keys() == {"disagreed"}
    assert judged(stage(1, 500, GOOD), plan=SHADOWED).needed.keys() == {"disagreed"}
    assert said(stage(5, 10_000, GOOD), plan=SHADOWED) == Finish()


def test_fewer_good_outcomes_count_against_the_canary() -> None:
    """Half of what the control sells; and a canary that sells more is never held against."""

    def selling(canary: int, control: int) -> Stage:
        one, other = (Counted(requests=5_000, outcomes={"sale": Values(count)}) for count in (canary, control))
        return stage(1, 5_000, one, other)

    assert said(selling(100, 200), plan=SOLD) == RollBack(("outcome",))
    assert said(selling(200, 100), plan=SOLD) == Advance(10_000)
    assert said(selling(150, 150), plan=SOLD) == Advance(10_000)


def test_more_unwanted_outcomes_count_against_the_canary() -> None:
    """Complaints, say: bad events like any other."""
    plan = replace(SOLD, limits=(Limit("outcome", rate_max=0.2),))
    many, few = (Counted(requests=1_000, outcomes={"sale": Values(count)}) for count in (100, 20))
    assert said(stage(1, 5_000, many, few), plan=plan) == RollBack(("outcome",))


def test_a_wrong_division_of_callers_is_for_a_person_to_look_at() -> None:
    """The counts cannot be trusted then; but evidence against the canary still rolls it back."""
    undivided = stage(1, 500, replace(GOOD, callers=400), arm(1_800, callers=1_800))
    decision = said(undivided, now=1.0)
    assert isinstance(decision, Hold)
    assert decision.inconclusive
    failing = replace(undivided.canary, bad={"failed": 200}, bad_callers={"failed": 200})
    assert said(replace(undivided, canary=failing)) == RollBack(("failed",))


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
def test_the_same_callers_in_the_next_stage_are_no_new_evidence_of_a_wrong_division(a: int, b: int, c: int) -> None:
    """They are where they were: stages are looked at one by one."""
    one = stage(1, 5_000, arm(callers=a), arm(callers=b))
    again = [replace(one, number=number) for number in (1, 2, 3)]
    assert judged(*again).split == pytest.approx(judged(one).split)
    other = stage(2, 2_500, arm(callers=c), arm(callers=a))
    assert judged(one, other).split == pytest.approx(max(judged(one).split, judged(other).split))


def test_over_metrics_and_stages_a_good_version_is_expected_to_give_at_most_one() -> None:
    """All attributions of bad events of two metrics, the same events, over two stages; and alpha is kept."""
    plan = replace(PLAN, limits=(Limit("failed"), Limit("late"), Limit("invalid")), steps=(500, 2_500), alpha=0.1)
    expected = stopped = 0.0
    shares = (500, 500, 500, 2_500, 2_500, 2_500, 2_500)
    for sides in itertools.product([False, True], repeat=len(shares)):
        chance = math.prod(s / 10_000 if side else 1 - s / 10_000 for s, side in zip(shares, sides, strict=True))
        ever = False
        for upto in range(1, len(shares) + 1):
            stages = []
            for number, share in enumerate((500, 2_500)):
                mine = [side for side, s in zip(sides[:upto], shares, strict=False) if s == share]
                arms = [{"failed": count, "late": count} for count in (sum(mine), len(mine) - sum(mine))]
                stages.append(stage(number + 1, share, arm(100, arms[0]), arm(100, arms[1])))  # type: ignore[arg-type]
            found = judged(*stages, plan=plan)
            ever = ever or isinstance(found.decision, RollBack)
        expected += chance * 10.0**found.total
        stopped += chance * ever
    assert expected <= 1.0
    assert 0.0 < stopped <= 0.1


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from([0, 1, 500, 9_999, 10_000]))
def test_no_counts_are_too_many(requests: int, bad: int, other: int, share: int) -> None:
    """Nothing overflows, divides by nothing or is not a number."""
    plan = RolloutPlan(tuple(Limit(metric, rate_max=0.2) for metric in METRICS), shadow=1, outcome="sale")
    everything = dict.fromkeys(METRICS, min(bad, requests))
    canary = arm(requests, everything, of={"disagreed": requests}, callers=requests)
    found = judged(stage(1, share, canary, arm(other, {"failed": min(bad, other)}, callers=other)), plan=plan)
    assert all(map(math.isfinite, [*found.evidence.values(), found.total, found.split, *found.bounds.values()]))
    assert all(0.0 <= bound <= 1.0 for bound in found.bounds.values())
    assert all(more > 0 for more in found.needed.values())


def test_a_plan_says_what_is_wrong_with_it() -> None:
    """Each mistake in a sentence that begins with its field."""
    assert problems(PLAN) == problems(SHADOWED) == problems(SOLD) == []
    wrong = {
        "steps": [replace(PLAN, steps=()), replace(PLAN, steps=(500, 100)), replace(PLAN, steps=(0,))],
        "alpha": [replace(PLAN, alpha=0.0)],
        "confidence": [replace(PLAN, confidence=1.0)],
        "step_s_max": [replace(PLAN, step_s_max=1.0)],
        "limits": [
            replace(PLAN, limits=limits)
            for limits in (
                (),
                (Limit("failed"), Limit("failed")),
                (Limit("failed", rate_max=0.0),),
                (Limit("failed", odds_allowed=0.9),),
                (Limit("disagreed"),),
                (Limit("outcome"),),
                (Limit("late", better="more"),),
            )
        ],
    }
    for field, plans in wrong.items():
        for plan in plans:
            assert [problem.partition(":")[0] for problem in problems(plan)] == [field]
