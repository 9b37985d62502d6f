"""What a build shows: a live line on a terminal, plain lines elsewhere, and a table at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from endpoints.building.builder import Built, Report

MEGABYTE = 1_000_000
PLAIN_EVERY_S = 15.0  # a log is not flooded by percentages


@contextmanager
def reporting(console: Console, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Gives the function that a build tells what it is doing."""
    if not console.is_terminal:
        yield _plain(console, clock)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("looking for what is missing", total=None)

        def report(text: str, fraction: float | None) -> None:
            progress.update(task, description=text, total=None if fraction is None else 1.0, completed=fraction or 0.0)

        yield report


def _plain(console: Console, clock: Callable[[], float]) -> Report:
    last_text, last_s = "", float("-inf")

    def report(text: str, fraction: float | None) -> None:
        nonlocal last_text, last_s
        now_s = clock()
        if text == last_text and now_s - last_s < PLAIN_EVERY_S:
            return
        last_text, last_s = text, now_s
        console.print(text if fraction is None else f"{text}: {fraction:.0%}", highlight=False, soft_wrap=True)

    return report


def show(console: Console, built: list[Built]) -> None:
    """Prints the table of artifacts, and their digests in full on lines of their own, ready to paste."""
    table = Table("artifact", "MB", "made in", "measured")
    for item in built:
        measured = " ".join(f"{name}={value:.6g}" for name, value in item.metrics.items())
        took = "already there" if item.made_in_s is None else f"{item.made_in_s:.0f} s"
        table.add_row(f"{item.endpoint}/{item.version}", f"{item.size_bytes / MEGABYTE:.1f}", took, measured)
    console.print(table)
    for item in built:
        console.print(f"{item.endpoint}/{item.version} {item.digest}", highlight=False, soft_wrap=True)
