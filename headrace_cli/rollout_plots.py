"""Evidence against time: in the terminal, and as a picture."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from headrace_cli.problems import Problem
from headrace_cli.rollout_plans import percent

if TYPE_CHECKING:
    from headrace.rollouts.states import Decision, Rollout

MINUTES_FROM_S = 180.0
HOURS_FROM_S = 3 * 3600.0


@dataclass(frozen=True, slots=True)
class Curves:
    """What is drawn: evidence by metric at `times`, the threshold, and when the share changed.

    Attributes:
        unit: of the times since the start.
        evidence: base-10 logarithms, one for each time.
        steps: time and share in percent.
    """

    title: str
    unit: str
    times: Sequence[float]
    evidence: dict[str, list[float]]
    threshold: float
    steps: Sequence[tuple[float, str]]


def curves(rollout: "Rollout", decisions: "Sequence[Decision]") -> Curves:
    """What is to be drawn of a rollout. Raises Problem where it has no evidence yet."""
    judged = [decision for decision in decisions if decision.evidence]
    if not judged:
        raise Problem("Nothing was judged yet: there is no evidence to draw.")
    lasted_s = judged[-1].at - rollout.started_at
    length, unit = (
        (3600.0, "hours")
        if lasted_s >= HOURS_FROM_S
        else (60.0, "minutes")
        if lasted_s >= MINUTES_FROM_S
        else (1.0, "seconds")
    )
    metrics = list(dict.fromkeys(metric for decision in judged for metric in decision.evidence))
    return Curves(
        title=f"{rollout.endpoint} {rollout.canary} ({rollout.state.replace('_', ' ')}): evidence against the canary",
        unit=unit,
        times=[(decision.at - rollout.started_at) / length for decision in judged],
        evidence={metric: [decision.evidence.get(metric, 0.0) for decision in judged] for metric in metrics},
        threshold=-math.log10(rollout.plan.alpha),
        steps=[((stage.since - rollout.started_at) / length, percent(stage.share)) for stage in rollout.stages[1:]],
    )


def draw_here(drawn: Curves) -> None:
    """Prints the curves. Raises Problem where the library is not there."""
    plot = _library("plotext")
    plot.clear_figure()
    coloured = sys.stdout.isatty()
    if not coloured:
        plot.theme("clear")
    for metric, values in drawn.evidence.items():
        # Without colours the first letter tells: those of all metrics differ.
        plot.plot(drawn.times, values, label=metric, marker="hd" if coloured else metric[0])
    plot.hline(drawn.threshold)
    for time, _ in drawn.steps:
        plot.vline(time)
    plot.title(drawn.title)
    plot.xlabel(f"{drawn.unit}; lines across: " + ", ".join(share for _, share in drawn.steps))
    plot.ylabel(f"log10; rolled back at {drawn.threshold:.2f}")
    typer.echo(plot.build())


def draw_png(drawn: Curves, path: Path) -> None:
    """Writes the curves as a PNG. Raises Problem where the library is not there."""
    matplotlib = _library("matplotlib")
    matplotlib.use("Agg")
    figure_module = _library("matplotlib.figure")
    figure = figure_module.Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    for metric, values in drawn.evidence.items():
        axes.plot(drawn.times, values, label=metric, drawstyle="steps-post", linewidth=1.5)
    axes.axhline(drawn.threshold, color="crimson", linestyle="--", label=f"rolled back at {drawn.threshold:.2f}")
    for time, share in drawn.steps:
        axes.axvline(time, color="grey", linewidth=0.7, linestyle=":")
        axes.annotate(share, (time, 1.0), xycoords=("data", "axes fraction"), fontsize=8, color="grey")
    axes.set_title(drawn.title, pad=16)
    axes.set_xlabel(f"{drawn.unit} since the start")
    axes.set_ylabel("evidence, log10")
    axes.legend(loc="best", fontsize=8)
    figure.savefig(path, dpi=120, format="png")


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise Problem(f"Drawing needs {name.partition('.')[0]}: pip install 'headrace[operator]'.") from error
