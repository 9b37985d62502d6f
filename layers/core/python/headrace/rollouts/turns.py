"""One turn of a rollout: counts in, and out what is to be written, how long to wait, and whether to look again.

Everything that a turn changes is one `Change`, written together or not at all. A controller that dies anywhere, and a
turn that is taken twice, therefore leave a whole state, and the next turn goes on from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from headrace.rollouts.counted import NOTHING, SURENESS_BUCKETS, Counted, bucket_ms, quantile
from headrace.rollouts.decide import Advance, Finish, Hold, Judged, RollBack, Stage, judge
from headrace.rollouts.documents import dump_counted
from headrace.rollouts.states import CANARY, CONTROL, WHY_MAX_CHARS, Decision, Rollout, RolloutState, StageRecord
from headrace.rollouts.store import Change
from headrace.routing import changes
from headrace.routing.document import Canary, Routing, Shadow

CONTROLLER = "controller"
WAIT_MAX_S = 60
"""However rarely a plan looks: an operator's word is seen, and a dead execution is told from a slow one, by this."""
RENEW_AFTER_TURNS = 2_000
"""A turn makes nine entries in the history of its execution, which ends at 25,000 (Step Functions quotas)."""
HISTORY_PART = 200
"""A hold is noted when a 200th of the rollout's time has passed since the last entry: some thousand entries a week."""
SLOWER_THAN = 0.95
UNSURE_BELOW = 0.05
_ENDS = {"rolled_back": changes.rolled_back, "finished": changes.finished, "aborted": changes.aborted}
_LOG_MAX = 1e6
"""Beyond it evidence is only "overwhelming", and JSON has no infinity."""

Counts = Mapping[tuple[int, str], Counted]
"""By stage and arm, all processes' counts added up."""


@dataclass(frozen=True, slots=True)
class Turned:
    """What one turn came to.

    Args:
        change: to be written; None where there is nothing to change.
        wait_s: whole seconds until the next turn.
        again: whether there is one.
    """

    change: Change | None
    wait_s: int = 0
    again: bool = False


def turn(rollout: Rollout, routing: Routing, counts: Counts, *, now: float, readable: bool = True) -> Turned:
    """One look at a rollout.

    Args:
        rollout: its record as it stands.
        routing: the document in force, or the declaration's own where none was ever written.
        counts: of this rollout.
        now: seconds since the epoch.
        readable: whether `routing` is the document in force; else it is the last good one, from which a rollback can
            be made, but no advance: what is in force may mean more than is understood here.
    """
    if not rollout.active:
        return Turned(None)
    judged = judge(rollout.plan, stages_of(rollout, counts), now=now)
    look = _Look(rollout, routing, counts, judged, now, readable)
    change = _decided(look)
    wait_s = max(1, min(WAIT_MAX_S, math.ceil(rollout.plan.look_s)))
    return Turned(change, wait_s, again=change.rollout.active)


def stages_of(rollout: Rollout, counts: Counts) -> list[Stage]:
    """All stages with what both arms did in them, as they are judged."""
    return [
        Stage(
            number=stage.number,
            share=stage.share,
            since=stage.since,
            canary=counts.get((stage.number, CANARY), NOTHING),
            control=counts.get((stage.number, CONTROL), NOTHING),
        )
        for stage in rollout.stages
    ]


def rolled_back(rollout: Rollout, routing: Routing, *, now: float, who: str, why: str) -> Change:
    """The rollback that something outside the statistics asks for, such as an alarm of the canary's variant."""
    return _ended(_Look(rollout, routing, {}, None, now), "rolled_back", who=who, what="roll_back", why=why)


def moved(rollout: Rollout, routing: Routing, share: int, counts: Counts, *, now: float, who: str, why: str) -> Change:
    """The next stage because a person says so, at this share; see `headrace.rollouts.actions`."""
    judged = judge(rollout.plan, stages_of(rollout, counts), now=now)
    return _advanced(_Look(rollout, routing, counts, judged, now), share, who=who, what="promote", why=why)


def ended(
    rollout: Rollout,
    routing: Routing,
    counts: Counts,
    *,
    state: Literal["aborted", "finished"],
    now: float,
    who: str,
    what: str,
    why: str,
) -> Change:
    """The end because a person says so: `aborted`, or `finished`."""
    judged = judge(rollout.plan, stages_of(rollout, counts), now=now)
    return _ended(_Look(rollout, routing, counts, judged, now), state, who=who, what=what, why=why)


def noted(rollout: Rollout, routing: Routing, after: Rollout, *, now: float, who: str, what: str, why: str) -> Change:
    """The record `after`, one version on, with an entry of the history; traffic stays as it is."""
    return _noted(_Look(rollout, routing, {}, None, now), after, routing.weights, who=who, what=what, why=why)


@dataclass(frozen=True, slots=True)
class _Look:
    rollout: Rollout
    routing: Routing
    counts: Counts
    judged: Judged | None
    now: float
    readable: bool = True

    @property
    def displaced(self) -> bool:
        """Whether somebody wrote a routing document that knows nothing of this rollout."""
        canary = self.routing.canary
        return canary is None or canary.rollout_id != self.rollout.rollout_id


def _decided(look: _Look) -> Change:
    rollout, judged = look.rollout, look.judged
    assert judged is not None  # noqa: S101 - a turn always judges
    decision = judged.decision
    if isinstance(decision, RollBack):
        why = f"the canary does worse than the control: {', '.join(decision.metrics)}"
        return _ended(look, "rolled_back", who=CONTROLLER, what="roll_back", why=why)
    if rollout.state in {"paused", "inconclusive"}:
        return _held(look, rollout.state, rollout.reason)
    if not look.readable:
        return _held(look, "inconclusive", "the routing document in force cannot be read; restore an earlier one")
    if look.displaced:
        return _held(look, "inconclusive", "the routing document no longer carries this rollout")
    match decision:
        case Advance(share) if rollout.state == "measuring":
            return _advanced(look, share, who=CONTROLLER, what="measured", why="the control is measured")
        case Advance(share):
            return _advanced(look, share, who=CONTROLLER, what="advance", why="all bounds are reached")
        case Finish():
            return _ended(look, "finished", who=CONTROLLER, what="finish", why="all steps are passed")
        case Hold(reason, inconclusive):
            return _held(look, "inconclusive" if inconclusive else rollout.state, reason)


def _held(look: _Look, state: RolloutState, reason: str) -> Change:
    rollout = look.rollout
    after = replace(rollout, state=state, reason=reason)
    news = (state, reason) != (rollout.state, rollout.reason)
    pause_s = max(rollout.plan.look_s, (look.now - rollout.started_at) / HISTORY_PART)
    if not news and look.now - rollout.noted_at < pause_s:
        return Change(_written(after, look.now, who=CONTROLLER))
    what = "inconclusive" if state == "inconclusive" != rollout.state else "hold"
    return _noted(look, after, look.routing.weights, who=CONTROLLER, what=what, why=reason)


def _advanced(look: _Look, share: int, *, who: str, what: str, why: str) -> Change:
    rollout, past = look.rollout, look.rollout.stage
    control = look.counts.get((past.number, CONTROL), NOTHING)
    # References of an hour ago say little where load has changed since. They are set before the stage that they judge,
    # so that its evidence stays an e-process.
    if not past.number or control.requests >= rollout.plan.measure_requests:
        rollout = _with_references(rollout, control)
    stage = StageRecord(rollout.stage.number + 1, share, look.now)
    after = replace(rollout, state="running", reason="", stages=(*rollout.stages, stage))
    routing = carrying(look.routing, after, who=who, why=why, at=look.now)
    return replace(_noted(look, after, routing.weights, who=who, what=what, why=why), routing=routing)


def _ended(look: _Look, state: RolloutState, *, who: str, what: str, why: str) -> Change:
    after = replace(look.rollout, state=state, reason=why)
    routing = _ENDS[state](look.routing, look.rollout, who=who, why=_titled(after, why), at=look.now)
    return replace(_noted(look, after, routing.weights, who=who, what=what, why=why), routing=routing)


def carrying(routing: Routing, rollout: Rollout, *, who: str, why: str, at: float) -> Routing:
    """The routing document that gives the rollout's canary the share of its present stage."""
    plan, stage = rollout.plan, rollout.stage
    canary = Canary(
        rollout_id=rollout.rollout_id,
        version=rollout.canary,
        stage=stage.number,
        share=stage.share,
        slower_ms=rollout.slower_ms,
        unsure_below=rollout.unsure_below,
        outcome=plan.outcome,
    )
    return changes.with_canary(
        routing,
        canary,
        baseline=rollout.baseline,
        shadow=Shadow(rollout.canary, plan.shadow) if plan.shadow else None,
        who=who,
        why=_titled(rollout, why),
        at=at,
    )


def _with_references(rollout: Rollout, control: Counted) -> Rollout:
    """The rollout with the references that its metrics compare with, as far as the control has shown them."""
    asked = {limit.metric for limit in rollout.plan.limits}
    slow, unsure = quantile(control.times, SLOWER_THAN), quantile(control.sureness, UNSURE_BELOW)
    return replace(
        rollout,
        slower_ms=bucket_ms(slow) if slow is not None and "slower" in asked else rollout.slower_ms,
        # The upper edge of the bucket: a control that is often wholly unsure still has answers below it.
        unsure_below=(
            (unsure + 1) / SURENESS_BUCKETS if unsure is not None and "unsure" in asked else rollout.unsure_below
        ),
    )


def _noted(look: _Look, after: Rollout, weights: Mapping[str, int], *, who: str, what: str, why: str) -> Change:
    """The record with one more entry in the history."""
    rollout, judged = look.rollout, look.judged
    stage = rollout.stage
    written = _written(replace(after, noted_at=look.now), look.now, who=who)
    counts = {
        arm: dump_counted(counted)
        for arm in (CANARY, CONTROL)
        if (counted := look.counts.get((stage.number, arm))) is not None
    }
    decision = Decision(
        number=written.turns,
        at=look.now,
        who=who,
        what=what,
        why=why,
        stage=stage.number,
        share=stage.share,
        weights=dict(weights),
        counts=counts,
    )
    if judged is not None:
        decision = replace(
            decision,
            evidence={metric: _finite(log) for metric, log in judged.evidence.items()},
            total=_finite(judged.total),
            split=_finite(judged.split),
            bounds={metric: _finite(bound) for metric, bound in judged.bounds.items()},
        )
    return Change(written, decision)


def _written(after: Rollout, now: float, *, who: str) -> Rollout:
    # What a person does is no sign that the controller lives.
    turned_at = now if who == CONTROLLER else after.turned_at
    return replace(after, turns=after.turns + 1, turned_at=turned_at, updated_at=now, version=after.version + 1)


def _titled(rollout: Rollout, why: str) -> str:
    """What the routing document's own history says of a change by this rollout."""
    return f"rollout of {rollout.canary}: {why}"[:WHY_MAX_CHARS]


def _finite(log: float) -> float:
    return max(-_LOG_MAX, min(_LOG_MAX, log))
