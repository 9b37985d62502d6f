"""What a rollout will take: how many requests each step needs, and how long that is at the traffic there is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.rollouts.bounds import requests_needed
from headrace.rollouts.evidence import SHARE_UNIT
from headrace.rollouts.metrics import Metric
from headrace.rollouts.plan import Limit, RolloutPlan


@dataclass(frozen=True, slots=True)
class StepForecast:
    """One step.

    Args:
        share: in basis points; 0 is the measuring of the control.
        requests: of both versions together, that the step takes.
        canary_requests: of them the canary's.
        seconds: how long that takes, no less than the plan's bake time; infinite where a bound cannot be expected to
            be reached, or without traffic.
    """

    share: int
    requests: float
    canary_requests: float
    seconds: float


def forecast(
    plan: RolloutPlan, requests_per_s: float, *, rates: Mapping[Metric, float] | None = None
) -> list[StepForecast]:
    """The measuring and the steps of a rollout whose canary does as well as these rates; about half take longer.

    Args:
        plan: its rules.
        requests_per_s: drawn between the two versions; 0 where it is not known.
        rates: of bad events, by metric, as the control has them; a metric that is not there is taken as without any.

    Raises:
        ValueError: the traffic is below 0.
    """
    if requests_per_s < 0.0:
        raise ValueError("requests per second cannot be below 0")
    known = rates or {}
    steps = [_step(0, plan.measure_requests, 0.0, requests_per_s, bake_s=0.0)] if plan.measure_requests else []
    for share in plan.steps:
        part = share / SHARE_UNIT
        canary = max((_canary_requests(plan, limit, share, known) for limit in plan.limits), default=0.0)
        steps.append(_step(share, canary / part, canary, requests_per_s, bake_s=plan.bake_s))
    return steps


def _canary_requests(plan: RolloutPlan, limit: Limit, share: int, rates: Mapping[Metric, float]) -> float:
    compared = limit.metric == "disagreed"
    if not limit.bounded or (compared and share >= SHARE_UNIT):
        return 0.0
    needed = requests_needed(limit.rate_max, alpha=1.0 - plan.confidence, rate=rates.get(limit.metric, 0.0))
    if needed is None:
        return math.inf
    if not compared:
        return float(needed)
    # Copies are made of the control's requests: so many go by until enough are copied, and the canary has its own part.
    copied = (plan.shadow / SHARE_UNIT) * (1.0 - share / SHARE_UNIT)
    return math.ceil(needed / copied * share / SHARE_UNIT) if copied else math.inf


def _step(share: int, requests: float, canary: float, requests_per_s: float, *, bake_s: float) -> StepForecast:
    requests = float(math.ceil(requests)) if math.isfinite(requests) else math.inf
    if not requests:
        return StepForecast(share, requests, canary, bake_s)
    seconds = requests / requests_per_s if requests_per_s else math.inf
    return StepForecast(share, requests, canary, max(bake_s, seconds))
