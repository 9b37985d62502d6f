"""What the commands of routing do: read a document, make the next one, show who would move, and put it in force."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from headrace_cli.problems import Problem, UsageProblem, plain
from headrace_cli.rolling import Office, open_office, translated
from headrace_cli.world import Session

if TYPE_CHECKING:
    from headrace.declaration.routing import RoutingDeclaration
    from headrace.routing.document import Routing

FILE_BYTES_MAX = 1 << 18
TRIES_MAX = 3
"""Somebody else may change the document between the reading and the writing; more often than this it is no accident."""

Change = Callable[["Routing", dict[str, Any]], "Routing"]
"""From the document in force and who, why and when to the next document."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a change is said to be: why, whether it is only to be shown, and whether it is the whole document.

    Whatever is wrong with a whole document is refused; a single change may leave what was wrong before.
    """

    why: str
    dry_run: bool
    whole: bool = True


def standing(office: Office) -> "tuple[Routing, Routing | None]":
    """The document to start from, and the one in force; None where the declaration alone decides. Raises Problem."""
    from headrace.errors import InvalidRequest
    from headrace.routing.changes import of_declaration

    with translated():
        try:
            found = office.stores.routings.read(office.endpoint.name, consistent=True)
        except InvalidRequest as error:
            raise Problem(
                f"The document in force cannot be read ({plain(error.message)}); functions keep the last good one. "
                f"`headrace routing restore {office.endpoint.name} VERSION` puts an earlier one in its place."
            ) from error
    return found or of_declaration(office.endpoint), found


def kept(office: Office, version: int) -> "Routing":
    """An earlier document; 0 is the declaration. Raises Problem."""
    from headrace.routing.changes import of_declaration

    if version == 0:
        return of_declaration(office.endpoint)
    with translated():
        found = office.stores.routings.kept(office.endpoint.name, version)
    if found is None:
        raise Problem(f"There is no version {version}: headrace routing history {office.endpoint.name}")
    return found


def alter(office: Office, change: Change, said: Said) -> None:
    """Make the next document and put it in force, or only show what it would do. Raises Problem."""
    from headrace.routing.changes import refuse_problems
    from headrace.routing.store import RoutingOutrun

    for _ in range(TRIES_MAX):
        before, in_force = standing(office)
        by = {"who": office.operator.who, "why": said.why, "at": office.stores.wall()}
        with translated():
            after = change(before, by)
            left = refuse_problems(after, office.endpoint, before=None if said.whole else before)
        for problem in left:
            typer.echo(f"warning: {plain(problem)}", err=True)
        show_moves(office, in_force, after)
        if said.dry_run:
            typer.echo("Nothing was changed: --dry-run.", err=True)
            return
        try:
            with translated():
                office.stores.routings.put(after)
        except RoutingOutrun:
            continue
        typer.echo(f"{office.endpoint.name}: version {after.version} is in force within 30 seconds.")
        return
    raise Problem("Others keep changing this document: look at its history, and try again.")


def mend(office: Office, version: int, why: str) -> None:
    """Put an earlier document in the place of one that cannot be read. Raises Problem."""
    from headrace.routing.store import RoutingOutrun

    old = kept(office, version)
    with translated():
        good, version = office.stores.routings.last_good(office.endpoint.name)
        last = replace(good or old, version=version)
        # What was rolled back since, and a rollout that is under way, are the newest one's to say.
        routing = replace(
            last,
            version=last.version + 1,
            who=office.operator.who,
            why=why,
            at=office.stores.wall(),
        )
        if last.canary is None and not last.withdrawn.keys() & {name for name, weight in old.weights.items() if weight}:
            routing = replace(routing, weights=old.weights, slots=old.slots, groups=old.groups, pins=old.pins)
            routing = replace(routing, sticky=old.sticky, shadow=old.shadow)
        try:
            office.stores.routings.put(routing, mend=True)
        except RoutingOutrun:
            raise Problem("Somebody else has mended it meanwhile: look at its history.") from None
    typer.echo(f"{office.endpoint.name}: version {routing.version} is in force within 30 seconds.")


def show_moves(office: Office, before: "Routing | None", after: "Routing") -> None:
    """Say which share of callers would be served by another version."""
    from headrace.routing.moves import CALLERS, OTHERS, moves

    for each in moves(office.endpoint, before, after):
        whose = "callers" if each.tenant == OTHERS else f"callers of {plain(each.tenant)}"
        typer.echo(f"{each.share:.2%} of {whose} move", err=True)
        for (old, new), share in each.moved.items():
            typer.echo(f"  {share:.2%} from {old} to {new}", err=True)
        served = ", ".join(f"{name} {share:.2%}" for name, share in each.served.items())
        typer.echo(f"  served then: {served}", err=True)
    if before is not None and before.sticky != after.sticky:
        typer.echo("What callers stick to changes: those that it concerns are all drawn anew.", err=True)
    typer.echo(f"({CALLERS:,} synthetic callers without headers, drawn before and after)", err=True)


def read_file(session: Session, file: Path) -> "RoutingDeclaration":
    """The document in a file, or on stdin for `-`. Raises UsageProblem with each problem on its line."""
    from headrace.declaration.parse import parse_routing

    if str(file) == "-":
        raw = typer.get_binary_stream("stdin").read(FILE_BYTES_MAX + 1)
    else:
        with (session.world.here / file).open("rb") as stream:  # it may be a device or a pipe: none tells its size
            raw = stream.read(FILE_BYTES_MAX + 1)
    if len(raw) > FILE_BYTES_MAX:
        raise UsageProblem(f"{plain(file)} is no routing document: it has more than {FILE_BYTES_MAX} bytes.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{plain(file)} is not UTF-8.") from error
    declaration, problems = parse_routing(text, source=str(file))
    if declaration is None:
        for problem in problems[:-1]:
            typer.echo(plain(problem), err=True)
        raise UsageProblem(plain(problems[-1]))
    return declaration


def change_of(file: "RoutingDeclaration") -> Change:
    """The change that a file asks for."""
    from headrace.errors import InvalidRequest
    from headrace.routing.changes import replaced

    def change(before: "Routing", by: dict[str, Any]) -> "Routing":
        if file.version is not None and file.version != before.version:
            raise InvalidRequest(
                f"The file was made from version {file.version}, and version {before.version} is in force: see "
                f"`headrace routing diff {before.endpoint} {file.version}`, and bring the two together.",
                code="routing_changed",
                field="version",
            )
        return replaced(before, **{"weights": before.weights, **file.compiled()}, **by)

    return change


def office_of(session: Session, file: "RoutingDeclaration", *, stage: str | None, folder: Path | None) -> Office:
    """The endpoint that a file is for. Raises Problem."""
    return open_office(session, file.endpoint, stage=stage, folder=folder)


def as_yaml(routing: "Routing") -> str:
    """The document as a file: what people may say, and the rest as comments."""
    import yaml

    from headrace.declaration.routing import written

    lines = [yaml.safe_dump(written(routing), sort_keys=False, allow_unicode=True).rstrip("\n")]
    canary = routing.canary
    if canary is not None:
        lines.append(
            f"# rollout {canary.rollout_id} of {canary.version}: stage {canary.stage}, {canary.share / 100:g} %"
        )
    for experiment in routing.experiments:
        arms = ", ".join(f"{arm} {version}" for arm, version in sorted(experiment.arms.items()))
        lines.append(f"# experiment {experiment.name}: {arms}; {experiment.share / 100:g} % of callers")
    for name, rollout_id in sorted(routing.withdrawn.items()):
        lines.append(f"# {name} was rolled back by {rollout_id}")
    return "".join(f"{''.join(sign for sign in line if sign.isprintable() or sign == chr(10))}\n" for line in lines)


def difference(old: "Routing", new: "Routing") -> str:
    """Both as files, side by side as `diff -u` has them; empty when they say the same."""
    one, other = (
        as_yaml(each).replace(f"version: {each.version}\n", "", 1).splitlines(keepends=True) for each in (old, new)
    )
    return "".join(difflib.unified_diff(one, other, f"version {old.version}", f"version {new.version}"))


def shares(words: list[str]) -> dict[str, int]:
    """Weights from `v1=90% v2=10%`. Raises UsageProblem."""
    from headrace.declaration.routing import points
    from headrace.routing.checks import sum_mend

    weights: dict[str, int] = {}
    for word in words:
        name, equals, share = word.partition("=")
        if not equals or not name or name in weights:
            raise UsageProblem(f"{plain(word)!r}: give each version once, such as v1=90%.")
        try:
            weights[name] = points(int(share) if share.isdecimal() else share)
        except ValueError as error:
            raise UsageProblem(f"{plain(name)}: {error}") from error
    if mend_ := sum_mend(weights):
        raise UsageProblem(f"weights: {mend_}")
    return weights
