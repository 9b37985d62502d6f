"""Watching a batch: looks again and again, with growing pauses, and shows what it sees until the batch is over.

A terminal gets a bar that moves; anything else gets a plain line when something changes, and now and then.
"""

from typing import TYPE_CHECKING, Protocol

import typer

from headrace_cli.api import Api, Document, segment
from headrace_cli.patience import LOST, REFUSED
from headrace_cli.problems import ApiProblem, UnreachableProblem
from headrace_cli.progress import PAUSE_MIN_S, Look, duration, errors, look_of, next_pause_s, sentence

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_S = 10.0
SILENCE_MAX_S = 900.0
"""A service that cannot be reached for this long is given up; the batch goes on without anyone looking."""


class Display(Protocol):
    """Where looks are shown."""

    def show(self, look: Look) -> None:
        """Show a look."""

    def close(self) -> None:
        """Leave the last picture standing."""


def watch_to_end(api: Api, batch_id: str, display: Display) -> Document:
    """Looks until the batch is over, and returns its document.

    Raises:
        Problem: the API refused, or could not be reached for too long.
        KeyboardInterrupt: the watcher leaves; the batch goes on, and how to come back has been told.
    """
    goes_on = False
    try:
        return _looks(api, batch_id, display)
    except (KeyboardInterrupt, UnreachableProblem):
        goes_on = True
        raise
    except ApiProblem as problem:
        goes_on = passing(problem)
        raise
    finally:
        display.close()
        if goes_on:
            typer.echo(f"The batch goes on. Come back with: headrace batch status {batch_id} --watch", err=True)


def _looks(api: Api, batch_id: str, display: Display) -> Document:
    world = api.world
    pause_s, seen = PAUSE_MIN_S, None
    reached_at = world.clock()
    while True:
        try:
            document = api.ask("GET", f"/v1/batches/{segment(batch_id)}")
        except (UnreachableProblem, ApiProblem) as problem:
            if not passing(problem) or world.clock() - reached_at >= SILENCE_MAX_S:
                raise
        else:
            reached_at = world.clock()
            look = look_of(document)
            display.show(look)
            if look.over:
                return document
            pause_s = next_pause_s(pause_s, moved=look != seen, eta_s=look.eta_s)
            seen = look
        world.sleep(pause_s)


def passing(problem: UnreachableProblem | ApiProblem) -> bool:
    """Whether it may be over at the next look: the network, or a service that has too much to do or is down."""
    return isinstance(problem, UnreachableProblem) or problem.status in REFUSED | LOST


def display_for(api: Api) -> Display:
    """A bar for who watches, lines for a log."""
    if not api.world.terminal:
        return Lines(api)
    from rich.console import Console

    return Bar(Console(stderr=True))


class Lines:
    """Plain lines on stderr: at every change of state or pause, and every ten seconds.

    Args:
        api: whose clock is used.
    """

    def __init__(self, api: Api) -> None:
        self._clock = api.world.clock
        self._last: tuple[str, str] | None = None
        self._told_at = 0.0

    def show(self, look: Look) -> None:
        """A line, when it is worth one."""
        now = self._clock()
        if (look.state, look.paused) != self._last or now - self._told_at >= LINE_EVERY_S:
            self._last, self._told_at = (look.state, look.paused), now
            typer.echo(sentence(look), err=True)

    def close(self) -> None:
        """Nothing stands."""


class Bar:
    """A moving bar: state, share done, records, rate, what is left, errors, and why it pauses.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.fields[state]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            TextColumn("{task.fields[errors]}", style="red", markup=False),
            TextColumn("{task.fields[paused]}", style="yellow", markup=False),
            console=console,
        )
        self._task = self._progress.add_task("", total=None, state="looking", pace="", errors="", paused="")

    def show(self, look: Look) -> None:
        """Draws a look."""
        self._progress.start()
        pace = []
        if look.rate_per_s and not look.over:
            pace.append(f"{look.rate_per_s:,.0f}/s")
        if look.eta_s is not None and not look.over:
            pace.append(f"{duration(look.eta_s)} left")
        self._progress.update(
            self._task,
            total=look.total or None,
            completed=look.done,
            state=look.state,
            pace=" ".join(pace),
            errors=errors(look) if look.errors else "",
            paused=f"paused: {look.paused}" if look.paused and not look.over else "",
        )

    def close(self) -> None:
        """Stops drawing."""
        self._progress.stop()
