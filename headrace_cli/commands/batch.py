"""``headrace batch``: begin, watch, end and fetch batches."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from headrace_cli.problems import OK, UsageProblem
from headrace_cli.world import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch's id: batch_…")]
AsJson = Annotated[bool, typer.Option("--json", help="The whole document, as JSON.")]
LIST_MAX = 100


@app.command()
def submit(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(help="A file to upload, or the id (file_…) of one that is.")],
    endpoint: Annotated[str, typer.Option("--endpoint", "-e", help="The model, such as sentiment: headrace models.")],
    version: Annotated[str | None, typer.Option(help="Only this version may answer.")] = None,
    format_: Annotated[
        Literal["jsonl", "csv", "parquet", "manifest"] | None,
        typer.Option("--format", help="Of the file, where its name does not say."),
    ] = None,
    method: Annotated[
        Literal["auto", "map", "transform"] | None, typer.Option(help="How it is worked off; the plan knows best.")
    ] = None,
    degraded: Annotated[bool, typer.Option(help="Whether stand-ins may answer, marked as such.")] = True,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="For every record, such as threshold=0.5; again for more."),
    ] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="Told when it is over.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Kept with the batch; again for more.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is over.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results and errors are put at the end; implies --watch.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key begins the same batch once, within a day.")
    ] = None,
) -> None:
    """Upload FILE and begin a batch on it. Prints the batch's id first, alone on its line."""
    from headrace_cli import submitting

    session: Session = ctx.obj
    if out is not None and out.exists() and not out.is_dir():
        raise UsageProblem(f"{out} is no folder: results and errors are two files.")
    wish = submitting.Wish(
        endpoint=endpoint,
        version=version,
        format=format_,
        method=method,
        degraded=degraded,
        parameters=submitting.numbers(parameter or (), "--parameter"),
        webhook=webhook,
        metadata=submitting.pairs(metadata or (), "--metadata"),
    )
    with session.api() as api:
        once = idempotency_key or api.world.token()
        batch = submitting.submit(api, file, wish, once=once)
        typer.echo(batch["id"])
        if not (watch or out):
            typer.echo(f"Watch it: headrace batch status {batch['id']} --watch", err=True)
            return
        raise typer.Exit(_follow(api, batch["id"], out))


@app.command()
def status(
    ctx: typer.Context,
    batch_id: BatchId,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a batch is."""
    from headrace_cli import ending
    from headrace_cli.api import segment
    from headrace_cli.progress import exit_code, look_of
    from headrace_cli.showing import print_json
    from headrace_cli.watching import display_for, watch_to_end

    session: Session = ctx.obj
    with session.api() as api:
        if watch:
            document = watch_to_end(api, batch_id, display_for(api))
        else:
            document = api.ask("GET", f"/v1/batches/{segment(batch_id)}")
    look = look_of(document)
    if as_json:
        print_json(document)
    else:
        ending.tell(look, err=False)
    raise typer.Exit(exit_code(look) if watch else OK)


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=LIST_MAX, help="At most so many.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Those older than this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    from headrace_cli.showing import print_page

    session: Session = ctx.obj
    with session.api() as api:
        page = api.ask("GET", "/v1/batches", params={"limit": limit, **({"after": after} if after else {})})
    print_page(page, ("id", "state", "model", "done", "records", "errors", "created"), _row, as_json=as_json)


@app.command()
def cancel(ctx: typer.Context, batch_id: BatchId) -> None:
    """Let no further record begin; what is finished is kept."""
    _act(ctx, batch_id, "cancel")


@app.command()
def redrive(
    ctx: typer.Context,
    batch_id: BatchId,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is over.")] = False,
) -> None:
    """Finish what is missing of a batch that failed; nothing is done twice."""
    _act(ctx, batch_id, "redrive")
    if watch:
        session: Session = ctx.obj
        with session.api() as api:
            raise typer.Exit(_follow(api, batch_id, None))


@app.command()
def results(
    ctx: typer.Context,
    batch_id: BatchId,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where to; - for stdout; without it ID.results.jsonl here.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="The records that have no result, and why.")] = False,
) -> None:
    """Fetch the results of a batch that is over. An older file of the name is replaced when the new one is whole."""
    from headrace_cli import ending
    from headrace_cli.api import segment
    from headrace_cli.progress import look_of

    session: Session = ctx.obj
    with session.api() as api:
        look = look_of(api.ask("GET", f"/v1/batches/{segment(batch_id)}"))
        ending.fetch(api, look, errors=errors, out=out)


@app.command()
def report(ctx: typer.Context, batch_id: BatchId) -> None:
    """Show the report of a batch that is over, as JSON: its counts add up, and it says what was left out."""
    from headrace_cli.api import segment
    from headrace_cli.showing import print_json

    session: Session = ctx.obj
    with session.api() as api:
        print_json(api.ask("GET", f"/v1/batches/{segment(batch_id)}/report"))


def _row(document: dict[str, Any]) -> tuple[object, ...]:
    from headrace_cli.progress import look_of
    from headrace_cli.showing import when

    look = look_of(document)
    created = when(document.get("created_at"))
    return look.batch_id, look.state, look.model, look.done, look.total, look.errors, created


def _act(ctx: typer.Context, batch_id: str, action: str) -> None:
    from headrace_cli.api import segment
    from headrace_cli.progress import look_of, sentence

    session: Session = ctx.obj
    with session.api() as api:
        document = api.ask("POST", f"/v1/batches/{segment(batch_id)}/{action}", once=api.world.token())
    typer.echo(f"{batch_id}: {sentence(look_of(document))}")


def _follow(api: Any, batch_id: str, out: Path | None) -> int:
    """Watches to the end, fetches the files if asked, says what became of it, and returns the exit status."""
    from headrace_cli import ending
    from headrace_cli.progress import exit_code, look_of
    from headrace_cli.watching import display_for, watch_to_end

    look = look_of(watch_to_end(api, batch_id, display_for(api)))
    ending.tell(look, err=True)
    if out is not None:
        ending.fetch_all(api, look, out)
    return exit_code(look)
