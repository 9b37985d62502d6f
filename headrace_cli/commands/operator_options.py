"""Arguments and options that all of an operator's commands on deployed endpoints share."""

from pathlib import Path
from typing import Annotated

import typer

EndpointName = Annotated[str, typer.Argument(metavar="ENDPOINT", help="As its folder below endpoints/ is called.")]
Why = Annotated[str, typer.Option(help="Kept in the history, with who you are.")]
Stage = Annotated[
    str | None, typer.Option(metavar="NAME", help="The deployed stage; without it the platform that runs here.")
]
Folder = Annotated[
    Path | None,
    typer.Option("--endpoints", metavar="DIR", help="Declarations, where not endpoints/ here or above."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The whole document, as JSON.")]
HISTORY_MAX = 100
