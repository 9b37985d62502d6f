"""``headrace``: the commands, put together, and what becomes of what goes wrong in them.

Exit status: 0 done; 1 refused or failed; 2 the command line is wrong; 3 a watched batch is completed, and some of its
records are in errors; 130 Ctrl-C.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from headrace_cli.commands import batch, experiment, files, jobs, models, profiles, rollout, routing
from headrace_cli.problems import FAILED, Problem, plain
from headrace_cli.world import Session, World, this_world


class Guarded(TyperGroup):
    """The root of the commands: a problem is one line on stderr, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was named."""
        try:
            return super().invoke(ctx)
        except Problem as problem:
            typer.echo(f"headrace: {problem}", err=True)
            raise typer.Exit(problem.exit_code) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # typer ends quietly when a pipe closes
            name = f": {plain(error.filename)}" if error.filename else ""
            typer.echo(f"headrace: {error.strerror or type(error).__name__}{name}", err=True)
            raise typer.Exit(FAILED) from None


# Plain help: rich's would take as long again as everything else that `--help` does.
app = typer.Typer(cls=Guarded, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
app.add_typer(batch.app, name="batch", help="Large files: submit, watch, fetch results.")
app.add_typer(jobs.app, name="jobs", help="Single requests, accepted now and answered later.")
app.add_typer(files.app, name="files", help="What was uploaded, and what batches left.")
app.add_typer(models.app, name="models", help="What can be asked; and the registry of versions, for operators.")
app.add_typer(routing.app, name="routing", help="Which version serves whom, changed without a deployment.")
app.add_typer(rollout.app, name="rollout", help="New versions, brought in by evidence.")
app.add_typer(experiment.app, name="experiment", help="A/B tests: versions compared by what callers do with them.")
app.add_typer(profiles.app, name="config", help="Services by name.")
app.command("login")(profiles.login)
app.command("logout")(profiles.logout)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"headrace {version('headrace')}")
        except PackageNotFoundError:
            typer.echo("headrace, not installed")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="The service: headrace config show.")] = None,
    _asked: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Batches, jobs and files of a Headrace.

    Without a profile, the platform that `make run` started in this folder or one above. HEADRACE_URL and
    HEADRACE_API_KEY name another service, as HEADRACE_PROFILE and --profile do.
    """
    world = ctx.obj if isinstance(ctx.obj, World) else this_world()
    ctx.obj = Session(world, profile)


def run() -> None:
    """The program."""
    # Who starts it may have closed any of these (`<&-`, a service manager); Python then has None in their place.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end
    app(prog_name="headrace")
