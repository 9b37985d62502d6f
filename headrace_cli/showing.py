"""What commands print: answers on stdout, for people and for pipes; words about them on stderr."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from headrace_cli.problems import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace_cli.world import World

KIB = 1024


def print_json(document: Any) -> None:
    """Prints a document. Signs that a terminal would obey are escaped, so it is the same document to a program."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    typer.echo("".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table; into a pipe, lines with tabs and without a heading."""
    cells = [[plain(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in cells:
        table.add_row(*map(Text, row))  # Text: what looks like markup is not
    Console().print(table)


def print_page(
    page: dict[str, Any],
    columns: Sequence[str],
    row: "Callable[[dict[str, Any]], Sequence[object]]",
    *,
    as_json: bool,
) -> None:
    """Prints a page of a list, as a table or as JSON, and says when there are more."""
    if as_json:
        print_json(page)
        return
    entries = [entry for entry in page.get("data") or () if isinstance(entry, dict)]
    print_table(columns, [row(entry) for entry in entries])
    if page.get("has_more") and entries:
        typer.echo(f"There are more: --after {plain(page.get('last_id') or entries[-1].get('id'))}", err=True)


def when(seconds: object) -> str:
    """A moment, as local time to the second."""
    if not isinstance(seconds, int | float) or not seconds:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: object) -> str:
    """Bytes as people say them, in powers of 1024."""
    amount = float(count) if isinstance(count, int | float) else 0.0
    for unit in ("B", "KiB", "MiB"):
        if amount < KIB:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= KIB
    return f"{amount:.1f} GiB"


@contextmanager
def transfer(world: "World", label: str) -> "Iterator[Callable[[int, int], None]]":
    """A bar for bytes on their way, told bytes done and in all; nothing where nobody watches."""
    if not world.terminal:
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)
