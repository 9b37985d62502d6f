"""``headrace models``: what can be asked; below it, what an operator does with the versions of a model."""

from typing import Annotated

import typer

from headrace_cli.commands import registry
from headrace_cli.world import Session

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="The whole document, as JSON.")] = False
) -> None:
    """List the models that can be asked: their task and versions. Below: the registry of versions, for operators."""
    if ctx.invoked_subcommand is not None:
        return
    from headrace_cli.showing import print_page

    session: Session = ctx.obj
    with session.api() as api:
        page = api.ask("GET", "/v1/models")
    print_page(
        page,
        ("model", "task", "versions", "description"),
        lambda model: (
            model.get("id"),
            model.get("task"),
            " ".join(map(str, model.get("versions") or ())),
            model.get("description"),
        ),
        as_json=as_json,
    )


app.command()(registry.register)
app.command()(registry.approve)
app.command("list")(registry.list_versions)
app.command()(registry.diff)
app.command()(registry.inspect)
