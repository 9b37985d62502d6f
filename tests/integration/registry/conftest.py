"""A command line beside an emulated account, in a folder that looks like a repository with one endpoint."""

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace_cli.main import app
from headrace_cli.world import World
from tests.moto_process import client_of, running_moto, write_platform_state

BUCKET = "headrace-local-artifacts"

Headrace = Callable[..., Result]


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The emulated account's URL."""
    with running_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def repository(account: str, tmp_path: Path) -> Path:
    """A folder from which the platform seems to run; the account is emptied first."""
    request = urllib.request.Request(f"{account}/moto-api/reset", method="POST")  # noqa: S310 - our own loopback address
    urllib.request.urlopen(request).close()  # noqa: S310
    client_of("s3", account).create_bucket(Bucket=BUCKET)
    write_platform_state(tmp_path, account)
    (tmp_path / "endpoints").mkdir()
    return tmp_path


@pytest.fixture
def headrace(repository: Path) -> Headrace:
    """Runs a command there."""
    return headrace_in(repository)


def headrace_in(here: Path) -> Headrace:
    """Runs commands in a folder."""

    def run(*arguments: object) -> Result:
        world = World(environment={}, find_config_folder=lambda: here, here=here, open_keyring=_no_keyring)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], obj=world)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def _no_keyring() -> None:  # type: ignore[misc]
    raise AssertionError("an operator's command needs no API key")
