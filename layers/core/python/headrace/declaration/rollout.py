"""What an endpoint's rollouts are judged by: `rollout:` of `endpoint.yaml`, which the operator's command reads."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.declaration.shape import Declared
from headrace.rollouts.metrics import METRICS, Metric
from headrace.rollouts.plan import ALPHA, CONFIDENCE, Limit, RolloutPlan

BASIS_POINTS_PER_PERCENT = 100
STEPS_MAX = 20
OUTCOME_PATTERN = r"^[a-z][a-z0-9_.-]{0,63}$"
LATE_RATE_MAX = 0.01
"""The objective is of the 99th percentile."""
COMPARED_ODDS = 1.25
"""What is only compared with the control, and has no bound of its own, may be a little worse by the weather."""
DISAGREED_RATE_MAX = 0.2

Percent = Annotated[float, Field(gt=0.0, le=100.0)]


class LimitDeclaration(Declared):
    """How bad one metric may be. What is left out is as documented."""

    rate_max: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    odds_allowed: Annotated[float, Field(ge=1.0, le=100.0)] | None = None


class LimitsByMetric(Declared):
    """The metrics that count. `null` leaves one out; one that is not named counts as documented."""

    failed: LimitDeclaration | None = LimitDeclaration()
    late: LimitDeclaration | None = LimitDeclaration()
    slower: LimitDeclaration | None = LimitDeclaration()
    invalid: LimitDeclaration | None = LimitDeclaration()
    refused: LimitDeclaration | None = LimitDeclaration()
    unsure: LimitDeclaration | None = LimitDeclaration()
    disagreed: LimitDeclaration | None = LimitDeclaration()
    outcome: LimitDeclaration | None = LimitDeclaration()


class OutcomeDeclaration(Declared):
    """The event that callers post back, and whether more of it is better."""

    name: Annotated[str, Field(pattern=OUTCOME_PATTERN)]
    better: Literal["fewer", "more"] = "more"


class RolloutDeclaration(Declared):
    """Steps, evidence, and what is put up with; shares in percent. See `headrace.rollouts.plan.RolloutPlan`."""

    steps: Annotated[list[Percent], Field(min_length=1, max_length=STEPS_MAX)] = Field(
        default_factory=lambda: [1.0, 5.0, 25.0, 50.0, 100.0]
    )
    alpha: Annotated[float, Field(ge=1e-6, le=0.2)] = ALPHA
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = CONFIDENCE
    bake_s: Annotated[int, Field(ge=0, le=604_800)] = 300
    step_s_max: Annotated[int, Field(ge=1, le=2_592_000)] = 86_400
    measure_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    shadow: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    outcome: OutcomeDeclaration | None = None
    limits: LimitsByMetric = LimitsByMetric()

    @model_validator(mode="after")
    def consistent(self) -> Self:
        """Steps rise to the whole, shares are whole basis points, and a step has time to bake."""
        if self.steps != sorted(set(self.steps)) or self.steps[-1] != 100:  # noqa: PLR2004 - the whole
            raise ValueError("steps must rise, and end at 100 percent")
        if any(share != round(share, 2) for share in (*self.steps, self.shadow)):
            raise ValueError("steps and shadow are in percent with at most two decimals")
        if self.step_s_max <= self.bake_s:
            raise ValueError("step_s_max must be longer than bake_s")
        return self


def plan_of(rollout: RolloutDeclaration, *, availability: float) -> RolloutPlan:
    """The plan that the declaration asks for.

    Args:
        rollout: the section of an endpoint's declaration.
        availability: of its objective: what may fail, and may be invalid, is the rest.
    """
    shadow = basis_points(rollout.shadow)
    better = rollout.outcome.better if rollout.outcome else "fewer"
    limits: list[Limit] = []
    for metric in METRICS:
        declared: LimitDeclaration | None = getattr(rollout.limits, metric)
        absent = (metric == "disagreed" and not shadow) or (metric == "outcome" and rollout.outcome is None)
        if declared is None or absent:
            continue
        usual = usual_limit(metric, availability=availability, better=better)
        limits.append(
            Limit(
                metric,
                rate_max=usual.rate_max if declared.rate_max is None else declared.rate_max,
                odds_allowed=usual.odds_allowed if declared.odds_allowed is None else declared.odds_allowed,
                better=usual.better,
            )
        )
    return RolloutPlan(
        limits=tuple(limits),
        steps=tuple(basis_points(step) for step in rollout.steps),
        alpha=rollout.alpha,
        confidence=rollout.confidence,
        bake_s=float(rollout.bake_s),
        step_s_max=float(rollout.step_s_max),
        measure_requests=rollout.measure_requests,
        outcome=rollout.outcome.name if rollout.outcome else "",
        shadow=shadow,
    )


def usual_limit(metric: Metric, *, availability: float, better: Literal["fewer", "more"] = "fewer") -> Limit:
    """What a metric may be where nothing is said of it."""
    match metric:
        case "failed" | "invalid":
            return Limit(metric, rate_max=round(1.0 - availability, 12))
        case "late":
            return Limit(metric, rate_max=LATE_RATE_MAX)
        case "disagreed":
            return Limit(metric, rate_max=DISAGREED_RATE_MAX)
        case "slower" | "refused" | "unsure":
            return Limit(metric, odds_allowed=COMPARED_ODDS)
        case "outcome":
            return Limit(metric, odds_allowed=COMPARED_ODDS, better=better)


def basis_points(percent: float) -> int:
    """Percent as hundredths of it."""
    return round(percent * BASIS_POINTS_PER_PERCENT)
