"""What an experiment's counts say: each arm's measure, the difference to the control with its interval, and harm.

The interval may be looked at at any time (`headrace.rollouts.estimates`); with several arms beside the control each has
its part of alpha (Bonferroni). Guardrails are the error-attribution evidence that guards rollouts too
(`headrace.rollouts.evidence`), with the arm's weight in place of the canary's share: arms that are no worse than the
control are stopped with probability at most `guard_alpha`, however long the experiment runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.rollouts.counted import NOTHING, Counted, Values
from headrace.rollouts.estimates import Interval, interval
from headrace.rollouts.evidence import Bad, log_evidence, log_split
from headrace.rollouts.experiments import ExperimentPlan, ExperimentRun
from headrace.rollouts.metrics import Metric
from headrace.rollouts.plan import SPLIT_ALPHA
from headrace.routing.checks import CONTROL_ARM
from headrace.routing.document import WEIGHT_SUM

STAGE = 0
"""An experiment has one stage: its weights do not change."""
_LOG_MAX = 1e6
"""Beyond it evidence is only "overwhelming", and JSON has no infinity."""
_LN10 = math.log(10.0)

Counts = Mapping[tuple[int, str], Counted]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What is known of one arm.

    Args:
        arm, version: which one.
        callers: exposed.
        outcomes: callers that posted the outcome.
        mean: of the measure per caller: the rate, or the mean value. None without callers.
        difference: to the control with its interval; None for the control itself, and before there is anything.
        evidence: that a guardrail's metric is worse than the control's, base-10 logarithms by metric, each over its
            part of alpha; `guard` is the strongest, against `guard_needed`.
    """

    arm: str
    version: str
    callers: int
    outcomes: int
    mean: float | None
    difference: Interval | None = None
    evidence: Mapping[Metric, float] = field(default_factory=dict)
    guard: float = 0.0


@dataclass(frozen=True, slots=True)
class Assessment:
    """What an experiment's counts say.

    Args:
        arms: the control first.
        guard_needed: the base-10 logarithm at which a guardrail stops it.
        split: evidence that callers are not divided as the weights say; `undivided` where it is enough.
    """

    arms: tuple[ArmResult, ...]
    guard_needed: float
    split: float
    undivided: bool

    @property
    def breached(self) -> ArmResult | None:
        """The arm that a guardrail stops it for."""
        return next((arm for arm in self.arms if arm.guard >= self.guard_needed), None)

    @property
    def known(self) -> bool:
        """Whether every arm's interval excludes that there is no difference."""
        differences = [arm.difference for arm in self.arms if arm.arm != CONTROL_ARM]
        return all(d is not None and (d.low > 0.0 or d.high < 0.0) for d in differences)


def assess(run: ExperimentRun, counts: Counts) -> Assessment:
    """What the counts of an experiment say.

    Args:
        run: its record.
        counts: by stage and arm, all processes' added up.
    """
    counted = {arm: counts.get((STAGE, arm), NOTHING) for arm in run.arms}
    control = counted[CONTROL_ARM]
    among = len(run.treatments)
    results = [_result(run, CONTROL_ARM, control)]
    split = 0.0
    for arm in run.treatments:
        share = round(WEIGHT_SUM * run.weights[arm] / max(1, run.weights[arm] + run.weights[CONTROL_ARM]))
        logs = {
            guard.metric: log_evidence(
                [Bad(share, counted[arm].attributed(guard.metric), control.attributed(guard.metric))],
                odds_allowed=guard.odds_allowed,
            )
            for guard in run.plan.guardrails
        }
        # Each guardrail has its part of alpha, fixed beforehand, as each metric of a rollout has (see `decide`).
        part = math.log(max(1, len(logs)))
        evidence = {metric: _tens(log - part) for metric, log in logs.items()}
        split = max(split, log_split({share: (counted[arm].callers, control.callers)}))
        results.append(
            replace(
                _result(run, arm, counted[arm]),
                difference=_difference(run.plan, control, counted[arm], among=among),
                evidence=evidence,
                guard=max(evidence.values(), default=0.0),
            )
        )
    return Assessment(
        arms=tuple(results),
        guard_needed=math.log10(among / run.plan.guard_alpha),
        split=_tens(split),
        undivided=split >= math.log(among / SPLIT_ALPHA),
    )


def _result(run: ExperimentRun, arm: str, counted: Counted) -> ArmResult:
    measured = _measured(run.plan, counted)
    mean = measured.total / measured.count if measured.count else None
    posted = counted.outcomes.get(run.plan.outcome, Values()).count
    return ArmResult(arm, run.arms[arm], measured.count, posted, mean)


def _measured(plan: ExperimentPlan, counted: Counted) -> Values:
    """The measure of all exposed callers: 1 or 0, or the value and 0 for those that posted none."""
    posted = counted.outcomes.get(plan.outcome, Values())
    # A caller's exposure may have been lost where its outcome was not: it was exposed all the same.
    callers = max(counted.callers, posted.count)
    if plan.kind == "conversion":
        return Values(callers, float(posted.count), float(posted.count))
    return Values(callers, posted.total, posted.squares)


def _difference(plan: ExperimentPlan, control: Counted, treatment: Counted, *, among: int) -> Interval | None:
    one, other = _measured(plan, control), _measured(plan, treatment)
    if not one.count or not other.count:
        return None
    alpha = plan.alpha / among
    if plan.kind == "conversion":
        return interval((round(one.total), one.count), (round(other.total), other.count), alpha)
    return interval(one, other, alpha)


def _tens(log: float) -> float:
    return max(-_LOG_MAX, min(_LOG_MAX, log / _LN10))
