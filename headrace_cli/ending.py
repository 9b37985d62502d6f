"""The end of a batch: what is said about it, and its files on their way home."""

from pathlib import Path

import typer

from headrace_cli.api import Api
from headrace_cli.downloads import download, download_to
from headrace_cli.problems import Problem
from headrace_cli.progress import Look, sentence
from headrace_cli.showing import size, transfer

STDOUT = "-"


def tell(look: Look, *, err: bool) -> None:
    """Says how a batch is or ended, why, and what can be done next; on stderr with `err`."""
    lines = [f"{look.batch_id}: {sentence(look)}"]
    if look.method:
        lines.append(f"  method {look.method}" + (f": {look.reason}" if look.reason else ""))
    if look.degraded:
        lines.append(f"  {look.degraded:,} answered by stand-ins")
    if look.cost:
        lines.append(f"  cost {look.cost}")
    lines += [f"  {problem}" for problem in look.problems]
    if look.output_file_id:
        lines.append(f"  results: headrace batch results {look.batch_id}")
    if look.error_file_id:
        lines.append(f"  errors:  headrace batch results {look.batch_id} --errors")
    if look.redrivable:
        lines.append(f"  to finish what is missing: headrace batch redrive {look.batch_id}")
    typer.echo("\n".join(lines), err=err)


def fetch(api: Api, look: Look, *, errors: bool, out: str | None) -> None:
    """Fetches results or errors to a file or to stdout.

    Raises:
        Problem: there is no such file, or it could not be fetched.
        OSError: it could not be written.
    """
    file_id = look.error_file_id if errors else look.output_file_id
    kind = "errors" if errors else "results"
    if not file_id:
        if look.over:
            raise Problem(f"There are no {kind}: the batch is {look.state}.")
        wait = f"headrace batch status {look.batch_id} --watch"
        raise Problem(f"There are no {kind} yet: {sentence(look)}. Wait for it: {wait}")
    save(api, file_id, out or f"{look.batch_id}.{kind}.jsonl")


def fetch_all(api: Api, look: Look, folder: Path) -> None:
    """Fetches what there is of results and errors into a folder. Raises as `fetch`."""
    for errors, file_id in ((False, look.output_file_id), (True, look.error_file_id)):
        if file_id:
            kind = "errors" if errors else "results"
            fetch(api, look, errors=errors, out=str(folder / f"{look.batch_id}.{kind}.jsonl"))


def save(api: Api, file_id: str, out: str) -> None:
    """Fetches a file's content to a path, or with `-` to stdout. Raises as `fetch`."""
    if out == STDOUT:
        sink = typer.get_binary_stream("stdout")
        download(api, file_id, sink, progress=lambda _done, _total: None)
        sink.flush()
        return
    path = Path(out)
    with transfer(api.world, f"fetching {path.name}") as progress:
        count = download_to(api, file_id, path, progress=progress)
    typer.echo(f"Wrote {path} ({size(count)})", err=True)
