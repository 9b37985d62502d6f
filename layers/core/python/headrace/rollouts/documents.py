"""Rollouts, decisions and counts as JSON: what the store keeps, and what people are shown with `--json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from headrace.rollouts.counted import Counted, Values
from headrace.rollouts.plan import Limit, RolloutPlan
from headrace.rollouts.states import Decision, Rollout, StageRecord

_BY_NUMBER = frozenset({"times", "sureness"})
"""Histograms: their keys are numbers, which JSON's cannot be."""


def dump_counted(counted: Counted) -> dict[str, Any]:
    """The counts as a JSON object; what is empty or nought is left out."""
    found: dict[str, Any] = {}
    for field in fields(counted):
        value = getattr(counted, field.name)
        if not value:
            continue
        if field.name == "outcomes":
            found[field.name] = {name: asdict(values) for name, values in value.items()}
        elif isinstance(value, Mapping):
            # That something could not have happened at all is worth saying: not said, it could have at each request.
            kept = value.items() if field.name == "of" else ((key, count) for key, count in value.items() if count)
            found[field.name] = {str(key): count for key, count in kept}
        else:
            found[field.name] = value
    return found


def load_counted(document: Mapping[str, Any]) -> Counted:
    """The counts that `dump_counted` wrote; what this release does not know is passed over."""
    known: dict[str, Any] = {}
    for field in fields(Counted):
        if field.name not in document:
            continue
        value = document[field.name]
        if field.name == "outcomes":
            known[field.name] = {name: Values(**values) for name, values in value.items()}
        elif field.name in _BY_NUMBER:
            known[field.name] = {int(key): count for key, count in value.items()}
        else:
            known[field.name] = value
    return Counted(**known)


def rollout_document(rollout: Rollout) -> dict[str, Any]:
    """The record as a JSON object."""
    return asdict(rollout)


def dump_rollout(rollout: Rollout) -> str:
    """The record as JSON; equal records are equal texts."""
    return _dump(rollout_document(rollout))


def load_rollout(text: str) -> Rollout:
    """The record that `dump_rollout` wrote, of this release or of an earlier one."""
    document: dict[str, Any] = json.loads(text)
    plan = document["plan"]
    return Rollout(
        **document
        | {
            "plan": RolloutPlan(
                **plan | {"limits": tuple(Limit(**limit) for limit in plan["limits"]), "steps": tuple(plan["steps"])},
            ),
            "stages": tuple(StageRecord(**stage) for stage in document["stages"]),
        }
    )


def decision_document(decision: Decision) -> dict[str, Any]:
    """One entry of the history as a JSON object."""
    return asdict(decision)


def dump_decision(decision: Decision) -> str:
    """One entry of the history as JSON; equal entries are equal texts."""
    return _dump(decision_document(decision))


def load_decision(text: str) -> Decision:
    """The entry that `dump_decision` wrote, of this release or of an earlier one."""
    return Decision(**json.loads(text))


def _dump(document: dict[str, Any]) -> str:
    # `allow_nan` off: what is not a number to JSON would not be read again, and must not be written.
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
