"""``headrace experiment``: versions compared by what callers do with their answers."""

from typing import TYPE_CHECKING, Annotated

import typer

from headrace_cli.commands.operator_options import HISTORY_MAX, AsJson, EndpointName, Folder, Stage, Why
from headrace_cli.problems import UsageProblem
from headrace_cli.world import Session

if TYPE_CHECKING:
    from headrace.rollouts.experiments import ExperimentRun

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def start(
    ctx: typer.Context,
    endpoint: EndpointName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Callers are assigned by it: the same name, the same.")],
    arm: Annotated[list[str], typer.Option(metavar="ARM=VERSION", help="Again for each; one arm is control.")],
    outcome: Annotated[str, typer.Option(metavar="EVENT", help="What callers post to /v1/outcomes.")],
    why: Why,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="ARM=PERCENT", help="Again for each; without any, equal parts.")
    ] = None,
    share: Annotated[float, typer.Option(metavar="PERCENT", help="Of callers that take part.")] = 100.0,
    tenant: Annotated[list[str] | None, typer.Option(help="Who alone takes part; again for more.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Of x-headrace-group; who alone takes part.")] = None,
    mean: Annotated[bool, typer.Option("--mean", help="Compare values per caller, not the share that posted.")] = False,
    fewer: Annotated[bool, typer.Option("--fewer", help="Less of the outcome is better.")] = False,
    alpha: Annotated[float, typer.Option(help="The probability that an interval ever misses the difference.")] = 0.05,
    guard_alpha: Annotated[float, typer.Option(help="The probability that harmless arms are stopped.")] = 0.01,
    guard: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=TIMES", help="How many times worse is put up with; failed=1, late=1, invalid=1."),
    ] = None,
    shortest: Annotated[str, typer.Option("--min", metavar="TIME", help="Concludes nothing before.")] = "1d",
    longest: Annotated[str, typer.Option("--max", metavar="TIME", help="Ends then, whatever is known.")] = "14d",
    every: Annotated[str, typer.Option("--look", metavar="TIME", help="Between two looks.")] = "60s",
    to_the_end: Annotated[bool, typer.Option("--to-the-end", help="Do not end when the difference is known.")] = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Begin an experiment. Prints its id alone on its line."""
    from headrace.rollouts.experiment_turns import execution_name
    from headrace.rollouts.experiments import GUARDRAILS, ExperimentPlan, ExperimentRun, Guardrail
    from headrace_cli.experimenting import arms_of, even, operations_of
    from headrace_cli.rolling import open_office, translated
    from headrace_cli.rollout_plans import named_number, points, seconds
    from headrace_cli.steering import shares

    session: Session = ctx.obj
    office = open_office(session, endpoint, stage=stage, folder=endpoints)
    arms, taking_part = arms_of(arm), points(share, "--share")
    odds = {guardrail.metric: guardrail.odds_allowed for guardrail in GUARDRAILS}
    odds |= dict(named_number(each, "--guard") for each in guard or ())  # type: ignore[arg-type]
    plan = ExperimentPlan(
        outcome=outcome,
        kind="mean" if mean else "conversion",
        better="fewer" if fewer else "more",
        guardrails=tuple(Guardrail(metric, times) for metric, times in odds.items()),
        alpha=alpha,
        guard_alpha=guard_alpha,
        min_s=float(seconds(shortest, "--min") or 0),
        max_s=float(seconds(longest, "--max") or 0),
        conclude=not to_the_end,
        look_s=float(seconds(every, "--look") or 1),
    )
    experiment_id = f"ex_{session.world.token()[:22]}"
    now = office.stores.wall()
    weights = even(list(arms)) if not weight else shares([_percented(each) for each in weight])
    run = ExperimentRun(
        experiment_id=experiment_id,
        name=name,
        endpoint=office.endpoint.name,
        arms=arms,
        weights=weights,
        plan=plan,
        started_at=now,
        updated_at=now,
        who=office.operator.who,
        why=why,
        share=taking_part,
        tenants=tuple(tenant or ()),
        groups=tuple(group or ()),
        execution=execution_name(experiment_id, 0),
    )
    with translated():
        run, running = operations_of(office).start(run)
    typer.echo(run.experiment_id)
    if not running:
        typer.echo("Its state machine could not be reached; the sweep starts it within minutes.", err=True)
    typer.echo(f"Look at it: headrace experiment status {endpoint} {name}", err=True)


@app.command()
def status(
    ctx: typer.Context,
    endpoint: EndpointName,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Where more than one runs.")] = None,
    as_json: AsJson = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Show each arm's callers and outcomes, the difference with its interval, and the guardrails' evidence."""
    from headrace_cli.experimenting import look, look_document, print_look
    from headrace_cli.rolling import open_office
    from headrace_cli.showing import print_json

    seen = look(open_office(ctx.obj, endpoint, stage=stage, folder=endpoints), name)
    if as_json:
        print_json(look_document(seen))
    else:
        print_look(seen)


@app.command()
def stop(
    ctx: typer.Context,
    endpoint: EndpointName,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    why: Why,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """End it: its callers are served as all others are."""
    from headrace_cli.experimenting import operations_of
    from headrace_cli.rolling import open_office, translated

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    if not why.strip():
        raise UsageProblem("Say why, with --why.")
    with translated():
        run = operations_of(office).stop(name, who=office.operator.who, why=why)
    typer.echo(f"{run.experiment_id}: {run.state}")


@app.command("list")
def list_(
    ctx: typer.Context, endpoint: EndpointName, as_json: AsJson = False, stage: Stage = None, endpoints: Folder = None
) -> None:
    """List the last experiment of every name."""
    from headrace_cli.experimenting import experiments_of
    from headrace_cli.rolling import open_office, translated

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    with translated():
        runs = experiments_of(office).all_current(office.endpoint.name)
    _print_runs(runs, as_json=as_json)


@app.command()
def history(
    ctx: typer.Context,
    endpoint: EndpointName,
    limit: Annotated[int, typer.Option(min=1, max=HISTORY_MAX, help="At most so many.")] = 20,
    as_json: AsJson = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """List all experiments, the newest first."""
    from headrace_cli.experimenting import experiments_of
    from headrace_cli.rolling import open_office, translated

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    with translated():
        runs = experiments_of(office).newest(office.endpoint.name, limit=limit)
    _print_runs(runs, as_json=as_json)


@app.command()
def shadow(
    ctx: typer.Context, endpoint: EndpointName, as_json: AsJson = False, stage: Stage = None, endpoints: Folder = None
) -> None:
    """Show how the version that shadows compares with what callers were given: agreement and latency."""
    from headrace_cli.experimenting import print_shadow, shadow_counts, shadow_document
    from headrace_cli.rolling import open_office
    from headrace_cli.showing import print_json

    document = shadow_document(*shadow_counts(open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)))
    if as_json:
        print_json(document)
    else:
        print_shadow(document)


def _print_runs(runs: "list[ExperimentRun]", *, as_json: bool) -> None:
    from headrace.rollouts.experiments import run_document
    from headrace_cli.experimenting import run_row
    from headrace_cli.showing import print_json, print_table

    if as_json:
        print_json([run_document(run) for run in runs])
    else:
        print_table(("id", "name", "state", "arms", "started", "who", "why"), map(run_row, runs))


def _percented(word: str) -> str:
    name, equals, number = word.partition("=")
    return f"{name}{equals}{number.removesuffix('%')}%"
