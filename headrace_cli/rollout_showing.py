"""What is shown of a rollout: where it stands, what both arms did, and the evidence against its thresholds."""

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import typer

from headrace_cli.rollout_plans import duration, percent
from headrace_cli.showing import print_table, when

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.rollouts.counted import Counted
    from headrace.rollouts.decide import Judged
    from headrace.rollouts.forecast import StepForecast
    from headrace.rollouts.states import Decision, Rollout
    from headrace_cli.world import World

    Counts = Mapping[tuple[int, str], Counted]


@dataclass(frozen=True, slots=True)
class View:
    """One look at a rollout: its record, the counts, and what they come to, at `now` seconds since the epoch."""

    rollout: "Rollout"
    counts: "Counts"
    judged: "Judged"
    now: float

    @property
    def threshold(self) -> float:
        """The evidence, as a base-10 logarithm, at which the canary is rolled back."""
        return -math.log10(self.rollout.plan.alpha)

    @property
    def eta_s(self) -> float | None:
        """Until this step may be passed, if what comes is good and comes as fast as so far; None where nobody knows."""
        stage, plan = self.rollout.stage, self.rollout.plan
        lasted_s = max(1.0, self.now - stage.since)
        if self.rollout.state == "measuring":
            came = self.arm("control").requests
            missing = max(0, plan.measure_requests - came)
            return missing * lasted_s / came if came else None
        needed = max(self.judged.needed.values(), default=0)
        came = self.arm("canary").requests
        if needed and not came:
            return None
        return max(plan.bake_s - lasted_s, needed * lasted_s / came if needed else 0.0, 0.0)

    def arm(self, name: str) -> "Counted":
        """What one arm did in the present stage."""
        from headrace.rollouts.counted import NOTHING

        return self.counts.get((self.rollout.stage.number, name), NOTHING)


def view(rollout: "Rollout", counts: "Counts", now: float) -> View:
    """A look; what was counted is judged as the controller judges it."""
    from headrace.rollouts.decide import judge
    from headrace.rollouts.turns import stages_of

    return View(rollout, counts, judge(rollout.plan, stages_of(rollout, counts), now=now), now)


def document(seen: View) -> dict[str, Any]:
    """A look as a JSON object."""
    from headrace.rollouts.documents import dump_counted, rollout_document

    judged = seen.judged
    return {
        "rollout": rollout_document(seen.rollout),
        "counts": {f"{stage}/{arm}": dump_counted(counted) for (stage, arm), counted in sorted(seen.counts.items())},
        "evidence": dict(judged.evidence),
        "evidence_total": judged.total,
        "threshold": seen.threshold,
        "bounds": dict(judged.bounds),
        "split": judged.split,
        "needed": dict(judged.needed),
        "eta_s": seen.eta_s,
    }


def headline(seen: View) -> str:
    """One line: what, where it stands, and how long it may take."""
    rollout = seen.rollout
    parts = [f"{rollout.endpoint} {rollout.canary}: {rollout.state.replace('_', ' ')}"]
    if rollout.active:
        steps, stage = rollout.plan.steps, rollout.stage
        place = f"step {steps.index(stage.share) + 1} of {len(steps)}, " if stage.share in steps else ""
        parts.append(f"{place}{percent(stage.share)} for {duration(seen.now - stage.since)}")
        if rollout.state in {"measuring", "running"}:
            eta_s = seen.eta_s
            parts.append("how long is not known" if eta_s is None else f"at least {duration(eta_s)} to go")
    if rollout.reason:
        parts.append(rollout.reason)
    return "; ".join(parts)


def print_view(seen: View) -> None:
    """Prints a look: the headline, both arms, and evidence and bounds by metric."""
    typer.echo(f"{headline(seen)}\n{seen.rollout.rollout_id}, begun {when(seen.rollout.started_at)}")
    print_table(("", "control", "canary"), arm_rows(seen))
    print_table(metric_columns(seen), metric_rows(seen))


def display_for(world: "World") -> "Lines | Picture":
    """A picture where somebody watches, lines for a log."""
    return Picture() if world.terminal and sys.stdout.isatty() else Lines()


class Lines:
    """One line on stderr for each thing that is new."""

    def __init__(self) -> None:
        self._told: object = None

    def __enter__(self) -> Self:
        """Nothing is open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def show(self, seen: View) -> None:
        """A line, when it is worth one."""
        news = (seen.rollout.state, seen.rollout.stage.number, seen.rollout.reason)
        if news != self._told:
            self._told = news
            typer.echo(headline(seen), err=True)


class Picture:
    """What `status` prints, drawn again in its place at each look; gone at the end, when the last one is printed."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        """Begins to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends."""
        self._live.stop()

    def show(self, seen: View) -> None:
        """Draws a look."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        arms = Table("", "control", "canary", box=None, pad_edge=False, header_style="bold")
        for row in arm_rows(seen):
            arms.add_row(*map(Text, map(str, row)))
        metrics = Table(*metric_columns(seen), box=None, pad_edge=False, header_style="bold")
        for row in metric_rows(seen):
            metrics.add_row(*map(Text, map(str, row)))
        self._live.update(Group(Text(headline(seen)), arms, Text(""), metrics), refresh=True)


def metric_columns(seen: View) -> tuple[str, ...]:
    """The heads of `metric_rows`."""
    return ("metric", f"evidence (rolls back at {seen.threshold:.2f})", "upper bound", "must be below", "still needed")


def arm_rows(seen: View) -> list[tuple[object, ...]]:
    """What both arms did in the present stage, a row for each kind of count."""
    from headrace.rollouts.counted import bucket_ms, quantile

    arms = (seen.arm("control"), seen.arm("canary"))
    rows: list[tuple[object, ...]] = [("requests", *(f"{arm.requests:,}" for arm in arms))]
    for limit in seen.rollout.plan.limits:
        cells = []
        for arm in arms:
            bad, trials = arm.bad.get(limit.metric, 0), arm.of.get(limit.metric, arm.requests)
            cells.append(f"{bad:,} of {trials:,}" + (f" ({bad / trials:.2%})" if trials else ""))
        rows.append((limit.metric, *cells))
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        buckets = [quantile(arm.times, share) for arm in arms]
        rows.append((name, *("" if bucket is None else f"{bucket_ms(bucket):,.0f} ms" for bucket in buckets)))
    return rows


def metric_rows(seen: View) -> list[tuple[object, ...]]:
    """Evidence against its threshold, and bounds against their limits, a row for each metric."""
    judged = seen.judged
    rows: list[tuple[object, ...]] = []
    for limit in seen.rollout.plan.limits:
        bound = judged.bounds.get(limit.metric)
        bounded = limit.rate_max < 1.0
        rows.append(
            (
                limit.metric,
                f"{judged.evidence.get(limit.metric, 0.0):+.2f}",
                f"{bound:.3%}" if bounded and bound is not None else "",
                f"{limit.rate_max:.3%}" if bounded else "",
                f"{judged.needed[limit.metric]:,} requests" if judged.needed.get(limit.metric) else "",
            )
        )
    return rows


def forecast_rows(steps: "Sequence[StepForecast]", *, known: bool) -> list[tuple[object, ...]]:
    """What each step takes, for who is about to start."""
    return [
        (
            percent(step.share) if step.share else "measure the control",
            _whole(step.requests),
            _whole(step.canary_requests),
            duration(step.seconds) if known else "not known",
        )
        for step in steps
    ]


def _whole(requests: float) -> str:
    return f"{math.ceil(requests):,}" if math.isfinite(requests) else "no number is enough"


def rollout_row(rollout: "Rollout") -> tuple[object, ...]:
    """One of an endpoint's rollouts."""
    reached = max(stage.share for stage in rollout.stages)
    return (
        rollout.rollout_id,
        rollout.canary,
        rollout.state,
        percent(reached),
        when(rollout.started_at),
        rollout.who,
        rollout.reason or rollout.why,
    )


def decision_row(decision: "Decision") -> tuple[object, ...]:
    """One entry of a history."""
    strongest = max(decision.evidence, key=lambda metric: decision.evidence[metric], default="")
    counts = "; ".join(f"{arm} {counted.get('requests', 0):,}" for arm, counted in decision.counts.items())
    return (
        decision.number,
        when(decision.at),
        decision.what,
        percent(decision.share),
        f"{strongest} {decision.evidence[strongest]:+.2f}" if strongest else "",
        counts,
        decision.who,
        decision.why,
    )
