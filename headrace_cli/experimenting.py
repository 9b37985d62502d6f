"""What the commands of experiments and shadows work with: the stores of a stage, and how what they say is shown."""

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from headrace_cli.operating import Operator
from headrace_cli.problems import Problem, UsageProblem, plain
from headrace_cli.rolling import STORE_TIMEOUT_S, Office, translated
from headrace_cli.rollout_plans import duration, percent
from headrace_cli.showing import print_table, when

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.rollouts.assessing import ArmResult, Assessment, Counts
    from headrace.rollouts.counted import Counted
    from headrace.rollouts.estimates import Interval
    from headrace.rollouts.experimenting import ExperimentOperations
    from headrace.rollouts.experiments import ExperimentRun, Experiments

PERCENTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def experiments_of(office: Office) -> "Experiments":
    """Where the experiments of a stage are."""
    from headrace_aws.experiments_table import ExperimentsTable
    from headrace_aws.state_table import StateTable

    operator = office.operator
    table = StateTable(
        operator.state_table, timeout_s=STORE_TIMEOUT_S, make_client=partial(operator.client, "dynamodb")
    )
    table.warm()  # not within the first call's time
    return ExperimentsTable(table)


def operations_of(office: Office) -> "ExperimentOperations":
    """What may be done to an endpoint's experiments."""
    from headrace.rollouts.experimenting import ExperimentOperations

    return ExperimentOperations(
        office.endpoint,
        experiments=experiments_of(office),
        routings=office.stores.routings,
        executions=Executions(office.operator),
        wall=office.stores.wall,
    )


@dataclass(frozen=True, slots=True)
class Executions:
    """The state machine; its ARN takes a question to AWS, which only starting one needs."""

    operator: Operator

    def start_experiment(self, name: str, *, endpoint: str, experiment_id: str) -> None:
        """See `headrace.rollouts.experimenting.ExperimentExecutions`."""
        from headrace_aws.bounded_calls import BoundedCalls
        from headrace_aws.state_machine import RolloutExecutions

        make_client = partial(self.operator.client, "stepfunctions")
        make_client()
        machine = RolloutExecutions(self.operator.rollout_machine, calls=BoundedCalls(), make_client=make_client)
        machine.start_experiment(name, endpoint=endpoint, experiment_id=experiment_id)


def arms_of(words: "Sequence[str]") -> dict[str, str]:
    """Versions by arm, from `control=v1 new=v2`. Raises UsageProblem."""
    arms: dict[str, str] = {}
    for word in words:
        arm, equals, version = word.partition("=")
        if not equals or not arm or not version or arm in arms:
            raise UsageProblem(f"{plain(word)!r}: give each arm once, such as control=v1.")
        arms[arm] = version
    return arms


def even(arms: "Sequence[str]") -> dict[str, int]:
    """Equal weights; the first arms get what is left over."""
    from headrace.routing.document import WEIGHT_SUM

    each, over = divmod(WEIGHT_SUM, max(1, len(arms)))
    return {arm: each + int(at < over) for at, arm in enumerate(arms)}


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """One look at an experiment, at `now` seconds since the epoch."""

    run: "ExperimentRun"
    counts: "Counts"
    found: "Assessment"
    now: float


def look(office: Office, name: str | None) -> ExperimentView:
    """The experiment called `name`, or the only one that runs. Raises Problem."""
    from headrace.rollouts.assessing import assess

    with translated():
        runs = experiments_of(office).all_current(office.endpoint.name)
    own = [run for run in runs if run.name == name] if name is not None else [run for run in runs if run.active]
    if len(own) != 1:
        names = ", ".join(run.name for run in runs) or "none"
        raise Problem(f"{office.endpoint.name}: name an experiment; there are {plain(names)}.")
    with translated():
        counts = office.stores.tallies.read(own[0].experiment_id)
    return ExperimentView(own[0], counts, assess(own[0], counts), office.stores.wall())


def print_look(seen: ExperimentView) -> None:
    """Prints a look: where it stands, each arm with the difference to the control, and the guardrails."""
    run, found = seen.run, seen.found
    lasted = duration((seen.now if run.active else run.updated_at) - run.started_at)
    typer.echo(f"{run.endpoint} {run.name}: {run.state.replace('_', ' ')} after {lasted}" + _because(run.reason))
    typer.echo(f"{run.experiment_id}, begun {when(run.started_at)}; measures {run.plan.outcome} ({run.plan.kind})")
    print_table(
        ("arm", "version", "weight", "callers", "outcomes", run.plan.kind, "difference", "from", "to"),
        [_arm_row(seen, arm) for arm in found.arms],
    )
    print_table(
        ("arm", "guardrail", "evidence", f"stops at {found.guard_needed:.2f}"),
        [
            (arm.arm, metric, f"{log:+.2f}", "stopped" if arm.guard >= found.guard_needed else "")
            for arm in found.arms
            for metric, log in (*arm.evidence.items(), *((("together", arm.guard),) if arm.evidence else ()))
        ],
    )
    if found.undivided:
        typer.echo("Callers are not divided as the weights say: what is measured cannot be trusted.", err=True)


def look_document(seen: ExperimentView) -> dict[str, Any]:
    """A look as a JSON object."""
    from headrace.rollouts.documents import dump_counted
    from headrace.rollouts.experiments import run_document

    return {
        "experiment": run_document(seen.run),
        "arms": [
            {
                "arm": arm.arm,
                "version": arm.version,
                "callers": arm.callers,
                "outcomes": arm.outcomes,
                "mean": arm.mean,
                "difference": None if arm.difference is None else _interval(arm.difference),
                "evidence": dict(arm.evidence),
                "guard": arm.guard,
            }
            for arm in seen.found.arms
        ],
        "guard_needed": seen.found.guard_needed,
        "split": seen.found.split,
        "undivided": seen.found.undivided,
        "counts": {arm: dump_counted(counted) for (_, arm), counted in sorted(seen.counts.items())},
    }


def run_row(run: "ExperimentRun") -> tuple[object, ...]:
    """One of an endpoint's experiments."""
    arms = ", ".join(f"{arm} {version}" for arm, version in sorted(run.arms.items()))
    return (run.experiment_id, run.name, run.state, arms, when(run.started_at), run.who, run.reason or run.why)


def shadow_counts(office: Office) -> "tuple[str, str, Mapping[tuple[int, str], Counted]]":
    """The version that shadows, what its comparisons belong to, and their counts. Raises Problem."""
    from headrace.rollouts.copies import standing_subject

    with translated():
        routing = office.stores.routings.read(office.endpoint.name, consistent=True)
    if routing is None or routing.shadow is None:
        raise Problem(f"{office.endpoint.name} has no shadow: headrace routing apply, or rollout start --shadow.")
    version, canary = routing.shadow.version, routing.canary
    own = canary is not None and canary.version == version
    subject = canary.rollout_id if own and canary is not None else standing_subject(office.endpoint.name, version)
    with translated():
        return version, subject, office.stores.tallies.read(subject)


def shadow_document(version: str, subject: str, counts: "Mapping[tuple[int, str], Counted]") -> dict[str, Any]:
    """How a shadow compares, as a JSON object; latencies in milliseconds."""
    from headrace.rollouts.counted import add_up
    from headrace.rollouts.shadowing import SHADOW, SHADOWED

    shadow, shadowed = (
        add_up(counted for (_, arm), counted in counts.items() if arm == name) for name in (SHADOW, SHADOWED)
    )
    compared, apart = shadow.of.get("disagreed", 0), shadow.count("disagreed")
    return {
        "version": version,
        "subject": subject,
        "asked": shadow.requests,
        "compared": compared,
        "disagreed": apart,
        "agreement": (compared - apart) / compared if compared else None,
        "failed": shadow.count("failed"),
        "invalid": shadow.count("invalid"),
        "late": shadow.count("late"),
        "shadow_ms": {name: _quantile_ms(shadow, share) for share, name in PERCENTILES},
        "served_ms": {name: _quantile_ms(shadowed, share) for share, name in PERCENTILES},
    }


def print_shadow(document: dict[str, Any]) -> None:
    """Prints how a shadow compares."""
    agreement = document["agreement"]
    shown = "not known yet" if agreement is None else f"{agreement:.2%}"
    typer.echo(f"{document['version']} agrees in {shown} of {document['compared']:,} comparisons")
    rows = [(name, f"{document[name]:,}", "") for name in ("asked", "disagreed", "failed", "invalid", "late")]
    rows += [(name, _ms(document["shadow_ms"][name]), _ms(document["served_ms"][name])) for _, name in PERCENTILES]
    print_table(("", "shadow", "served"), rows)


def _arm_row(seen: ExperimentView, arm: "ArmResult") -> tuple[object, ...]:
    measured = "" if arm.mean is None else _figure(arm.mean, seen.run.plan.kind)
    between = [""] * 3
    if arm.difference is not None:
        kind = seen.run.plan.kind
        between = [_figure(each, kind) for each in (arm.difference.estimate, arm.difference.low, arm.difference.high)]
    weight = percent(seen.run.weights[arm.arm])
    return (arm.arm, arm.version, weight, f"{arm.callers:,}", f"{arm.outcomes:,}", measured, *between)


def _figure(value: float, kind: str) -> str:
    if not math.isfinite(value):
        return "not known"
    return f"{value:.2%}" if kind == "conversion" else f"{value:,.4g}"


def _interval(found: "Interval") -> dict[str, float | None]:
    ends = {"low": found.low, "estimate": found.estimate, "high": found.high}
    return {name: end if math.isfinite(end) else None for name, end in ends.items()}


def _quantile_ms(counted: "Counted", share: float) -> float | None:
    from headrace.rollouts.counted import bucket_ms, quantile

    bucket = quantile(counted.times, share)
    return None if bucket is None else round(bucket_ms(bucket), 2)


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms"


def _because(reason: str) -> str:
    return f": {plain(reason)}" if reason else ""
