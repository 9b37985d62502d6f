"""``headrace routing``: who of an endpoint's callers is served by which version, changed without a deployment."""

from pathlib import Path
from typing import Annotated, Any

import typer

from headrace_cli.commands.operator_options import HISTORY_MAX, AsJson, EndpointName, Folder, Stage, Why
from headrace_cli.problems import FAILED, OK
from headrace_cli.world import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The document, YAML or JSON; - for stdin.")]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="As its keys have it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would move, and change nothing.")]


@app.command()
def show(
    ctx: typer.Context,
    endpoint: EndpointName,
    version: Annotated[int | None, typer.Option(min=0, help="An earlier one; 0 is the declaration.")] = None,
    as_json: AsJson = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Print the document in force as a file that `apply` takes."""
    import json

    from headrace.routing.kept import dump
    from headrace_cli import steering
    from headrace_cli.rolling import open_office
    from headrace_cli.showing import print_json

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    routing = steering.standing(office)[0] if version is None else steering.kept(office, version)
    if as_json:
        print_json(json.loads(dump(routing)))
    else:
        typer.echo(steering.as_yaml(routing), nl=False)


@app.command()
def history(
    ctx: typer.Context,
    endpoint: EndpointName,
    limit: Annotated[int, typer.Option(min=1, max=HISTORY_MAX, help="At most so many.")] = 20,
    as_json: AsJson = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """List the documents, the newest first: when, who, why, and the weights."""
    import json

    from headrace.routing.kept import dump
    from headrace_cli.rolling import open_office, translated
    from headrace_cli.showing import print_json, print_table, when

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    with translated():
        found = office.stores.routings.history(office.endpoint.name, limit=limit)
    if as_json:
        print_json([json.loads(dump(each)) for each in found])
        return
    rows = [(each.version, when(each.at), each.who, each.why, _weights(each.weights)) for each in found]
    print_table(("version", "at", "who", "why", "weights"), rows)


@app.command()
def diff(
    ctx: typer.Context,
    endpoint: EndpointName,
    old: Annotated[int, typer.Argument(metavar="VERSION", min=0, help="0 is the declaration.")],
    new: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="Without it the one in force.")] = None,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Show what two documents say differently. The exit status is 1 when they differ."""
    from headrace_cli import steering
    from headrace_cli.rolling import open_office

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    newer = steering.standing(office)[0] if new is None else steering.kept(office, new)
    text = steering.difference(steering.kept(office, old), newer)
    typer.echo(text, nl=False)
    raise typer.Exit(FAILED if text else OK)


@app.command()
def check(ctx: typer.Context, file: File, stage: Stage = None, endpoints: Folder = None) -> None:
    """Check a file against the endpoint and the document in force, and say what it would move."""
    _apply(ctx.obj, file, why="", dry_run=True, stage=stage, folder=endpoints)


@app.command("apply")
def apply_(
    ctx: typer.Context, file: File, why: Why, dry_run: DryRun = False, stage: Stage = None, endpoints: Folder = None
) -> None:
    """Put a file in force: weights, stickiness, groups, pins and shadow become what it says."""
    _apply(ctx.obj, file, why=why, dry_run=dry_run, stage=stage, folder=endpoints)


@app.command()
def weights(
    ctx: typer.Context,
    endpoint: EndpointName,
    given: Annotated[list[str], typer.Argument(metavar="VERSION=SHARE...", help="Such as v1=90% v2=10%.")],
    why: Why,
    dry_run: DryRun = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Set the weights; versions that are not named get none."""
    from headrace.routing.changes import reweighted
    from headrace_cli import steering

    asked = steering.shares(given)
    _alter(ctx.obj, endpoint, lambda routing, by: reweighted(routing, asked, **by), why, dry_run, stage, endpoints)


@app.command()
def pin(
    ctx: typer.Context,
    endpoint: EndpointName,
    tenant: Tenant,
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    why: Why,
    dry_run: DryRun = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Have one tenant served by one version, where that may serve it."""
    from headrace.routing.changes import pinned

    _alter(
        ctx.obj, endpoint, lambda routing, by: pinned(routing, tenant, version, **by), why, dry_run, stage, endpoints
    )


@app.command()
def unpin(
    ctx: typer.Context,
    endpoint: EndpointName,
    tenant: Tenant,
    why: Why,
    dry_run: DryRun = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Have a tenant served as all others are."""
    from headrace.routing.changes import unpinned

    _alter(ctx.obj, endpoint, lambda routing, by: unpinned(routing, tenant, **by), why, dry_run, stage, endpoints)


@app.command()
def restore(
    ctx: typer.Context,
    endpoint: EndpointName,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=0, help="0 is the declaration.")],
    why: Why,
    dry_run: DryRun = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Put an earlier document in force again; also where the one in force cannot be read."""
    from headrace.errors import InvalidRequest
    from headrace.routing.changes import restored
    from headrace_cli import steering
    from headrace_cli.rolling import open_office, translated

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    with translated():
        try:
            office.stores.routings.read(office.endpoint.name)
        except InvalidRequest:
            if not dry_run:
                steering.mend(office, version, why)
            return
    old = steering.kept(office, version)
    steering.alter(office, lambda routing, by: restored(routing, old, **by), steering.Said(why, dry_run))


def _apply(session: Session, file: Path, *, why: str, dry_run: bool, stage: str | None, folder: Path | None) -> None:
    from headrace_cli import steering

    declaration = steering.read_file(session, file)
    office = steering.office_of(session, declaration, stage=stage, folder=folder)
    steering.alter(office, steering.change_of(declaration), steering.Said(why, dry_run))


def _alter(
    session: Session,
    endpoint: str,
    change: Any,
    why: str,
    dry_run: bool,  # noqa: FBT001 - as the commands have it
    stage: str | None,
    folder: Path | None,
) -> None:
    from headrace_cli import steering
    from headrace_cli.rolling import open_office

    office = open_office(session, endpoint, stage=stage, folder=folder)
    steering.alter(office, change, steering.Said(why, dry_run, whole=False))


def _weights(weights: Any) -> str:
    return " ".join(f"{name}={weight / 100:g}%" for name, weight in sorted(weights.items()) if weight)
