"""Counts in, `Advance | Hold | RollBack | Finish` out: one pure function for the controller and for the simulation.

**Rolling back** rests on evidence alone (`headrace.rollouts.evidence`). It is sought in several places: by each metric,
and from each stage on, as a regression may begin at any. Each place has its part of alpha, fixed beforehand, so that
the whole is at most alpha (Boole's inequality) however the places depend on each other. Averaging them instead would
need one view in which all of them are fair games at once, and there is none: a caller's time-out tells which version
its next error will be of (Choe and Ramdas, "Combining evidence across filtrations", arXiv 2402.09698, 2024).

**Going on** needs, besides time, that no metric is near to rolling back, and that each declared limit is above the
canary's upper bound in this stage alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.rollouts.bounds import more_needed, upper_bound
from headrace.rollouts.counted import Counted
from headrace.rollouts.evidence import SHARE_UNIT, Bad, beginnings, log_evidence_since, log_rate_evidence, log_split
from headrace.rollouts.metrics import Metric
from headrace.rollouts.plan import SPLIT_ALPHA, Limit, RolloutPlan

DOUBT = math.log(10.0)
"""So near to a rollback (a factor of ten) no step is taken: a metric without a bound has no other way to say wait."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stay at one share (basis points) of the traffic: since when (seconds), and what both versions did.

    Stage 0 has share 0: the control is measured.
    """

    number: int
    share: int
    since: float
    canary: Counted
    control: Counted


@dataclass(frozen=True, slots=True)
class Advance:
    """Go on to this share."""

    share: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Stay. `inconclusive`: no longer by itself, a person has to decide."""

    reason: str
    inconclusive: bool = False


@dataclass(frozen=True, slots=True)
class RollBack:
    """Give the canary nothing; `metrics` brought enough evidence, the strongest first."""

    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The canary is the version now."""


Decision = Advance | Hold | RollBack | Finish


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision with what it rests on.

    Args:
        decision: what to do.
        evidence: by metric, as base-10 logarithms, each already divided by the number of places in which it is
            sought (it begins below 0): the canary is rolled back where one reaches log10(1/alpha).
        total: the strongest of them.
        bounds: by metric, the canary's upper bound in this stage.
        split: evidence that callers are not divided as the weights say, against log10(1/`SPLIT_ALPHA`).
        needed: by metric whose bound is still too high, how many more of the canary's answers it takes at least, that
            is with no bad one among them.
    """

    decision: Decision
    evidence: Mapping[Metric, float]
    total: float
    bounds: Mapping[Metric, float]
    split: float
    needed: Mapping[Metric, int] = field(default_factory=dict)


def judge(plan: RolloutPlan, stages: Sequence[Stage], *, now: float) -> Judged:
    """The decision on everything that was counted since the rollout began.

    Args:
        plan: the rollout's rules.
        stages: all of them in their order; the last one is the present.
        now: seconds, on the clock of the stages.
    """
    logs = {limit.metric: _evidence(plan, limit, stages) for limit in plan.limits}
    total = max(logs.values(), default=0.0)
    stage = stages[-1]
    bounds = {limit.metric: _bound(plan, limit, stage) for limit in plan.limits}
    needed = _needed(plan, stage) if stage.share else {}
    split = _split(plan, stages)
    decision = _decision(plan, stage, logs, needed=needed, split=split, now=now)
    ten = math.log(10.0)
    return Judged(decision, {name: log / ten for name, log in logs.items()}, total / ten, bounds, split / ten, needed)


def _decision(
    plan: RolloutPlan,
    stage: Stage,
    logs: Mapping[Metric, float],
    *,
    needed: Mapping[Metric, int],
    split: float,
    now: float,
) -> Decision:
    enough = [metric for metric, log in logs.items() if log >= -math.log(plan.alpha)]
    if enough:
        return RollBack(tuple(sorted(enough, key=lambda metric: -logs[metric])))
    if split >= -math.log(SPLIT_ALPHA):
        return Hold("callers are not divided as the weights say: the counts cannot be trusted", inconclusive=True)
    waited_s = now - stage.since
    expired = waited_s >= plan.step_s_max
    if not stage.share:
        if stage.control.requests >= plan.measure_requests:
            return Advance(plan.steps[0])
        return Hold("measuring the control", inconclusive=expired)
    if waited_s < plan.bake_s:
        return Hold("this step has not lasted long enough")
    doubtful = [metric for metric, log in logs.items() if log >= -math.log(plan.alpha) - DOUBT]
    if doubtful and stage.share < SHARE_UNIT:
        return Hold(f"evidence gathers by {', '.join(doubtful)}", inconclusive=expired)
    if needed:
        return Hold(f"not enough requests to bound {', '.join(needed)}", inconclusive=expired)
    higher = [share for share in plan.steps if share > stage.share]
    return Advance(higher[0]) if higher else Finish()


def _evidence(plan: RolloutPlan, limit: Limit, stages: Sequence[Stage]) -> float:
    """The metric's evidence over its part of alpha."""
    part = -math.log(len(plan.limits))
    if limit.metric == "disagreed":
        compared = [_bad(plan, "disagreed", stage.canary) for stage in stages]
        bad, good = (sum(counts) for counts in zip(*compared, strict=True))
        return part + log_rate_evidence(bad, good, rate_max=limit.rate_max)
    rows = [_row(plan, limit, stage) for stage in stages if 0 < stage.share < SHARE_UNIT]
    if limit.better == "more":
        # Who has bought does not buy again: a good canary's callers have, and would be missed from a later beginning.
        return part + (log_evidence_since(rows, odds_allowed=limit.odds_allowed)[0] if rows else 0.0)
    weights = beginnings(sum(0 < share < SHARE_UNIT for share in plan.steps))
    logs = log_evidence_since(rows, odds_allowed=limit.odds_allowed)
    # A stage that has not begun stands at 0; a stage beyond those that were planned has no weight of its own.
    logs += [0.0] * (len(weights) - len(logs))
    return part + max((math.log(weight) + log for weight, log in zip(weights, logs, strict=False)), default=0.0)


def _row(plan: RolloutPlan, limit: Limit, stage: Stage) -> Bad:
    canary, control = (_attributed(plan, limit.metric, arm) for arm in (stage.canary, stage.control))
    if limit.better == "more":
        # Good events: it counts against the canary when they are the control's.
        return Bad(SHARE_UNIT - stage.share, control, canary)
    return Bad(stage.share, canary, control)


def _attributed(plan: RolloutPlan, metric: Metric, arm: Counted) -> int:
    """Callers that met the metric's event."""
    if metric == "outcome" and plan.outcome in arm.outcomes:
        return arm.outcomes[plan.outcome].count
    return arm.attributed(metric)


def _bad(plan: RolloutPlan, metric: Metric, arm: Counted) -> tuple[int, int]:
    """Events, and those that could have been and were not."""
    bad = arm.count(metric)
    if metric == "outcome" and plan.outcome in arm.outcomes:
        bad = arm.outcomes[plan.outcome].count
    # What was never looked for has not been found missing: without a reference nothing is slower or unsure.
    trials = arm.of.get(metric, 0) if metric in {"disagreed", "slower", "unsure"} else arm.trials(metric)
    return bad, max(0, trials - bad)


def _bound(plan: RolloutPlan, limit: Limit, stage: Stage) -> float:
    bad, good = _bad(plan, limit.metric, stage.canary)
    return upper_bound(bad, good, alpha=1.0 - plan.confidence)


def _needed(plan: RolloutPlan, stage: Stage) -> dict[Metric, int]:
    found: dict[Metric, int] = {}
    for limit in plan.limits:
        if not limit.bounded or (limit.metric == "disagreed" and stage.share >= SHARE_UNIT):
            # With all of the traffic the canary's, there is nothing left to copy.
            continue
        bad, good = _bad(plan, limit.metric, stage.canary)
        more = more_needed(bad, good, limit=limit.rate_max, alpha=1.0 - plan.confidence)
        if more:
            found[limit.metric] = more
    return found


def _split(plan: RolloutPlan, stages: Sequence[Stage]) -> float:
    """Each stage by itself, over its part: the callers of a stage are for the most part those of the one before."""
    both = [stage for stage in stages if 0 < stage.share < SHARE_UNIT]
    if not both:
        return 0.0
    parts = max(len(both), sum(0 < share < SHARE_UNIT for share in plan.steps))
    logs = [log_split({stage.share: (stage.canary.callers, stage.control.callers)}) for stage in both]
    return max(logs) - math.log(parts)
