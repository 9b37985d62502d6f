"""A command line whose world is made up: network, clock, chance, keyring and folders."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import keyring.errors
import pytest
from typer.testing import CliRunner, Result

from headrace_cli.main import app
from headrace_cli.world import World
from tests.unit.cli.fake_headrace import API, KEY, FakeHeadrace


@dataclass
class FakeKeyring:
    """Secrets in memory."""

    secrets: dict[tuple[str, str], str] = field(default_factory=dict)

    def get_password(self, service: str, username: str, /) -> str | None:
        """The secret, or None."""
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str, /) -> None:
        """Keep the secret."""
        self.secrets[service, username] = password

    def delete_password(self, service: str, username: str, /) -> None:
        """Forget the secret."""
        if self.secrets.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError


def no_keyring() -> FakeKeyring:
    """A machine that has none; the real module says so when it is asked, and so does this."""
    raise keyring.errors.NoKeyringError


@dataclass
class Clock:
    """Time passes only in sleep."""

    now_s: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Waits."""
        self.pauses.append(seconds)
        self.now_s += seconds


@dataclass
class Cli:
    """Runs `headrace` with arguments."""

    server: FakeHeadrace
    world: World
    clock: Clock
    keyring: FakeKeyring

    def __call__(self, *arguments: object, stdin: str | None = None, **changed: object) -> Result:
        """One run; `changed` are other values of the world."""
        world = replace(self.world, **changed)  # type: ignore[arg-type]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, obj=world)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert KEY not in result.output
        return result


@pytest.fixture
def server() -> FakeHeadrace:
    """A Headrace in memory."""
    return FakeHeadrace()


@pytest.fixture
def cli(server: FakeHeadrace, tmp_path: Path) -> Cli:
    """A command line that asks it, with address and key from the environment."""
    clock, ring = Clock(), FakeKeyring()
    tokens = iter(f"token-{number}" for number in range(100))
    make_token: Callable[[], str] = lambda: next(tokens)  # noqa: E731 - a field's value
    world = World(
        environment={"HEADRACE_URL": API, "HEADRACE_API_KEY": KEY},
        find_config_folder=lambda: tmp_path / "config",
        here=tmp_path,
        open_keyring=lambda: ring,
        transport=httpx.MockTransport(server),
        sleep=clock.sleep,
        clock=lambda: clock.now_s,
        chance=lambda: 0.5,
        token=make_token,
    )
    return Cli(server, world, clock, ring)
