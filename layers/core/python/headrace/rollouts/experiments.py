"""A/B tests as they are kept: what is asked, and where one stands.

An experiment's unit is the caller: each is drawn to an arm once and stays, counts once however often it asks, and has
at most one outcome.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from headrace.rollouts.metrics import Metric
from headrace.routing.checks import CONTROL_ARM
from headrace.routing.document import WEIGHT_SUM, Experiment, Routing

ExperimentState = Literal["running", "stopped_by_guardrail", "concluded", "ended"]
Kind = Literal["conversion", "mean"]


@dataclass(frozen=True, slots=True)
class Guardrail:
    """What stops an experiment early: callers of an arm meet this more often than the control's.

    `odds_allowed` is how many times worse the arm may be before that counts against it.
    """

    metric: Metric
    odds_allowed: float = 1.0


GUARDRAILS = (Guardrail("failed"), Guardrail("late"), Guardrail("invalid"))


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """An experiment's rules; they travel in its record.

    Args:
        outcome: the event that callers post back.
        kind: `conversion`: the share of callers that posted it; `mean`: its value per caller, 0 for those that did not.
        better: whether more of it is better, or less.
        guardrails: what stops it early.
        alpha: the probability that any of its intervals ever misses the difference.
        guard_alpha: the probability that arms no worse than the control are stopped.
        min_s: before so long nothing is concluded: a day is not like its night.
        max_s: after so long it ends, whatever is known.
        conclude: whether it ends by itself once every interval excludes no difference.
        look_s: seconds between two looks.
    """

    outcome: str
    kind: Kind = "conversion"
    better: Literal["fewer", "more"] = "more"
    guardrails: tuple[Guardrail, ...] = GUARDRAILS
    alpha: float = 0.05
    guard_alpha: float = 0.01
    min_s: float = 86_400.0
    max_s: float = 14 * 86_400.0
    conclude: bool = True
    look_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ExperimentRun:
    """One experiment.

    Args:
        experiment_id: `ex_` and 22 characters.
        name: what people call it; assignment is salted by it. At most one active of a name on an endpoint.
        endpoint: whose.
        arms, weights: version, and basis points, by arm; `control` is one of them.
        share, tenants, groups: its audience, see `headrace.routing.document.Experiment`.
        plan: its rules.
        state, reason: where it stands, and why, in words.
        started_at, updated_at, turned_at: seconds since the epoch; `turned_at` is the controller's last look.
        who, why: of the start.
        turns, execution, renewals: as in `headrace.rollouts.states.Rollout`.
        version: of this record, for compare-and-set.
    """

    experiment_id: str
    name: str
    endpoint: str
    arms: Mapping[str, str]
    weights: Mapping[str, int]
    plan: ExperimentPlan
    started_at: float
    updated_at: float
    who: str
    why: str
    share: int = WEIGHT_SUM
    tenants: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    state: ExperimentState = "running"
    reason: str = ""
    turned_at: float = 0.0
    turns: int = 0
    execution: str = ""
    renewals: int = 0
    version: int = 1

    @property
    def active(self) -> bool:
        """Whether callers are drawn for it, and it is looked after."""
        return self.state == "running"

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms beside the control, in their order."""
        return tuple(sorted(arm for arm in self.arms if arm != CONTROL_ARM))

    def routed(self) -> Experiment:
        """As the routing document carries it."""
        return Experiment(
            experiment_id=self.experiment_id,
            name=self.name,
            arms=dict(self.arms),
            weights=dict(self.weights),
            share=self.share,
            tenants=self.tenants,
            groups=self.groups,
            outcome=self.plan.outcome,
        )


@dataclass(frozen=True, slots=True)
class ExperimentChange:
    """What is written together or not at all; both apply where the standing one has the version before.

    With `mend` the standing document cannot be read: `routing` applies where the history has no such version.
    """

    run: ExperimentRun
    routing: Routing | None = None
    mend: bool = False


class Experiments(Protocol):
    """Experiments by endpoint and name."""

    def current(self, endpoint: str, name: str) -> ExperimentRun | None:
        """The last one of that name, active or over. Strongly consistent. Raises StoreUnavailable."""

    def all_current(self, endpoint: str) -> list[ExperimentRun]:
        """The last one of every name, by name. Strongly consistent. Raises StoreUnavailable."""

    def newest(self, endpoint: str, *, limit: int) -> list[ExperimentRun]:
        """The last ones of all names, the newest first. Raises StoreUnavailable."""

    def commit(self, change: ExperimentChange) -> None:
        """Write. Safe to repeat: the same change again is no error.

        Raises:
            Outrun: another change came first; nothing was written.
            StoreUnavailable: perhaps written, perhaps not.
        """


def run_document(run: ExperimentRun) -> dict[str, Any]:
    """The record as a JSON object."""
    return asdict(run)


def dump_run(run: ExperimentRun) -> str:
    """The record as JSON; equal records are equal texts."""
    return json.dumps(run_document(run), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def load_run(text: str) -> ExperimentRun:
    """The record that `dump_run` wrote, of this release or of an earlier one."""
    document: dict[str, Any] = json.loads(text)
    plan = document["plan"]
    guardrails = tuple(Guardrail(**guardrail) for guardrail in plan["guardrails"])
    return ExperimentRun(
        **document
        | {
            "plan": ExperimentPlan(**plan | {"guardrails": guardrails}),
            "tenants": tuple(document["tenants"]),
            "groups": tuple(document["groups"]),
        }
    )
