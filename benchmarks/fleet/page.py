"""The figures in `docs/fleet.md`: between its two marks a small table each, scenarios down, contenders across."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.fleet.card import MAIN
from benchmarks.fleet.runs import Run

BEGIN, END = "<!-- figures: written by `python -m benchmarks fleet` -->", "<!-- end of figures -->"
SHOWN = ("users failed", "degraded", "wasted calls", "peak containers", "recovery", "not from the model after it")


def figures(runs: Sequence[Run]) -> str:
    """The tables as markdown: medians over seeds."""
    scenarios = list(dict.fromkeys(run.scenario.name for run in runs))
    contenders = list(dict.fromkeys(run.contender for run in runs))
    parts: list[str] = []
    for name, cell in MAIN:
        if name not in SHOWN:
            continue
        parts += [
            f"### {name[0].upper()}{name[1:]}",
            "",
            _row(("", *contenders)),
            _row(["---"] * (len(contenders) + 1)),
        ]
        for scenario in scenarios:
            cells = (
                cell([run.score for run in runs if (run.scenario.name, run.contender) == (scenario, contender)])
                for contender in contenders
            )
            parts.append(_row((scenario, *(text.partition(" (")[0] for text in cells))))
        parts.append("")
    return "\n".join(parts)


def update(page: Path, runs: Sequence[Run]) -> None:
    """Put the figures of `runs` between the page's marks.

    Raises:
        ValueError: the page lacks one.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks one of its marks")
    page.write_text(f"{before}{BEGIN}\n\n{figures(runs)}\n{END}{after}", encoding="utf-8")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
