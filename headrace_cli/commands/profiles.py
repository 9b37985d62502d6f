"""``headrace config``, ``headrace login`` and ``headrace logout``: which service, and with which key."""

from typing import TYPE_CHECKING, Annotated

import typer

from headrace_cli.problems import ApiProblem, Problem
from headrace_cli.world import Session

if TYPE_CHECKING:
    from headrace_cli.settings import Place

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The profile.")]
Profile = Annotated[str | None, typer.Option("--profile", help="The profile, instead of the one in use.")]
UNAUTHENTICATED = 401


@app.command("set-profile")
def set_profile(
    ctx: typer.Context, name: Name, url: Annotated[str, typer.Option(help="Its address, as deployed.")]
) -> None:
    """Add a profile, or change its address; its key then has to be given again."""
    from headrace_cli.settings import check_name, check_url, with_profile, write_config

    session: Session = ctx.obj
    config = with_profile(session.config(), check_name(name), check_url(url))
    path = write_config(session.world.find_config_folder(), config)
    typer.echo(f"Profile {name} is in {path}. Give its key: headrace --profile {name} login")


@app.command()
def use(ctx: typer.Context, name: Name) -> None:
    """Choose the profile that is used when none is named."""
    from dataclasses import replace

    from headrace_cli.settings import LOCAL, write_config

    session: Session = ctx.obj
    config = session.config()
    if name != LOCAL and name not in config.urls:
        raise Problem(f"There is no profile {name!r}. Make it: headrace config set-profile {name} --url …")
    write_config(session.world.find_config_folder(), replace(config, current=name))
    typer.echo(f"Profile {name} is used from now on.")


@app.command()
def show(ctx: typer.Context) -> None:
    """Show the profiles, the one in use and where its key comes from; never the key."""
    from headrace_cli.settings import CONFIG_NAME, LOCAL, find_target

    session: Session = ctx.obj
    config, world = session.config(), session.world
    typer.echo(f"file      {world.find_config_folder() / CONFIG_NAME}")
    for name in sorted({*config.urls, LOCAL}):
        typer.echo(f"profile   {name}  {config.urls.get(name, 'the platform that `make run` started here')}")
    place = session.place()
    typer.echo(f"in use    {place.profile}  {place.url}  (by {place.source})")
    try:
        source = find_target(place, world.environment, config, world.here, session.keys).key_source
    except Problem as problem:
        source = f"none: {problem}"
    typer.echo(f"key from  {source}")


def login(ctx: typer.Context, profile: Profile = None) -> None:
    """Keep a profile's API key in this machine's keyring. It is asked without echo, or read from a pipe."""
    from headrace_cli.api import Api
    from headrace_cli.settings import Target

    session = _session(ctx, profile)
    place = _place_with_key(session)
    key = _asked(place.profile)
    with Api(Target(place, key, "the prompt"), session.world) as api:
        try:
            api.ask("GET", "/v1/models")
        except ApiProblem as problem:
            if problem.status == UNAUTHENTICATED:
                raise
            # Any other refusal is given to keys that exist: this one may do less than reading.
    session.keys.keep(place.profile, place.url, key)
    typer.echo(f"The key of profile {place.profile} is in the keyring.")


def logout(ctx: typer.Context, profile: Profile = None) -> None:
    """Forget a profile's API key. It stays valid: an operator revokes keys."""
    session = _session(ctx, profile)
    place = _place_with_key(session)
    known = session.keys.forget(place.profile, place.url)
    typer.echo(f"The key of profile {place.profile} is {'forgotten' if known else 'not in the keyring'}.")


def _session(ctx: typer.Context, profile: str | None) -> Session:
    session: Session = ctx.obj
    return Session(session.world, profile) if profile else session


def _place_with_key(session: Session) -> "Place":
    from headrace_cli.settings import LOCAL, PROFILE_VARIABLE, find_place

    config, world = session.config(), session.world
    # A key belongs to a profile: an address from the environment comes with a key from there.
    name = session.profile or world.environment.get(PROFILE_VARIABLE) or config.current or LOCAL
    if name == LOCAL and LOCAL not in config.urls:
        raise Problem("Profile local needs no key of yours: it has the one that `make run` made. Name another one.")
    return find_place(name, world.environment, config, world.here)


def _asked(profile: str) -> str:
    stdin = typer.get_text_stream("stdin")
    words = f"API key of profile {profile}"
    key = str(typer.prompt(words, hide_input=True) if stdin.isatty() else stdin.readline()).strip()
    if not key:
        raise Problem("No key was given.")
    return key
