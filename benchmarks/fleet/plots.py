"""Timelines as SVG: how users ended, and what the endpoint was asked, second by second, for a few contenders.

The same runs give the same bytes: matplotlib's ids are salted with a constant, and the files carry no date.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.fleet.runs import Run
from benchmarks.fleet.scenarios import Scenario
from benchmarks.fleet.values import Kind

STYLE: Any = {
    "svg.hashsalt": "headrace",
    "svg.fonttype": "none",  # text stays text: small files, and the reader's own font
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}
SHOWN: tuple[tuple[str, str, tuple[Kind, ...]], ...] = (
    ("answered by the model", "#3a7d44", ("primary",)),
    ("degraded, and marked so", "#f2b134", ("degraded",)),
    ("over the tenant's own limit", "#9aa5b1", ("limited",)),
    ("failed, turned away or wrong", "#c0392b", ("wrong", "shed", "failed")),
)
LONG_NUMBER = re.compile(r"-?\b\d+\.\d{2,}\b")
UPSTREAM, WASTED = "#1f4e79", "#c0392b"


def plot(scenario: Scenario, runs: Sequence[Run], path: Path) -> None:
    """Write one scenario's timelines, a column for each run."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(runs), 4.2), layout="constrained")
        rows = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False)
        figure.suptitle(f"{scenario.name}: {scenario.about[0].lower()}{scenario.about[1:]}")
        for column, run in enumerate(runs):
            seconds = range(len(run.timeline.upstream))
            users, calls = rows[0][column], rows[1][column]
            users.set_title(run.contender, fontweight="bold")
            stacks = [[sum(parts) for parts in zip(*(run.timeline.ended[kind] for kind in kinds), strict=True)]
                      for _, _, kinds in SHOWN]  # fmt: skip
            labels, colours = [label for label, _, _ in SHOWN], [colour for _, colour, _ in SHOWN]
            users.stackplot(seconds, *stacks, labels=labels, colors=colours, step="post", linewidth=0)
            calls.fill_between(
                seconds,
                run.timeline.upstream,
                step="post",
                color=UPSTREAM,
                linewidth=0,
                label="call to the endpoint, answered",
            )
            calls.fill_between(
                seconds,
                run.timeline.wasted,
                step="post",
                color=WASTED,
                linewidth=0,
                label="call to the endpoint, wasted",
            )
            for axes in (users, calls):
                axes.axvspan(*scenario.fault_s, color="#000000", alpha=0.06, linewidth=0)
                axes.margins(x=0)
            calls.set_xlabel("seconds")
        rows[0][0].set_ylabel("users per second")
        rows[1][0].set_ylabel("calls per second")
        users, calls = (row[0].get_legend_handles_labels() for row in rows)
        figure.legend(*users, loc="outside lower left", ncols=2, frameon=False)
        figure.legend(*calls, loc="outside lower right", frameon=False)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(_rounded(buffer.getvalue()), encoding="utf-8")


def _rounded(svg: str) -> str:
    """Coordinates to a tenth of a point, which no eye can tell from six digits, in half of the bytes."""
    return LONG_NUMBER.sub(lambda found: f"{float(found[0]):.1f}", svg)


def file_name(scenario: Scenario) -> str:
    """The plot's file in `docs/`."""
    return f"fleet-{scenario.name.replace(',', '').replace(' ', '-')}.svg"
