"""Beginning a batch: the file goes up, then one request begins it, under a key that lets it arrive twice."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

from headrace_cli.api import Api, Document, segment
from headrace_cli.patience import LOST
from headrace_cli.problems import ApiProblem, UnreachableProblem, UsageProblem
from headrace_cli.showing import size, transfer
from headrace_cli.uploads import upload

WINDOW = "24h"
PATHS = {"text-classification": "/v1/classifications", "object-detection": "/v1/detections"}
"""Where requests for a task go; models of other tasks are asked by the Open Inference Protocol."""

_FILE_ID = re.compile(r"file_[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a batch is asked for; None leaves a choice to the service."""

    endpoint: str
    version: str | None
    format: str | None
    method: str | None
    degraded: bool
    parameters: dict[str, float]
    webhook: str | None
    metadata: dict[str, str]


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`name=value` texts as a mapping.

    Raises:
        UsageProblem: one is not of that form, or a name stands twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or name in found:
            raise UsageProblem(f"{option} takes NAME=VALUE, each name once; it got {text!r}.")
        found[name] = value
    return found


def numbers(texts: Iterable[str], option: str) -> dict[str, float]:
    """`name=number` texts as a mapping. Raises UsageProblem as `pairs`."""
    try:
        return {name: float(value) for name, value in pairs(texts, option).items()}
    except ValueError as error:
        raise UsageProblem(f"{option} takes NAME=NUMBER.") from error


def path_of(api: Api, model: str) -> str:
    """The path that requests to a model go to.

    Raises:
        Problem: there is no such model, or the key may not read.
    """
    return PATHS.get(
        str(api.ask("GET", f"/v1/models/{segment(model)}").get("task")), f"/v2/models/{segment(model)}/infer"
    )


def submit(api: Api, file: str, wish: Wish, *, once: str) -> Document:
    """Uploads `file`, unless it is the id of one that is, and begins a batch on it.

    Args:
        api: the service.
        file: a path, or a file's id.
        wish: how.
        once: the Idempotency-Key.

    Raises:
        Problem: something was refused, or no answer came; then how to ask again for the same batch has been told.
    """
    url = path_of(api, wish.endpoint)
    path = Path(file)
    if _FILE_ID.fullmatch(file) and not path.exists():
        file_id = file
    else:
        with transfer(api.world, f"uploading {path.name}") as progress:
            document = upload(api, path, progress=progress)
        file_id = str(document["id"])
        typer.echo(f"Uploaded {path.name} ({size(document.get('bytes'))}) as {file_id}", err=True)
    try:
        return api.ask("POST", "/v1/batches", body=body_of(wish, url=url, file_id=file_id), once=once)
    except (UnreachableProblem, ApiProblem, KeyboardInterrupt) as problem:
        if not isinstance(problem, ApiProblem) or problem.status in LOST:
            typer.echo(
                "The file is uploaded, and whether the batch was begun is not known. With the same options as before, "
                f"this begins it at most once:\nheadrace batch submit {file_id} --endpoint {wish.endpoint} "
                f"--idempotency-key {once}",
                err=True,
            )
        raise


def body_of(wish: Wish, *, url: str, file_id: str) -> Document:
    """The request that begins the batch."""
    chosen = {
        "version": wish.version,
        "format": wish.format,
        "method": wish.method,
        "webhook": wish.webhook,
        "parameters": wish.parameters or None,
        "metadata": wish.metadata or None,
        "degraded": None if wish.degraded else False,
    }
    return {
        "input_file_id": file_id,
        "endpoint": url,
        "completion_window": WINDOW,
        "model": wish.endpoint,
        **{name: value for name, value in chosen.items() if value is not None},
    }
