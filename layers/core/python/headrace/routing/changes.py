"""Every change of a routing document, as a function from the one in force to the next.

Each gives the version that follows, with who, why and when, and settles whose the slots are. No change gives weight to
a version that was rolled back, and nobody but its rollout changes weights while one is under way.

`with_canary`, `rolled_back`, `finished` and `aborted` are a rollout's own; the rest are a person's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest
from headrace.rollouts.states import Rollout
from headrace.routing.checks import CODE, VERSIONS_MAX, WHY_MAX_CHARS, check, problems
from headrace.routing.document import EVERYONE, WEIGHT_SUM, Canary, Experiment, Group, Routing, Shadow, Slots, Sticky
from headrace.routing.kept import dump, parse
from headrace.routing.slots import allot, drawn_as, first_slots, mix, scaled

__all__ = [
    "aborted",
    "check",
    "dump",
    "finished",
    "mix",
    "of_declaration",
    "parse",
    "pinned",
    "refuse_during_rollout",
    "refuse_problems",
    "replaced",
    "restored",
    "reweighted",
    "rolled_back",
    "settled",
    "slots_in_force",
    "unpinned",
    "with_canary",
    "with_experiment",
    "without_experiment",
    "without_withdrawn",
]

WRITTEN_MAX_BYTES = 250_000
"""Well below what functions read (`headrace.routing.kept.BYTES_MAX`): slots come in more pieces while a rollout goes
on, and what has begun must be able to go on and to end."""


def of_declaration(endpoint: Endpoint) -> Routing:
    """The document that says what the declaration says: version 0, declared weights scaled to the whole."""
    weights = scaled({version.name: version.weight for version in endpoint.hosted})
    return settled(Routing(endpoint=endpoint.name, weights=weights))


def settled(routing: Routing, before: Routing | None = None) -> Routing:
    """The document with the slots that its weights ask for, moving as few as there can be since `before`."""
    salt = routing.canary.rollout_id if routing.canary is not None else str(routing.version)
    old = {} if before is None else _all_slots(before)
    slots = {
        name: allot(weights, old.get(name, ()), name=drawn_as(routing.endpoint, name), salt=salt)
        for name, weights in _all_weights(routing).items()
    }
    return replace(routing, slots=slots)


def reweighted(routing: Routing, weights: Mapping[str, int], *, who: str, why: str, at: float) -> Routing:
    """Other weights. Versions that are not named get none.

    Raises:
        InvalidRequest: a rollout is under way, the sum is not the whole, or a version was rolled back.
    """
    if any(weights.get(name, 0) != routing.weights.get(name, 0) for name in {*weights, *routing.weights}):
        refuse_during_rollout(routing, "weights")
    named = {**dict.fromkeys(routing.weights, 0), **weights}
    return _next(routing, replace(routing, weights=named), who=who, why=why, at=at)


def pinned(routing: Routing, tenant: str, version: str, *, who: str, why: str, at: float) -> Routing:
    """One tenant is served by one version, where that may serve it.

    Raises:
        InvalidRequest: the version was rolled back, or that is no tenant's name.
    """
    return _next(routing, replace(routing, pins={**routing.pins, tenant: version}), who=who, why=why, at=at)


def unpinned(routing: Routing, tenant: str, *, who: str, why: str, at: float) -> Routing:
    """The tenant is served as all others are.

    Raises:
        InvalidRequest: it is not pinned.
    """
    if tenant not in routing.pins:
        raise InvalidRequest("This tenant is not pinned: there is nothing to take away.", code=CODE, field="pins")
    pins = {name: version for name, version in routing.pins.items() if name != tenant}
    return _next(routing, replace(routing, pins=pins), who=who, why=why, at=at)


def replaced(
    routing: Routing,
    *,
    weights: Mapping[str, int],
    sticky: Sticky,
    groups: tuple[Group, ...],
    pins: Mapping[str, str],
    shadow: Shadow | None,
    who: str,
    why: str,
    at: float,
) -> Routing:
    """All that people say, at once; canary, experiments and what was withdrawn have owners of their own, and stay.

    Raises:
        InvalidRequest: a rollout is under way and more than pins and groups would change, or the document contradicts
            itself.
    """
    named = {**dict.fromkeys(routing.weights, 0), **weights}
    if named != routing.weights:
        refuse_during_rollout(routing, "weights")
    if sticky != routing.sticky:
        refuse_during_rollout(routing, "sticky")
    if shadow != routing.shadow:
        refuse_during_rollout(routing, "shadow")
    after = replace(routing, weights=named, sticky=sticky, groups=groups, pins=dict(pins), shadow=shadow)
    return _next(routing, after, who=who, why=why, at=at)


def restored(routing: Routing, old: Routing, *, who: str, why: str, at: float) -> Routing:
    """What people said in an earlier document, in force again, and every caller with the version that it had then.

    Raises:
        InvalidRequest: as `replaced` does; a version that was rolled back since gets nothing.
    """
    said = replaced(
        routing,
        weights=old.weights,
        sticky=old.sticky,
        groups=old.groups,
        pins=old.pins,
        shadow=old.shadow,
        who=who,
        why=why,
        at=at,
    )
    if routing.canary is not None:
        return said
    return settled(said, replace(old, slots=_all_slots(old)))


def with_experiment(routing: Routing, experiment: Experiment, *, who: str, why: str, at: float) -> Routing:
    """One more experiment, or the one of the same name changed.

    Raises:
        InvalidRequest: it contradicts itself, or an arm's version was rolled back.
    """
    others = tuple(each for each in routing.experiments if each.name != experiment.name)
    return _next(routing, replace(routing, experiments=(*others, experiment)), who=who, why=why, at=at)


def without_experiment(routing: Routing, name: str, *, who: str, why: str, at: float) -> Routing:
    """The experiment's callers are served as all others are. Without such an experiment only the version changes."""
    others = tuple(each for each in routing.experiments if each.name != name)
    return _next(routing, replace(routing, experiments=others), who=who, why=why, at=at)


def with_canary(
    routing: Routing,
    canary: Canary,
    *,
    baseline: Mapping[str, int],
    shadow: Shadow | None,
    who: str,
    why: str,
    at: float,
) -> Routing:
    """A rollout begins, or goes to another share. The shares of all other versions keep their proportions.

    Args:
        routing: in force.
        canary: the stay that begins; its `slots_before` and `shadow_before` are filled in here.
        baseline: the weights before the rollout.
        shadow: what is copied to the canary; None leaves a person's own copying as it is.
        who: of the change.
        why: likewise.
        at: seconds since the epoch.

    Raises:
        InvalidRequest: another rollout is under way, the version was rolled back, or there is nothing to compare with.
    """
    standing = routing.canary
    if standing is not None and standing.rollout_id != canary.rollout_id:
        raise InvalidRequest("Another rollout is under way on this endpoint.", code="rollout_active")
    if not any(weight for name, weight in baseline.items() if name != canary.version):
        raise InvalidRequest(
            "No other version has traffic: there is nothing to compare this one with.", code="no_control"
        )
    slots_before = standing.slots_before if standing is not None else slots_in_force(routing)
    shadow_before = standing.shadow_before if standing is not None else routing.shadow
    after = replace(
        routing,
        weights=mix(baseline, canary.version, canary.share),
        canary=replace(canary, slots_before=slots_before, shadow_before=shadow_before),
        shadow=shadow or routing.shadow,
    )
    return _next(routing, after, who=who, why=why, at=at, begun=standing is not None)


def rolled_back(routing: Routing, rollout: Rollout, *, who: str, why: str, at: float) -> Routing:
    """The baseline again, every caller with the version that it had; the canary is withdrawn wherever it is named."""
    withdrawn = {**routing.withdrawn, rollout.canary: rollout.rollout_id}
    # A version that had some traffic before its rollout loses that, too.
    weights = mix(rollout.baseline, rollout.canary, 0)
    after = replace(_ended(routing, rollout, weights), withdrawn=withdrawn)
    return _next(_with_old_slots(routing), _without_withdrawn(after), who=who, why=why, at=at, begun=True)


def aborted(routing: Routing, rollout: Rollout, *, who: str, why: str, at: float) -> Routing:
    """The baseline again, every caller with the version that it had; the canary may be tried again.

    One that was withdrawn before it was tried again is withdrawn as it was: nothing has shown that it is better.
    """
    after = _ended(routing, rollout, rollout.baseline)
    if rollout.withdrawn_by:
        after = _without_withdrawn(
            replace(after, withdrawn={**routing.withdrawn, rollout.canary: rollout.withdrawn_by})
        )
    return _next(_with_old_slots(routing), after, who=who, why=why, at=at, begun=True)


def finished(routing: Routing, rollout: Rollout, *, who: str, why: str, at: float) -> Routing:
    """All traffic to what was the canary."""
    after = _ended(routing, rollout, {**dict.fromkeys(rollout.baseline, 0), rollout.canary: WEIGHT_SUM})
    return _next(routing, after, who=who, why=why, at=at, begun=True)


def without_withdrawn(routing: Routing, version: str) -> Routing:
    """The same document, but the version is no longer withdrawn: a rollout that starts it again begins from here.

    Its number does not rise, as it is not written by itself.
    """
    return replace(routing, withdrawn={name: by for name, by in routing.withdrawn.items() if name != version})


def refuse_problems(routing: Routing, endpoint: Endpoint, *, before: Routing | None = None) -> list[str]:
    """Refuse what cannot be in force on this endpoint; what is wrong in `before` already, and is let stand.

    Two names of a version that a deployment took away are mended one after the other: a change need not mend both.

    Raises:
        InvalidRequest: with all problems that are new.
    """
    found = check(routing, endpoint)
    known = [] if before is None else check(before, endpoint)
    _refuse([problem for problem in found if problem not in known])
    return found


def refuse_during_rollout(routing: Routing, field: str) -> None:
    """Refuse a change that would move callers while a rollout compares them.

    Raises:
        InvalidRequest: one is under way.
    """
    if routing.canary is not None:
        raise InvalidRequest(
            f"Rollout {routing.canary.rollout_id} of {routing.canary.version} is under way and decides this: abort or "
            "promote it first. Pins and groups may be changed meanwhile.",
            code="rollout_active",
            field=field,
        )


def slots_in_force(routing: Routing) -> Slots:
    """Whose the slots of callers in no group are."""
    return _all_slots(routing)[EVERYONE]


def _next(before: Routing, after: Routing, *, who: str, why: str, at: float, begun: bool = False) -> Routing:
    """The document that follows, in order and with its slots; `begun` where a rollout goes on or ends, at any size.

    Raises:
        InvalidRequest: it would contradict itself, or be too large.
    """
    weights = after.weights
    if len(weights) > VERSIONS_MAX:  # names that have nothing are told for the history, and make room
        weights = {name: weight for name, weight in weights.items() if weight}
    numbered = replace(after, weights=weights, version=before.version + 1, who=who, why=why[:WHY_MAX_CHARS], at=at)
    routing = settled(numbered, before)
    found = problems(routing)
    if not begun and (written := len(dump(routing))) > max(WRITTEN_MAX_BYTES, len(dump(before))):
        found.append(f"groups: this would come to {written} bytes; keep to fewer groups, or fewer versions in each")
    _refuse(found)
    return routing


def _refuse(found: list[str]) -> None:
    if found:
        raise InvalidRequest("; ".join(found), code=CODE, field=found[0].partition(":")[0])


def _ended(routing: Routing, rollout: Rollout, weights: Mapping[str, int]) -> Routing:
    canary = routing.canary
    shadow = routing.shadow if canary is None else canary.shadow_before
    if weights.get(rollout.canary, 0) >= WEIGHT_SUM and shadow is not None and shadow.version == rollout.canary:
        shadow = None  # it has all that there is to copy
    return replace(routing, weights=dict(weights), canary=None, shadow=shadow)


def _with_old_slots(routing: Routing) -> Routing:
    if routing.canary is None or not routing.canary.slots_before:
        return routing
    return replace(routing, slots={**routing.slots, EVERYONE: routing.canary.slots_before})


def _without_withdrawn(routing: Routing) -> Routing:
    """Every trace of the versions that were rolled back taken out, but for the weights: those are for a person to say.

    A rollback must always go through, whatever else the document says; so what names the version goes with it.
    """
    gone = routing.withdrawn
    if not gone:
        return routing
    groups = []
    for group in routing.groups:
        left = {name: 0 if name in gone else weight for name, weight in group.weights.items()}
        if left == group.weights:
            groups.append(group)
        elif any(left.values()):
            groups.append(replace(group, weights=scaled(left)))
    shadow = routing.shadow
    return replace(
        routing,
        groups=tuple(groups),
        pins={tenant: name for tenant, name in routing.pins.items() if name not in gone},
        shadow=None if shadow is not None and shadow.version in gone else shadow,
        experiments=tuple(each for each in routing.experiments if not gone.keys() & set(each.arms.values())),
    )


def _all_weights(routing: Routing) -> dict[str, Mapping[str, int]]:
    return {EVERYONE: routing.weights, **{group.name: group.weights for group in routing.groups}}


def _all_slots(routing: Routing) -> dict[str, Slots]:
    return {
        name: routing.slots.get(name) or first_slots(drawn_as(routing.endpoint, name), weights)
        for name, weights in _all_weights(routing).items()
    }
