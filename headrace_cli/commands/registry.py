"""``headrace models register | approve | list | diff | inspect``: the registry of versions, for operators."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace_cli.operating import Operator, find_operator, told_plainly
from headrace_cli.problems import FAILED, plain
from headrace_cli.world import Session

if TYPE_CHECKING:
    from headrace_aws.registry import ModelRegistry

Stage = Annotated[str | None, typer.Option(metavar="NAME", help="The stage: local, or a deployed one such as prod.")]
Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's name, such as detection.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="The version's name, such as v2.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
DIGEST_SHOWN_CHARS = 19


def register(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The endpoint's folder, such as endpoints/detection.")
    ],
    version: Annotated[str, typer.Option(help="The version's name, such as v2.")],
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An ONNX file that becomes the version; without, build.py's.")
    ] = None,
    example: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --model: a request that it takes, as JSON.")
    ] = None,
    stage: Stage = None,
    as_json: AsJson = False,
) -> None:
    """Check a version and put it into the registry, to be approved.

    Its artifact is built or taken, served by the real serving program, asked the declaration's golden requests, timed,
    compared with the contract of the versions before it, and stored by its digest.
    """
    from headrace_cli.registered import describe
    from headrace_cli.registering import prepare, submit
    from headrace_cli.showing import print_json

    session: Session = ctx.obj
    operator = find_operator(session, stage)
    ready = prepare(folder, version, model=model, example=example, environment=session.world.environment, tell=_tell)
    with told_plainly():
        registered, new = submit(ready, _registry(operator), who=operator.who, tell=_tell)
    if as_json:
        print_json(describe(registered))
        return
    known = "" if new else "already "
    typer.echo(f"{ready.declaration.name} {version} is {known}registered as {registered.state}: {ready.digest}")
    measured = registered.candidate.measured
    typer.echo(
        f"p50 {measured.latency_p50_ms:.1f} ms, p99 {measured.latency_p99_ms:.1f} ms over {measured.requests} requests "
        f"one at a time on this machine; {measured.golden} golden; {measured.size_bytes} bytes",
        err=True,
    )
    if new:
        typer.echo(f"Approve it: headrace models approve {ready.declaration.name} {version} --why …", err=True)


def approve(
    ctx: typer.Context,
    endpoint: Endpoint,
    version: Version,
    why: Annotated[str, typer.Option(help="The reason, kept with the decision.")],
    reject: Annotated[bool, typer.Option("--reject", help="Reject it instead, or take an approval back.")] = False,
    stage: Stage = None,
) -> None:
    """Approve a registered version, or reject it."""
    from headrace_cli.registered import decide

    operator = find_operator(ctx.obj, stage)
    with told_plainly():
        decided, new = decide(_registry(operator), endpoint, version, reject=reject, why=why, who=operator.who)
    typer.echo(f"{endpoint} {version} is {'' if new else 'already '}{decided.state}: {plain(decided.why)}")


def list_versions(
    ctx: typer.Context,
    endpoint: Annotated[str | None, typer.Argument(metavar="[ENDPOINT]", help="One endpoint's only.")] = None,
    stage: Stage = None,
    as_json: AsJson = False,
) -> None:
    """List the registered versions, newest first: state, artifact and what was measured."""
    from headrace_cli.registered import describe, listed
    from headrace_cli.showing import print_json, print_table, size

    registry = _registry(find_operator(ctx.obj, stage))
    with told_plainly():
        found = listed(registry, endpoint)
    if as_json:
        print_json({"data": [describe(each) for each in found]})
        return
    if not found:
        typer.echo(f"Nothing is registered{'' if endpoint is None else f' of {plain(endpoint)}'}.", err=True)
    print_table(
        ("endpoint", "version", "state", "artifact", "api", "p50 ms", "p99 ms", "size", "registered", "by", "why"),
        [
            (
                each.candidate.endpoint,
                each.version,
                each.state,
                each.candidate.digest[:DIGEST_SHOWN_CHARS],
                each.candidate.api_version,
                f"{each.candidate.measured.latency_p50_ms:.1f}",
                f"{each.candidate.measured.latency_p99_ms:.1f}",
                size(each.candidate.measured.size_bytes),
                each.created_at,
                each.candidate.by,
                each.why,
            )
            for each in found
        ],
    )


def diff(
    ctx: typer.Context,
    endpoint: Endpoint,
    before: Annotated[str, typer.Argument(metavar="VERSION-A", help="A registered version.")],
    after: Annotated[str, typer.Argument(metavar="VERSION-B", help="Another one.")],
    as_json: AsJson = False,
    stage: Stage = None,
) -> None:
    """Compare the contracts of two registered versions. Exit status 1 if callers of the first would break."""
    from headrace_cli.registered import compare
    from headrace_cli.showing import print_json

    registry = _registry(find_operator(ctx.obj, stage))
    with told_plainly():
        differences = compare(registry, endpoint, before, after)
    if as_json:
        print_json({"data": [asdict(difference) for difference in differences]})
    for difference in [] if as_json else differences:
        typer.echo(plain(difference))
    if not differences:
        typer.echo(f"{before} and {after} have the same contract.", err=True)
    if any(difference.breaking for difference in differences):
        raise typer.Exit(FAILED)


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file.")],
    declaration: Annotated[
        Path | None, typer.Option(metavar="ENDPOINT.YAML", help="Hold it against this declaration's tensors.")
    ] = None,
    example: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A request that it takes, as JSON, where none can be made up.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="endpoints/NAME/endpoint.yaml", help="Write a starting declaration here.")
    ] = None,
    version: Annotated[str, typer.Option(help="With --write: the version's name.")] = "v1",
    as_json: AsJson = False,
) -> None:
    """Look into an ONNX file that somebody brought: whether it can be served, and as what. Needs no account."""
    from headrace_cli.inspecting import describe_inspection, hold_against, look, rows_of, write_declaration
    from headrace_cli.showing import print_json, print_table

    if write is not None:
        inspection, written = write_declaration(file, write, version=version, example=example)
    else:
        inspection, written = look(file, example=example), None
    if as_json:
        print_json(describe_inspection(inspection))
    else:
        print_table(("what", "is"), rows_of(inspection))
    for note in inspection.notes:
        typer.echo(f"note: {plain(note)}", err=True)
    if declaration is not None:
        hold_against(inspection, declaration)
        typer.echo(f"It is as {declaration} declares.", err=True)
    if written is not None:
        typer.echo(
            f"Written: {write}. Next: make run, or headrace models register {written} --version {version}", err=True
        )


def _registry(operator: Operator) -> "ModelRegistry":
    from headrace_aws.registry import ModelRegistry

    return ModelRegistry(
        sagemaker=operator.client("sagemaker"),
        s3=operator.client("s3"),
        prefix=operator.prefix,
        bucket=operator.artifacts_bucket,
    )


def _tell(text: str) -> None:
    typer.echo(plain(text), err=True)
