"""What the scenarios came to: tables, the history of every rollout, and a picture of its evidence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Report, Table, Target, paragraphs
from benchmarks.rollout_live_drive import Outcome
from benchmarks.rollout_live_scenarios import Scenario
from benchmarks.rollout_live_traffic import OK, by_code, by_server, by_status
from benchmarks.rollout_live_versions import CANARY, ENDPOINT
from headrace.rollouts.documents import decision_document, rollout_document
from headrace.rollouts.states import Decision

NAME = "rollout_live"
DIGITS = 4
TURNING = frozenset({"start", "measured", "advance", "roll_back", "finish", "inconclusive", "abort"})
"""Entries of a history that are shown; the looks between them are in the JSON and in the picture."""
NOTES = """
Every scenario starts the whole local platform: gateway, functions, state table, state machine, and one serving process
for each version. Nothing of it is simulated but the faults, which strike in the SageMaker runtime. A rollout is
started as an operator's command does, and ends without anybody's help.

Counted are requests from the canary's first share on, as the controller counts them, and the canary's among them. The
shadow adds copies of the control's requests, which no caller waits for.

A caller whose version failed is served by the ladder: by the other version, or by the CPU function. Degraded answers
say so. Answers other than 200 are those that no rung could give.

Evidence is a base-10 logarithm, and already divided among metrics and steps: a version is rolled back where one metric
reaches 2 (alpha 0.01). Both times and the number of requests depend on traffic and on the machine; the bound on false
alarms does not.
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """A scenario and what became of it."""

    scenario: Scenario
    outcome: Outcome

    @property
    def right(self) -> bool:
        """Whether it ended as it must, with the traffic where it belongs."""
        rollout, weights = self.outcome.rollout, self.outcome.weights
        wanted, version = ("finished", CANARY) if self.scenario.good else ("rolled_back", "v1")
        return rollout.state == wanted and weights.get(version) == sum(weights.values())

    @property
    def unserved(self) -> int:
        """Callers' requests that were not answered 200."""
        return sum(each.status != OK for each in self.outcome.answers)

    @property
    def strays(self) -> int:
        """Requests that the version served after its rollback was known everywhere."""
        served = f"{ENDPOINT}/{CANARY}"
        return 0 if self.scenario.good else sum(each.served_by == served for each in self.outcome.after)


def report_of(ran: Sequence[Ran], *, conditions: Mapping[str, str], picture: str) -> Report:
    """The report.

    Args:
        ran: What was run.
        conditions: Of the machine and of the run.
        picture: The file name of the picture beside the page.
    """
    report = Report(NAME, "Rollouts on the local platform, with the real detectors", dict(conditions))
    good, bad = ([each for each in ran if each.scenario.good is kind] for kind in (True, False))
    answers = sum(len(each.outcome.answers) for each in ran)
    unserved = sum(each.unserved for each in ran)
    report.targets = [
        Target("a good version reaches all traffic", "yes", _names(good), all(each.right for each in good)),
        Target("bad versions are rolled back by themselves", f"{len(bad)}", _names(bad), all(e.right for e in bad)),
        Target("callers without an answer", "0", f"{unserved} of {answers:,}", unserved == 0),
        Target(
            "requests that reach a version after its rollback was read",
            "0",
            str(sum(each.strays for each in ran)),
            not any(each.strays for each in ran),
        ),
    ]
    report.tables = [_overview(ran), _callers(ran), *(_history(each) for each in ran)]
    report.notes = [*paragraphs(NOTES), f"The picture is `{picture}`."]
    report.raw = {each.scenario.name: _raw(each) for each in ran}
    return report


def _names(ran: Sequence[Ran]) -> str:
    return f"{sum(each.right for each in ran)} of {len(ran)}"


def _overview(ran: Sequence[Ran]) -> Table:
    columns = ("version", "what it does", "end", "at", "after", "requests", "the canary's", "strongest evidence")
    return Table("What became of them", columns, tuple(_row(each) for each in ran))


def _row(each: Ran) -> tuple[str, ...]:
    outcome = each.outcome
    requests = counted(outcome)
    last = outcome.decisions[-1]
    strongest = max(last.evidence, key=lambda metric: last.evidence[metric], default="")
    return (
        each.scenario.name,
        each.scenario.title,
        outcome.rollout.state.replace("_", " "),
        f"{outcome.share / 100:g} %",
        f"{outcome.seconds:.0f} s",
        f"{sum(requests.values()):,}",
        f"{requests['canary']:,}",
        f"{strongest} {last.evidence[strongest]:+.1f}" if strongest else "",
    )


def counted(outcome: Outcome) -> dict[str, int]:
    """Requests of both arms from the canary's first share on: the last that each stage's history knows."""
    last: dict[tuple[int, str], int] = {}
    for decision in outcome.decisions:
        if decision.stage:
            for arm, counts in decision.counts.items():
                last[decision.stage, arm] = int(counts.get("requests", 0))
    return {arm: sum(requests for (_, name), requests in last.items() if name == arm) for arm in ("control", "canary")}


def _callers(ran: Sequence[Ran]) -> Table:
    columns = ("version", "a second", "answers", "200", "others", "degraded", "by", "p50", "p95")
    rows = []
    for each in ran:
        answers = each.outcome.answers
        times = sorted(answer.seconds for answer in answers)
        served = ", ".join(f"{name.partition('/')[2]} {count:,}" for name, count in by_server(answers).items() if name)
        rows.append(
            (
                each.scenario.name,
                f"{each.outcome.rate:.1f}",
                f"{len(answers):,}",
                f"{by_status(answers).get(OK, 0):,}",
                ", ".join(f"{code} {count}" for code, count in by_code(answers).items()) or "none",
                f"{sum(bool(answer.degraded) for answer in answers):,}",
                served,
                f"{statistics.median(times) * 1000:,.0f} ms" if times else "",
                f"{times[int(0.95 * (len(times) - 1))] * 1000:,.0f} ms" if times else "",
            )
        )
    return Table("What callers got", columns, tuple(rows))


def _history(each: Ran) -> Table:
    columns = ("second", "decision", "share", "why", "evidence", "control", "canary")
    began = each.outcome.rollout.started_at
    rows = []
    for decision in each.outcome.decisions:
        if decision.what not in TURNING:
            continue
        evidence = ", ".join(f"{metric} {log:+.1f}" for metric, log in decision.evidence.items())
        rows.append(
            (
                f"{decision.at - began:.0f}",
                decision.what.replace("_", " "),
                f"{decision.share / 100:g} %",
                decision.why,
                evidence,
                *(_bad(decision.counts.get(arm, {})) for arm in ("control", "canary")),
            )
        )
    return Table(f"{each.scenario.name}: {each.scenario.title}", columns, tuple(rows))


def _bad(counts: Mapping[str, Any]) -> str:
    if not counts:
        return ""
    bad = ", ".join(f"{metric} {count}" for metric, count in sorted(counts.get("bad", {}).items()) if count)
    return f"{counts.get('requests', 0):,} requests" + (f": {bad}" if bad else "")


def _raw(each: Ran) -> dict[str, Any]:
    outcome = each.outcome
    return {
        "title": each.scenario.title,
        "right": each.right,
        "rollout": rollout_document(outcome.rollout),
        "rate": round(outcome.rate, 2),
        "seconds": round(outcome.seconds, 1),
        "requests": counted(outcome),
        "weights": outcome.weights,
        "statuses": by_status(outcome.answers),
        "errors": by_code(outcome.answers),
        "served_by": by_server(outcome.answers),
        "after_the_end": by_server(outcome.after),
        "decisions": [_decision(decision) for decision in outcome.decisions],
    }


def _decision(decision: Decision) -> dict[str, Any]:
    """What was judged on what: counts without the histograms, which decide nothing but the next step's references."""
    document = decision_document(decision)
    kept = ("number", "at", "who", "what", "why", "stage", "share", "evidence")
    counts = {
        arm: {name: value for name, value in counted.items() if name in {"requests", "callers", "bad", "bad_callers"}}
        for arm, counted in document["counts"].items()
    }
    evidence = {metric: round(log, DIGITS) for metric, log in document["evidence"].items()}
    return {**{name: document[name] for name in kept}, "evidence": evidence, "counts": counts}


def draw(ran: Sequence[Ran], path: Path) -> None:
    """Draw each rollout's evidence against time, as an SVG."""
    import matplotlib as mpl  # noqa: PLC0415 - whoever lists benchmarks needs none

    mpl.use("Agg")
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    columns = 2
    rows = math.ceil(len(ran) / columns)
    figure = Figure(figsize=(6.5 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, each in zip(panels, ran, strict=False):
        _panel(panel, each)
    for panel in panels[len(ran) :]:
        panel.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Any, each: Ran) -> None:
    rollout = each.outcome.rollout
    judged = [decision for decision in each.outcome.decisions if decision.evidence]
    times = [decision.at - rollout.started_at for decision in judged]
    for limit in rollout.plan.limits:
        logs = [decision.evidence.get(limit.metric, 0.0) for decision in judged]
        axes.plot(times, logs, label=limit.metric, drawstyle="steps-post", linewidth=1.3)
    axes.axhline(-math.log10(rollout.plan.alpha), color="crimson", linestyle="--", linewidth=1.0)
    for stage in rollout.stages[1:]:
        axes.axvline(stage.since - rollout.started_at, color="grey", linewidth=0.6, linestyle=":")
        axes.annotate(
            f"{stage.share / 100:g} %",
            (stage.since - rollout.started_at, 0.02),
            xycoords=("data", "axes fraction"),
            fontsize=7,
            color="grey",
        )
    axes.set_title(f"{each.scenario.name}: {rollout.state.replace('_', ' ')}", fontsize=10)
    axes.set_ylim(bottom=-4.0)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel("evidence, log10", fontsize=8)
    axes.legend(fontsize=7, loc="upper left")
