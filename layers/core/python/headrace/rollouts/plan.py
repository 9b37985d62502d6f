"""What a rollout is to do, as its endpoint declares it and its operator asks: steps, and what is put up with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from headrace.rollouts.metrics import Metric

STEPS = (100, 500, 2_500, 5_000, 10_000)
"""1, 5, 25, 50 and 100 %, in basis points."""
ALPHA = 0.01
"""At most one good version in a hundred is rolled back."""
CONFIDENCE = 0.95
"""That a version which is promoted keeps the bounds below."""
SPLIT_ALPHA = 0.001
SHARE_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What one metric may be for the canary to be promoted, and what counts against it.

    Args:
        metric: the kind of bad event.
        rate_max: the rate under which the anytime-valid upper bound must come before the next step; 1 asks nothing.
            For `disagreed` it is also the rate beyond which evidence gathers.
        odds_allowed: how many times worse than the control the canary may be before it counts against it (θ0 ≥ 1).
        better: for `outcome` alone: whether its events are good (`more` is better) or bad (`fewer`).
    """

    metric: Metric
    rate_max: float = 1.0
    odds_allowed: float = 1.0
    better: Literal["fewer", "more"] = "fewer"

    @property
    def bounded(self) -> bool:
        """Whether a step waits for the canary's upper bound."""
        return self.rate_max < 1.0 and self.better == "fewer"


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """A rollout's rules; it travels in the rollout's record, so that a deployment does not change one under way.

    Args:
        limits: the metrics that count, one for each.
        steps: shares of the traffic in basis points, rising; the last one is the whole.
        alpha: the probability, over the whole rollout, that a version no worse than the control is rolled back.
        confidence: of the bounds that a step must reach before the next one.
        bake_s: the least time of a step, whatever the counts say.
        step_s_max: after so long a step is inconclusive, and holds until a person decides.
        measure_requests: answers of the control that are measured at share 0 before the first step: the references of
            `slower` and `unsure`, and how much traffic there is.
        outcome: the name of the event that callers post back; empty when none counts.
        shadow: share of the control's requests, in basis points, that is copied to the canary while it is judged.
        look_s: seconds between two looks.
    """

    limits: tuple[Limit, ...]
    steps: tuple[int, ...] = STEPS
    alpha: float = ALPHA
    confidence: float = CONFIDENCE
    bake_s: float = 300.0
    step_s_max: float = 86_400.0
    measure_requests: int = 200
    outcome: str = ""
    shadow: int = 0
    look_s: float = 15.0


def problems(plan: RolloutPlan) -> list[str]:
    """What is wrong with a plan, each in a sentence; what the statistics rest on is only true of plans without."""
    found = []
    if not plan.steps or any(not 0 < share <= SHARE_MAX for share in plan.steps):
        found.append("steps: give shares above 0 % and up to 100 %")
    if any(later <= share for share, later in pairwise(plan.steps)):
        found.append("steps: each has to be larger than the one before; evidence does not allow for smaller ones")
    if not 0.0 < plan.alpha < 1.0:
        found.append("alpha: a probability between 0 and 1")
    if not 0.0 < plan.confidence < 1.0:
        found.append("confidence: a probability between 0 and 1")
    if min(plan.bake_s, plan.step_s_max) < 0.0 or plan.step_s_max < plan.bake_s:
        found.append("step_s_max: a step may not end before it has lasted bake_s")
    if not plan.limits:
        found.append("limits: without one nothing would ever be rolled back")
    names = [limit.metric for limit in plan.limits]
    found += [f"limits: {name} is given twice" for name in sorted({one for one in names if names.count(one) > 1})]
    for limit in plan.limits:
        if not 0.0 < limit.rate_max <= 1.0:
            found.append(f"limits: {limit.metric}: rate_max is above 0, and 1 asks nothing")
        if limit.odds_allowed < 1.0:
            found.append(f"limits: {limit.metric}: odds_allowed is at least 1, which is to say no worse")
        if limit.metric == "disagreed" and not plan.shadow:
            found.append("limits: disagreed: nothing is compared without a shadow share")
        if limit.metric == "outcome" and not plan.outcome:
            found.append("limits: outcome: name the event that is posted back")
        if limit.better == "more" and limit.metric != "outcome":
            found.append(f"limits: {limit.metric}: only of outcomes more can be better")
    return found
