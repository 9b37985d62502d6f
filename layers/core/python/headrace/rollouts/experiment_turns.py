"""An experiment's turns: how one begins, what one look at it comes to, and how one ends. All of it pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest
from headrace.rollouts.assessing import Assessment, Counts, assess
from headrace.rollouts.experiments import ExperimentChange, ExperimentRun, ExperimentState
from headrace.rollouts.outcomes import NAME as EVENT_NAME
from headrace.rollouts.states import WHY_MAX_CHARS
from headrace.routing.changes import refuse_problems, with_experiment, without_experiment
from headrace.routing.document import Routing

WAIT_MAX_S = 60
"""However rarely a plan looks: a dead execution is told from a slow one by this."""
CONTROLLER = "controller"
_EVENT = re.compile(EVENT_NAME)
_ARM = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True, slots=True)
class TurnedExperiment:
    """What one look came to: what to write, whole seconds until the next look, and whether there is one."""

    change: ExperimentChange | None
    wait_s: int = 0
    again: bool = False


def start_experiment(
    run: ExperimentRun, endpoint: Endpoint, routing: Routing, *, standing: Iterable[ExperimentRun]
) -> ExperimentChange:
    """A new experiment: its record, and the routing document that carries it.

    Args:
        run: the record, version 1.
        endpoint: as it is deployed.
        routing: the document in force, or the declaration's own.
        standing: the last experiment of every name on this endpoint.

    Raises:
        InvalidRequest: it cannot be started, or not now; `field` says what to change.
    """
    plan = run.plan
    if not run.why.strip() or len(run.why) > WHY_MAX_CHARS:
        raise InvalidRequest(f"Say why, in at most {WHY_MAX_CHARS} characters.", code="why_missing", field="why")
    if not _EVENT.fullmatch(plan.outcome):
        raise InvalidRequest(
            "Name the event that callers post back: letters, digits, '.', '_' and '-', at most 64.",
            code="invalid_outcome",
            field="outcome",
        )
    if not all(_ARM.fullmatch(arm) for arm in run.arms):
        raise InvalidRequest(
            "Name an arm with a-z, 0-9 and '-', at most 31 characters.", code="invalid_arms", field="arms"
        )
    if not (0 < plan.alpha < 1 and 0 < plan.guard_alpha < 1):
        raise InvalidRequest("alpha is a probability, above 0 and below 1.", code="invalid_alpha", field="alpha")
    if not 0 <= plan.min_s <= plan.max_s or plan.max_s <= 0 or plan.look_s <= 0:
        raise InvalidRequest("The least time must not be above the longest.", code="invalid_times", field="max")
    if min(run.weights.values(), default=0) <= 0:
        raise InvalidRequest("Every arm needs a weight above 0.", code="invalid_weights", field="weights")
    if any(not 1.0 <= guardrail.odds_allowed < math.inf for guardrail in plan.guardrails):
        raise InvalidRequest("A guardrail allows odds of 1 or more.", code="invalid_guardrail", field="guardrails")
    if len(set(run.arms.values())) < len(run.arms):
        raise InvalidRequest("Each arm needs a version of its own.", code="invalid_arms", field="arms")
    if any(other.name == run.name and other.active for other in standing):
        raise InvalidRequest(
            f"An experiment called {run.name} runs on this endpoint: stop it first, or choose another name.",
            code="experiment_active",
            field="name",
        )
    why = f"experiment {run.name}: {run.why}"
    after = with_experiment(routing, run.routed(), who=run.who, why=why, at=run.started_at)
    refuse_problems(after, endpoint)
    return ExperimentChange(run, after)


def turn_experiment(run: ExperimentRun, routing: Routing, counts: Counts, *, now: float) -> TurnedExperiment:
    """One look at an experiment.

    Args:
        run: its record as it stands.
        routing: the document in force, or the declaration's own where none was ever written.
        counts: of this experiment.
        now: seconds since the epoch.
    """
    if not run.active:
        return TurnedExperiment(None)
    after = replace(run, turned_at=now, updated_at=now, turns=run.turns + 1, version=run.version + 1)
    over = _over(run, routing, assess(run, counts), now=now)
    if over is not None:
        state, reason = over
        return TurnedExperiment(_ended(after, routing, state, reason, who=CONTROLLER, now=now))
    wait_s = max(1, min(WAIT_MAX_S, math.ceil(run.plan.look_s)))
    return TurnedExperiment(ExperimentChange(after), wait_s, again=True)


def stopped(run: ExperimentRun, routing: Routing, *, who: str, why: str, now: float) -> ExperimentChange:
    """The end because a person says so."""
    after = replace(run, updated_at=now, turns=run.turns + 1, version=run.version + 1)
    return _ended(after, routing, "ended", why, who=who, now=now)


def execution_name(experiment_id: str, renewals: int) -> str:
    """The execution that looks after an experiment. Names are used once."""
    return f"{experiment_id}-r{renewals}"


def _over(run: ExperimentRun, routing: Routing, found: Assessment, *, now: float) -> tuple[ExperimentState, str] | None:
    breached = found.breached
    if breached is not None:
        worst = max(breached.evidence, key=lambda metric: breached.evidence[metric])
        return "stopped_by_guardrail", f"callers of arm {breached.arm} met '{worst}' more often than the control's"
    if not any(each.experiment_id == run.experiment_id for each in routing.experiments):
        return "ended", "the routing document no longer carries it"
    lasted_s = now - run.started_at
    if run.plan.conclude and lasted_s >= run.plan.min_s and found.known and not found.undivided:
        return "concluded", "every arm's interval excludes that there is no difference"
    if lasted_s >= run.plan.max_s:
        return "ended", "its time is over" + ("; callers were not divided as declared" if found.undivided else "")
    return None


def _ended(
    after: ExperimentRun, routing: Routing, state: ExperimentState, reason: str, *, who: str, now: float
) -> ExperimentChange:
    carried = any(each.experiment_id == after.experiment_id for each in routing.experiments)
    ended = replace(after, state=state, reason=reason)
    if not carried:
        return ExperimentChange(ended)
    why = f"experiment {after.name}: {reason}"
    return ExperimentChange(ended, without_experiment(routing, after.name, who=who, why=why, at=now))
