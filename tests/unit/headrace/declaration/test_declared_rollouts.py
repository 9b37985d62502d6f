"""The section `rollout:` of a declaration: what it may say, what it says by itself, and the plan that it becomes."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.declaration.rollout import RolloutDeclaration, plan_of
from headrace.rollouts.metrics import Metric
from headrace.rollouts.plan import STEPS, Limit, RolloutPlan, problems


def plan(**said: Any) -> RolloutPlan:
    """The plan of an endpoint that promises 99.9 %."""
    return plan_of(RolloutDeclaration.model_validate(said), availability=0.999)


def limits(found: RolloutPlan) -> dict[Metric, Limit]:
    """By metric."""
    return {limit.metric: limit for limit in found.limits}


def test_nothing_said_follows_from_the_objective() -> None:
    """What may fail is what availability leaves; latency has its percentile; comparisons have no bound of their own."""
    found = plan()
    assert problems(found) == []
    assert found.steps == STEPS
    assert limits(found) == {
        "failed": Limit("failed", rate_max=0.001),
        "late": Limit("late", rate_max=0.01),
        "slower": Limit("slower", odds_allowed=1.25),
        "invalid": Limit("invalid", rate_max=0.001),
        "refused": Limit("refused", odds_allowed=1.25),
        "unsure": Limit("unsure", odds_allowed=1.25),
    }


def test_shadow_and_outcome_bring_their_metrics() -> None:
    """Disagreement counts where something is copied, and an outcome where one is named, in its direction."""
    found = plan(shadow=2.5, outcome={"name": "click"})
    assert problems(found) == []
    assert found.shadow == 250
    assert found.outcome == "click"
    assert limits(found)["disagreed"].rate_max == 0.2
    assert limits(found)["outcome"].better == "more"


def test_what_is_said_counts() -> None:
    """A limit is changed in part, and `null` leaves a metric out."""
    found = plan(limits={"failed": {"rate_max": 0.05}, "slower": {"odds_allowed": 2.0}, "late": None}, steps=[2.5, 100])
    assert found.steps == (250, 10_000)
    assert limits(found)["failed"] == Limit("failed", rate_max=0.05)
    assert limits(found)["slower"] == Limit("slower", odds_allowed=2.0)
    assert "late" not in limits(found)


@pytest.mark.parametrize(
    "said",
    [
        {"steps": [5, 1, 100]},
        {"steps": [1, 1, 100]},
        {"steps": [1, 50]},
        {"steps": [0, 100]},
        {"steps": []},
        {"steps": [0.001, 100]},
        {"alpha": 0},
        {"alpha": 0.5},
        {"confidence": 1},
        {"bake_s": 600, "step_s_max": 600},
        {"shadow": 101},
        {"shadow": 0.001},
        {"limits": {"failed": {"rate_max": 0}}},
        {"limits": {"failed": {"odds_allowed": 0.5}}},
        {"limits": {"speed": {"rate_max": 0.1}}},
        {"outcome": {"name": "Click me"}},
        {"outcome": {"name": "click", "better": "most"}},
        {"pace": 1},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(said: dict[str, Any]) -> None:
    """Each mistake is found before anything is deployed."""
    with pytest.raises(ValidationError):
        plan(**said)
