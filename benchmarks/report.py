"""A benchmark's result as a value, and as the markdown, JSON and screen text made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Target:
    """One target of the project and what became of it. `met` is None when it was not measured; `reached` says why."""

    name: str
    wanted: str
    reached: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title; cells are text already."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Report:
    """Everything one benchmark found."""

    name: str
    title: str
    conditions: Mapping[str, str]
    targets: list[Target] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)


def paragraphs(prose: str) -> tuple[str, ...]:
    """Notes as they are written in source, one paragraph each, as single lines."""
    return tuple(" ".join(part.split()) for part in prose.split("\n\n") if part.strip())


def verdict(met: bool | None) -> str:  # noqa: FBT001 - it is the value itself, not a switch
    """A target's outcome in a word."""
    return {True: "yes", False: "no", None: "not measured"}[met]


def markdown(report: Report) -> str:
    """The page that is kept."""
    parts = [f"# {report.title}", ""]
    if report.targets:
        rows = tuple((one.name, one.wanted, one.reached, verdict(one.met)) for one in report.targets)
        parts += _table(Table("Targets", ("what", "target", "reached", "met"), rows))
    for table in report.tables:
        parts += _table(table)
    if report.notes:
        parts += ["## How to read this", "", *(f"- {note}" for note in report.notes), ""]
    parts += ["## Conditions", "", *(f"- {name}: {value}" for name, value in report.conditions.items()), ""]
    return "\n".join(parts)


def _table(table: Table) -> list[str]:
    return [
        f"## {table.title}",
        "",
        _row(table.columns),
        _row(["---"] * len(table.columns)),
        *(_row(row) for row in table.rows),
        "",
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def text(report: Report) -> str:
    """The same for a screen: columns aligned, nothing cut off."""
    lines = [report.title, ""]
    tables = list(report.tables)
    if report.targets:
        rows = tuple((one.name, one.wanted, one.reached, verdict(one.met)) for one in report.targets)
        tables.append(Table("Targets", ("what", "target", "reached", "met"), rows))
    for table in tables:
        widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
        lines += [table.title]
        for row in (table.columns, tuple("-" * width for width in widths), *table.rows):
            cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {cells}".rstrip())
        lines.append("")
    lines += [f"{name}: {value}" for name, value in report.conditions.items()]
    return "\n".join(lines)


def write(report: Report, *, folder: Path = RESULTS) -> Path:
    """Write `<name>.md` and `<name>.json` and return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{report.name}.md"
    page.write_text(markdown(report), encoding="utf-8")
    document = {
        "conditions": dict(report.conditions),
        "targets": [
            {"name": one.name, "target": one.wanted, "reached": one.reached, "met": one.met} for one in report.targets
        ],
        "raw": report.raw,
    }
    (folder / f"{report.name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return page
