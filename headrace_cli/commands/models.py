"""``headrace models``: what can be asked."""

from typing import Annotated

import typer

from headrace_cli.world import Session


def models(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="The whole document, as JSON.")] = False
) -> None:
    """List the models that can be asked: their task and versions."""
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
