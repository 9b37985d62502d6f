"""``headrace files``: what was uploaded, and what batches left."""

from pathlib import Path
from typing import Annotated

import typer

from headrace_cli.world import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

FileId = Annotated[str, typer.Argument(metavar="ID", help="The file's id: file_…")]
AsJson = Annotated[bool, typer.Option("--json", help="The whole document, as JSON.")]
LIST_MAX = 100


@app.command()
def upload(ctx: typer.Context, file: Annotated[Path, typer.Argument(help="What to upload.")]) -> None:
    """Upload a file for a batch. Prints its id."""
    from headrace_cli.showing import transfer
    from headrace_cli.uploads import upload as upload_file

    session: Session = ctx.obj
    with session.api() as api, transfer(session.world, f"uploading {file.name}") as progress:
        document = upload_file(api, file, progress=progress)
    typer.echo(document["id"])


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=LIST_MAX, help="At most so many.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Those older than this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List files, newest first."""
    from headrace_cli.showing import print_page, size, when

    session: Session = ctx.obj
    with session.api() as api:
        page = api.ask("GET", "/v1/files", params={"limit": limit, **({"after": after} if after else {})})
    print_page(
        page,
        ("id", "name", "size", "purpose", "state", "created"),
        lambda file: (
            file.get("id"),
            file.get("filename"),
            size(file.get("bytes")),
            file.get("purpose"),
            file.get("status"),
            when(file.get("created_at")),
        ),
        as_json=as_json,
    )


@app.command()
def get(
    ctx: typer.Context,
    file_id: FileId,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Its content goes there; - for stdout.")] = None,
) -> None:
    """Show what a file is, as JSON; with --out, fetch its content."""
    from headrace_cli.api import segment
    from headrace_cli.ending import save
    from headrace_cli.showing import print_json

    session: Session = ctx.obj
    with session.api() as api:
        if out is None:
            print_json(api.ask("GET", f"/v1/files/{segment(file_id)}"))
        else:
            save(api, file_id, out)


@app.command()
def delete(ctx: typer.Context, file_id: FileId) -> None:
    """Delete a file."""
    from headrace_cli.api import segment

    session: Session = ctx.obj
    with session.api() as api:
        api.ask("DELETE", f"/v1/files/{segment(file_id)}")
    typer.echo(f"{file_id}: deleted")
