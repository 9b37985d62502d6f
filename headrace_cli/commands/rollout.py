"""``headrace rollout``: bring a new version in by steps that evidence allows, watch it, and step in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace_cli.commands.operator_options import HISTORY_MAX, AsJson, EndpointName, Folder, Stage, Why
from headrace_cli.problems import FAILED, OK, Problem, UsageProblem
from headrace_cli.world import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.rollouts.operations import Operations
    from headrace.rollouts.plan import RolloutPlan
    from headrace.rollouts.states import Rollout
    from headrace_cli.rolling import Office
    from headrace_cli.rollout_showing import View

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def start(
    ctx: typer.Context,
    endpoint: EndpointName,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The new one: deployed, with weight 0.")],
    why: Why,
    steps: Annotated[str | None, typer.Option(metavar="PERCENTS", help="Shares, such as 1,5,25,50,100.")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="The probability that a version no worse than the others is rolled back.")
    ] = None,
    confidence: Annotated[float | None, typer.Option(help="Of the bounds that a step waits for.")] = None,
    bake: Annotated[str | None, typer.Option(metavar="TIME", help="The least that a step lasts, such as 5m.")] = None,
    step_max: Annotated[
        str | None, typer.Option(metavar="TIME", help="After this a step is inconclusive, and waits for you.")
    ] = None,
    look: Annotated[str | None, typer.Option(metavar="TIME", help="Between two looks, such as 15s.")] = None,
    shadow: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="Of the others' requests, copied to the new version.")
    ] = None,
    measure: Annotated[int | None, typer.Option(metavar="REQUESTS", help="Measured before the first step.")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=RATE", help="What a step's bound must be below, such as failed=0.05."),
    ] = None,
    odds: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=TIMES", help="How many times worse is put up with: slower=1.5.")
    ] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="METRIC", help="Does not count; again for more.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Although this version was rolled back before.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Say what each step takes, ask, and begin. Prints the rollout's id alone on its line."""
    from headrace_cli.rolling import open_office, translated
    from headrace_cli.rollout_plans import Wish, plan_for

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    wish = Wish(
        steps=steps,
        alpha=alpha,
        confidence=confidence,
        bake=bake,
        step_max=step_max,
        look=look,
        shadow=shadow,
        measure=measure,
        limits=limit or (),
        odds=odds or (),
        without=without or (),
    )
    plan = plan_for(office.declaration, wish)
    session: Session = ctx.obj
    asked: dict[str, Any] = {
        "plan": plan,
        "rollout_id": f"ro_{session.world.token()[:22]}",
        "who": office.operator.who,
        "why": why,
        "again": again,
    }
    operations = office.operations
    with translated():
        operations.prepare(version, **asked)
    office.require_ready(version)
    if not office.require_approved(version):
        typer.echo(f"{version} is not in the registry: nobody has tried and approved it there.", err=True)
    _tell_forecast(office, plan)
    if not yes:
        typer.confirm(f"Roll {version} out?", abort=True, err=True)
    with translated():
        rollout, running = operations.start(version, **asked)
    typer.echo(rollout.rollout_id)
    if not running:
        typer.echo("Its state machine could not be reached; the sweep starts it within minutes.", err=True)
    typer.echo(f"Watch it: headrace rollout status {endpoint} --watch", err=True)


@app.command()
def status(
    ctx: typer.Context,
    endpoint: EndpointName,
    rollout_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="An earlier one.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is over.")] = False,
    as_json: AsJson = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Show where a rollout stands: both arms' counts, evidence, bounds, and what is still needed."""
    from headrace_cli.rolling import open_office
    from headrace_cli.rollout_showing import document, print_view
    from headrace_cli.showing import print_json

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    seen = _watched(ctx.obj, office, rollout_id) if watch else _seen(office, rollout_id)
    if as_json:
        print_json(document(seen))
    else:
        print_view(seen)
    raise typer.Exit(FAILED if watch and seen.rollout.state != "finished" else OK)


@app.command()
def pause(ctx: typer.Context, endpoint: EndpointName, why: Why, stage: Stage = None, endpoints: Folder = None) -> None:
    """Stay at the present share; bad evidence still rolls back."""
    _act(ctx, endpoint, stage, endpoints, lambda operations, who: operations.pause(who=who, why=why))


@app.command()
def resume(ctx: typer.Context, endpoint: EndpointName, why: Why, stage: Stage = None, endpoints: Folder = None) -> None:
    """Go on from a pause, or from a step that was inconclusive."""
    _act(ctx, endpoint, stage, endpoints, lambda operations, who: operations.resume(who=who, why=why))


@app.command()
def abort(ctx: typer.Context, endpoint: EndpointName, why: Why, stage: Stage = None, endpoints: Folder = None) -> None:
    """End it, with the weights from before."""
    _act(ctx, endpoint, stage, endpoints, lambda operations, who: operations.abort(who=who, why=why))


@app.command()
def promote(
    ctx: typer.Context,
    endpoint: EndpointName,
    why: Why,
    to: Annotated[float | None, typer.Option(metavar="PERCENT", help="A later step; without it the next.")] = None,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Go on to a later step without waiting for its bounds; past the last one it is finished."""
    from headrace_cli.rollout_plans import points

    share = None if to is None else points(to, "--to")
    _act(ctx, endpoint, stage, endpoints, lambda operations, who: operations.promote(to=share, who=who, why=why))


@app.command()
def history(
    ctx: typer.Context,
    endpoint: EndpointName,
    rollout_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="All decisions of this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=HISTORY_MAX, help="At most so many rollouts.")] = 20,
    as_json: AsJson = False,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """List an endpoint's rollouts, the newest first, or every decision of one."""
    from headrace.rollouts.documents import decision_document, rollout_document
    from headrace_cli.rolling import open_office, translated
    from headrace_cli.rollout_showing import decision_row, rollout_row
    from headrace_cli.showing import print_json, print_table

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    if rollout_id is None:
        with translated():
            found = office.stores.rollouts.newest(office.endpoint.name, limit=limit)
        if as_json:
            print_json([rollout_document(rollout) for rollout in found])
        else:
            print_table(("id", "version", "state", "reached", "started", "who", "why"), map(rollout_row, found))
        return
    rollout = office.current(rollout_id)
    with translated():
        decisions = office.stores.rollouts.decisions(rollout.rollout_id)
    if as_json:
        print_json([decision_document(decision) for decision in decisions])
    else:
        columns = ("#", "at", "what", "share", "strongest evidence", "requests", "who", "why")
        print_table(columns, map(decision_row, decisions))


@app.command()
def plot(
    ctx: typer.Context,
    endpoint: EndpointName,
    rollout_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Without it the last one.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture, and nothing in the terminal.")] = None,
    stage: Stage = None,
    endpoints: Folder = None,
) -> None:
    """Draw the evidence against time."""
    from headrace_cli.rolling import open_office, translated
    from headrace_cli.rollout_plots import curves, draw_here, draw_png

    office = open_office(ctx.obj, endpoint, stage=stage, folder=endpoints)
    rollout = office.current(rollout_id)
    with translated():
        drawn = curves(rollout, office.stores.rollouts.decisions(rollout.rollout_id))
    if png is None:
        draw_here(drawn)
        return
    draw_png(drawn, png)
    typer.echo(str(png))


def _act(
    ctx: typer.Context,
    endpoint: str,
    stage: str | None,
    folder: Path | None,
    act: "Callable[[Operations, str], Rollout]",
) -> None:
    from headrace_cli.rolling import open_office, translated
    from headrace_cli.rollout_plans import percent

    office = open_office(ctx.obj, endpoint, stage=stage, folder=folder)
    with translated():
        rollout = act(office.operations, office.operator.who)
    share = f" at {percent(rollout.stage.share)}" if rollout.active else ""
    typer.echo(f"{rollout.rollout_id}: {rollout.state.replace('_', ' ')}{share}")


def _tell_forecast(office: "Office", plan: "RolloutPlan") -> None:
    from headrace.rollouts.forecast import forecast
    from headrace_cli.rollout_plans import duration
    from headrace_cli.rollout_showing import forecast_rows

    traffic = office.traffic()
    rate = traffic.requests_per_s
    steps = forecast(plan, rate or 0.0, rates=traffic.rates)
    known = rate is not None
    typer.echo(f"Traffic: {rate:,.2f} requests/s" if known else "Traffic: none of late, or not known", err=True)
    for metric, bad in traffic.rates.items():
        typer.echo(
            f"What serves now is {metric} at {bad:.3%}; the forecast takes the new version to be as good.", err=True
        )
    typer.echo("step\trequests\tof them the new version's\tat this traffic", err=True)
    for row in forecast_rows(steps, known=known):
        typer.echo("\t".join(map(str, row)), err=True)
    if known:
        typer.echo(f"In all about {duration(sum(step.seconds for step in steps))}, if all is well.", err=True)
    typer.echo(f"A version no worse than the others is rolled back with probability {plan.alpha:g} at most.", err=True)


def _seen(office: "Office", rollout_id: str | None) -> "View":
    from headrace_cli.rolling import translated
    from headrace_cli.rollout_showing import view

    rollout = office.current(rollout_id)
    with translated():
        return view(rollout, office.stores.tallies.read(rollout.rollout_id), office.stores.wall())


def _watched(session: Session, office: "Office", rollout_id: str | None) -> "View":
    """Looks until the rollout is over: a picture that moves for who watches, a line for each change for a log."""
    from headrace_cli.rollout_showing import display_for

    if rollout_id is not None and not office.current(rollout_id).active:
        raise UsageProblem("That rollout is over: leave --watch out.")
    display, failures = display_for(session.world), 0
    with display:
        while True:
            try:
                seen = _seen(office, rollout_id)
            except Problem:
                failures += 1
                if failures > LOST_MAX:
                    raise
                session.world.sleep(WATCH_S)
                continue
            failures = 0
            display.show(seen)
            if not seen.rollout.active:
                return seen
            session.world.sleep(min(seen.rollout.plan.look_s, WATCH_S))


WATCH_S = 5.0
LOST_MAX = 60
"""Looks that fail in a row before a watcher gives up: five minutes."""
