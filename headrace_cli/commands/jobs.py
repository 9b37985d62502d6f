"""``headrace jobs``: single requests that are accepted now and answered later."""

from pathlib import Path
from typing import Annotated

import typer

from headrace_cli.world import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id: job_…")]
AsJson = Annotated[bool, typer.Option("--json", help="The whole document, as JSON.")]
LIST_MAX = 100


@app.command()
def submit(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The request's body: JSON, or a picture; - for JSON from stdin.")],
    endpoint: Annotated[str, typer.Option("--endpoint", "-e", help="The model, such as sentiment: headrace models.")],
    version: Annotated[str | None, typer.Option(help="Only this version may answer.")] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="Told when it is over.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key is one job, within a day.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Stay for the answer and print it.")] = False,
) -> None:
    """Have one request answered later. Prints the job's id first, alone on its line."""
    from headrace_cli import deferring

    session: Session = ctx.obj
    with session.api() as api:
        body, content_type = deferring.read_body(file, typer.get_binary_stream("stdin"))
        once = idempotency_key or api.world.token()
        job_id = deferring.submit(api, body, content_type, model=endpoint, version=version, webhook=webhook, once=once)
        typer.echo(job_id)
        if wait:
            raise typer.Exit(deferring.wait(api, job_id))
        typer.echo(f"Its answer: headrace jobs wait {job_id}", err=True)


@app.command()
def get(ctx: typer.Context, job_id: JobId) -> None:
    """Show a job as it is now, as JSON, with its answer when there is one."""
    from headrace_cli.api import segment
    from headrace_cli.showing import print_json

    session: Session = ctx.obj
    with session.api() as api:
        print_json(api.ask("GET", f"/v1/jobs/{segment(job_id)}"))


@app.command()
def wait(ctx: typer.Context, job_id: JobId) -> None:
    """Stay until a job is over and print its answer."""
    from headrace_cli import deferring

    session: Session = ctx.obj
    with session.api() as api:
        raise typer.Exit(deferring.wait(api, job_id))


@app.command()
def cancel(ctx: typer.Context, job_id: JobId) -> None:
    """Drop a job that has not started. One that has is told with its state, and the exit status is 1."""
    from headrace_cli.api import segment
    from headrace_cli.problems import FAILED, OK, plain

    session: Session = ctx.obj
    with session.api() as api:
        job = api.ask("POST", f"/v1/jobs/{segment(job_id)}/cancel", once=api.world.token())
    typer.echo(f"{job_id}: {plain(job.get('state', 'unknown'))}")
    raise typer.Exit(OK if job.get("state") == "cancelled" else FAILED)


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=LIST_MAX, help="At most so many.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Those older than this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from headrace_cli.showing import print_page, when

    session: Session = ctx.obj
    with session.api() as api:
        page = api.ask("GET", "/v1/jobs", params={"limit": limit, **({"after": after} if after else {})})
    print_page(
        page,
        ("id", "state", "code", "created"),
        lambda job: (job.get("id"), job.get("state"), job.get("code") or "", when(job.get("created_at"))),
        as_json=as_json,
    )
