"""What a person may do to a rollout: start, pause, resume, promote and abort. Each is one `Change`, or a refusal.

All take the record and the routing document as they stand; the change applies only while they still do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from headrace.catalog import Endpoint, Version
from headrace.errors import InvalidRequest
from headrace.rollouts.plan import RolloutPlan, problems
from headrace.rollouts.states import WHY_MAX_CHARS, Decision, Rollout, StageRecord
from headrace.rollouts.store import Change
from headrace.rollouts.turns import Counts, carrying, ended, moved, noted
from headrace.routing import changes
from headrace.routing.capabilities import serves_less
from headrace.routing.document import WEIGHT_SUM, Routing

COOLDOWN_S = 600.0
"""The same artifact is not tried again sooner after it was rolled back: what was wrong with it is likely to be yet."""


def start(
    endpoint: Endpoint,
    canary: str,
    routing: Routing,
    *,
    earlier: Sequence[Rollout],
    plan: RolloutPlan,
    rollout_id: str,
    now: float,
    who: str,
    why: str,
    again: bool = False,
) -> Change:
    """A new rollout: its record, its first entry in the history, and the routing document, at share 0.

    A canary that has some of the traffic already gives it to the others; an abort gives it back, a rollback does not.

    Args:
        endpoint: as it is deployed.
        canary: the version that is new.
        routing: the document in force, or the declaration's own.
        earlier: rollouts of this endpoint, the newest first.
        plan: the rules.
        rollout_id: a new one.
        now: seconds since the epoch.
        who: for the record.
        why: for the record.
        again: whether a version that was rolled back may be tried again.

    Raises:
        UnknownTarget: the endpoint has no such version.
        InvalidRequest: it cannot be rolled out, or not now; `code` says why.
    """
    _require_why(why)
    if found := problems(plan):
        raise InvalidRequest("; ".join(found), code="invalid_plan", field=found[0].partition(":")[0])
    version = endpoint.version(canary)
    if version.hosting != "endpoint":
        raise InvalidRequest(f"{canary} runs in the stand-in function and takes no traffic.", code="version_not_hosted")
    if earlier and earlier[0].active:
        raise InvalidRequest(
            f"{earlier[0].rollout_id} rolls {earlier[0].canary} out already: abort it first, or wait for its end.",
            code="rollout_active",
        )
    if routing.weights.get(canary, 0) >= WEIGHT_SUM:
        raise InvalidRequest(f"{canary} has all traffic already: there is nothing beside it.", code="already_serving")
    _require_as_much_served(endpoint, version, routing)
    _require_tried_again(canary, version.artifact, routing, earlier, now=now, again=again)
    rollout = Rollout(
        rollout_id=rollout_id,
        endpoint=endpoint.name,
        canary=canary,
        digest=version.artifact,
        baseline=dict(routing.weights),
        plan=plan,
        state="measuring",
        stages=(StageRecord(0, 0, now),),
        started_at=now,
        updated_at=now,
        who=who,
        why=why,
        execution=execution_name(rollout_id, 0),
        noted_at=now,
        withdrawn_by=routing.withdrawn.get(canary, ""),
    )
    free = changes.without_withdrawn(routing, canary)
    carried = carrying(free, rollout, who=who, why=why, at=now)
    decision = Decision(
        number=0, at=now, who=who, what="start", why=why, stage=0, share=0, weights=dict(carried.weights)
    )
    return Change(rollout, decision, carried)


def execution_name(rollout_id: str, renewals: int) -> str:
    """The execution that looks after a rollout. Names are used once."""
    return f"{rollout_id}-r{renewals}"


def renewed(rollout: Rollout) -> Rollout:
    """The record, one version on, with a new execution: the one before ends when it next looks."""
    renewals = rollout.renewals + 1
    return replace(
        rollout,
        renewals=renewals,
        execution=execution_name(rollout.rollout_id, renewals),
        renewed_turns=rollout.turns,
        version=rollout.version + 1,
    )


def pause(rollout: Rollout, routing: Routing, *, now: float, who: str, why: str) -> Change:
    """Stay at the present share until resumed; bad evidence still rolls back.

    Raises:
        InvalidRequest: it is over, or paused already.
    """
    _require_active(rollout)
    _require_why(why)
    if rollout.state == "paused":
        raise InvalidRequest("This rollout is paused already.", code="rollout_paused")
    after = replace(rollout, state="paused", reason=why)
    return noted(rollout, routing, after, now=now, who=who, what="pause", why=why)


def resume(rollout: Rollout, routing: Routing, *, now: float, who: str, why: str) -> Change:
    """Go on from a pause, or from an inconclusive step: the step's time begins anew, and its counts go on.

    Raises:
        InvalidRequest: it is over, or goes on by itself.
    """
    _require_active(rollout)
    _require_why(why)
    if rollout.state not in {"paused", "inconclusive"}:
        raise InvalidRequest("This rollout goes on by itself.", code="rollout_running")
    stages = (*rollout.stages[:-1], replace(rollout.stage, since=now))
    after = replace(rollout, state="running" if rollout.stage.number else "measuring", reason="", stages=stages)
    return noted(rollout, routing, after, now=now, who=who, what="resume", why=why)


def promote(
    rollout: Rollout, routing: Routing, counts: Counts, *, to: int | None, now: float, who: str, why: str
) -> Change:
    """Go on to a later step without waiting for its bounds; past the last step the rollout is finished.

    Args:
        rollout: as it stands.
        routing: as it stands.
        counts: of this rollout: what the decision was taken in spite of is kept with it.
        to: the step's share in basis points; the next one without it.
        now: seconds since the epoch.
        who: for the record.
        why: for the record.

    Raises:
        InvalidRequest: it is over, or has no such step ahead.
    """
    _require_active(rollout)
    _require_why(why)
    ahead = [share for share in rollout.plan.steps if share > rollout.stage.share]
    if to is not None and to not in ahead:
        shown = ", ".join(f"{share / 100:g}" for share in ahead) or "none"
        raise InvalidRequest(f"The steps ahead are {shown} percent.", code="no_such_step", field="to")
    if not ahead:
        return ended(rollout, routing, counts, state="finished", now=now, who=who, what="promote", why=why)
    share = ahead[0] if to is None else to
    return moved(rollout, routing, share, counts, now=now, who=who, why=why)


def abort(rollout: Rollout, routing: Routing, counts: Counts, *, now: float, who: str, why: str) -> Change:
    """End it, with the weights from before; nothing is held against the version.

    Raises:
        InvalidRequest: it is over.
    """
    _require_active(rollout)
    _require_why(why)
    return ended(rollout, routing, counts, state="aborted", now=now, who=who, what="abort", why=why)


def _require_as_much_served(endpoint: Endpoint, canary: Version, routing: Routing) -> None:
    """With all traffic the canary has the callers of every other version, and no evidence would tell of those refused.

    One that has traffic already leaves its callers to the others, at first and after a rollback.

    Raises:
        InvalidRequest: it may not serve all whom a version with traffic may, or no such version all whom it serves.
    """
    others = [each for each in endpoint.hosted if each != canary and routing.weights.get(each.name, 0) > 0]
    for other in others:
        if less := serves_less(endpoint, canary, other):
            raise InvalidRequest(
                f"{canary.name} serves less than {other.name}, which has traffic: {', '.join(less)}. Once it had all "
                f"traffic, callers would be refused: declare as much for it, or take the traffic from {other.name}.",
                code="serves_less",
            )
    served = routing.weights.get(canary.name, 0) > 0
    if served and others and all(serves_less(endpoint, other, canary) for other in others):
        raise InvalidRequest(
            f"{canary.name} serves callers already whom no other version may serve, and would lose them while the "
            "others are measured: give its traffic to the others first.",
            code="serves_alone",
        )


def _require_tried_again(
    canary: str, digest: str, routing: Routing, earlier: Sequence[Rollout], *, now: float, again: bool
) -> None:
    if canary in routing.withdrawn and not again:
        raise InvalidRequest(
            f"{canary} was rolled back by {routing.withdrawn[canary]}: see its history, and start with --again.",
            code="version_withdrawn",
        )
    for rollout in earlier:
        if rollout.state == "rolled_back" and rollout.digest == digest:
            left_s = rollout.updated_at + COOLDOWN_S - now
            if left_s > 0:
                raise InvalidRequest(
                    f"This artifact was rolled back a moment ago: it may be tried again in {math.ceil(left_s)} s.",
                    code="cooling_down",
                )
            return


def _require_active(rollout: Rollout) -> None:
    if not rollout.active:
        over: Mapping[str, str] = {"rolled_back": "rolled back"}
        raise InvalidRequest(f"This rollout is over: {over.get(rollout.state, rollout.state)}.", code="rollout_over")


def _require_why(why: str) -> None:
    if not why.strip() or len(why) > WHY_MAX_CHARS:
        raise InvalidRequest(f"Say why, in at most {WHY_MAX_CHARS} characters.", code="why_missing", field="why")
