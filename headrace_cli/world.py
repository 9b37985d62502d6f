"""What the commands touch of the world: one value, made once by `run`, and another one by tests."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from headrace_cli.keys import Keyring, Keys

if TYPE_CHECKING:
    import httpx

    from headrace_cli.api import Api
    from headrace_cli.settings import Config, Place

CONFIG_VARIABLE = "HEADRACE_CONFIG_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Environment, folders, clock, chance and network.

    Args:
        environment: variables.
        find_config_folder: gives the folder of the file of profiles, when it is needed.
        here: the current folder.
        open_keyring: gives the keyring when it is needed.
        transport: how requests are sent; None for real sockets.
        sleep: waits for seconds.
        clock: seconds, only ever growing.
        chance: a number from 0 to below 1.
        token: a text that nobody can guess.
        terminal: whether messages go to a person who watches.
    """

    environment: Mapping[str, str]
    find_config_folder: Callable[[], Path]
    here: Path
    open_keyring: Callable[[], Keyring]
    transport: "httpx.BaseTransport | None" = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = secrets.SystemRandom().random
    token: Callable[[], str] = secrets.token_urlsafe
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command line: the world, and the profile that was named."""

    world: World
    profile: str | None = None

    @property
    def keys(self) -> Keys:
        """The keys of this person."""
        return Keys(self.world.open_keyring)

    def config(self) -> "Config":
        """The file of profiles. Raises Problem."""
        from headrace_cli.settings import read_config

        return read_config(self.world.find_config_folder())

    def place(self) -> "Place":
        """The service that is meant. Raises Problem."""
        from headrace_cli.settings import find_place

        return find_place(self.profile, self.world.environment, self.config(), self.world.here)

    def api(self) -> "Api":
        """The service that is meant, ready to be asked. Raises Problem."""
        from headrace_cli.api import Api
        from headrace_cli.settings import find_target

        world = self.world
        target = find_target(self.place(), world.environment, self.config(), world.here, self.keys)
        return Api(target, world)


def this_world() -> World:
    """The real one."""
    return World(
        environment=os.environ,
        find_config_folder=_config_folder,
        here=Path.cwd(),
        open_keyring=_keyring,
        terminal=sys.stderr.isatty(),
    )


def _config_folder() -> Path:
    if given := os.environ.get(CONFIG_VARIABLE):
        return Path(given)
    from platformdirs import user_config_path

    return user_config_path("headrace")


def _keyring() -> Keyring:
    import keyring

    return cast("Keyring", keyring)
