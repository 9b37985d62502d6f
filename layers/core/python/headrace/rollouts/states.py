"""A rollout as it is kept: what is asked of it, where it stands, and every decision with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.rollouts.plan import RolloutPlan

RolloutState = Literal["measuring", "running", "paused", "inconclusive", "rolled_back", "finished", "aborted"]
ACTIVE: frozenset[RolloutState] = frozenset({"measuring", "running", "paused", "inconclusive"})
"""In all of these the rollout is watched, and bad evidence rolls it back; only `running` advances."""
CONTROL, CANARY = "control", "canary"
WHY_MAX_CHARS = 500
TURN_TIMEOUT_S = 60
"""A turn reads and writes a few items; the state machine waits half as long again for it."""
DECISIONS_PAGE = 100


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stay at one share of the traffic, in basis points. Stage 0 has share 0 and measures the control."""

    number: int
    share: int
    since: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout.

    Args:
        rollout_id: `ro_` and 22 characters.
        endpoint, canary: whose, and which version is new.
        digest: of the canary's artifact, `sha256:…`: a version rolled back is known by it.
        baseline: the weights that were in force before, in basis points by version: what a rollback restores.
        plan: its rules.
        state, reason: where it stands, and why, in words.
        stages: all stays so far, in order; the last one is the present.
        started_at, updated_at, turned_at: seconds since the epoch; `turned_at` is the controller's last look.
        who, why: of the start.
        slower_ms, unsure_below: the references, measured in the stage before; None in stage 0, and where there is none.
        turns: looks so far; decisions are numbered by it.
        execution: the name of the state machine's execution that watches it.
        renewals: how often a new execution has taken over.
        renewed_turns: what `turns` was when the present execution took over.
        noted_at: when the history last got an entry.
        withdrawn_by: the rollout that had rolled this version back before it was tried again, or empty.
        version: of this record, for compare-and-set.
    """

    rollout_id: str
    endpoint: str
    canary: str
    digest: str
    baseline: Mapping[str, int]
    plan: RolloutPlan
    state: RolloutState
    stages: tuple[StageRecord, ...]
    started_at: float
    updated_at: float
    who: str
    why: str
    reason: str = ""
    turned_at: float = 0.0
    slower_ms: float | None = None
    unsure_below: float | None = None
    turns: int = 0
    execution: str = ""
    renewals: int = 0
    version: int = 1
    renewed_turns: int = 0
    noted_at: float = 0.0
    withdrawn_by: str = ""

    @property
    def active(self) -> bool:
        """Whether it is still watched."""
        return self.state in ACTIVE

    @property
    def stage(self) -> StageRecord:
        """The present one."""
        return self.stages[-1]


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of a rollout's history.

    Args:
        number: rising within the rollout.
        at: seconds since the epoch.
        who: `controller`, or the person.
        what: advance, hold, roll_back, finish, start, pause, resume, abort, promote, inconclusive, measured.
        why: in words.
        stage, share: where the rollout stood when it was taken.
        weights: in force afterwards.
        evidence: base-10 logarithms by metric, `total` the whole, against `-log10(alpha)`.
        bounds: upper bounds by metric; `needed` requests more, by metric, where a bound is still open.
        counts: by arm, as `Counted` is written.
    """

    number: int
    at: float
    who: str
    what: str
    why: str
    stage: int
    share: int
    weights: Mapping[str, int]
    evidence: Mapping[str, float] = field(default_factory=dict)
    total: float = 0.0
    split: float = 0.0
    bounds: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
