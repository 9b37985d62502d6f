"""Which service is meant and which key it gets."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_cli.problems import UsageProblem
from headrace_cli.settings import Config, check_name, check_url, read_config, write_config
from tests.unit.cli.conftest import Cli, no_keyring
from tests.unit.cli.fake_headrace import API, KEY, FakeHeadrace

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
URLS = st.from_regex(
    r"https://[a-z][a-z0-9-]{0,10}\.test(:[1-9][0-9]{1,3})?(/[a-z0-9\"\\'%_.-]{1,5}){0,2}", fullmatch=True
)


def run_locally(here: Path, *, url: str = "http://127.0.0.1:8000", pid: int | None = None, mode: int = 0o600) -> None:
    """Leaves what `make run` leaves."""
    run = here / ".headrace" / "run"
    run.mkdir(parents=True)
    state = {"url": url, "pid": os.getpid() if pid is None else pid, "api_key_file": "/etc/passwd", "admin_token": "t"}
    for name, text in (("state.json", json.dumps(state)), ("api-key", f"{KEY}\n")):
        (run / name).write_text(text, encoding="utf-8")
        (run / name).chmod(mode)


def asked(server: FakeHeadrace) -> str:
    """The host that was asked last."""
    url = server.requests[-1].url
    return f"{url.scheme}://{url.netloc.decode()}"


def test_a_profile_is_set_logged_in_and_used(cli: Cli, server: FakeHeadrace) -> None:
    """The key goes from stdin to the keyring, and from there to the service; the file holds the address alone."""
    bare: dict[str, Any] = {"environment": {}}
    assert cli("config", "set-profile", "prod", "--url", f"{API}/", **bare).exit_code == 0
    assert cli("login", stdin=f"{KEY}\n", **bare).exit_code == 0
    assert cli("models", **bare).stdout.startswith("sentiment\ttext-classification\tv1 v2")
    text = (cli.world.find_config_folder() / "config.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == {"current": "prod", "profiles": {"prod": {"url": API}}}
    shown = cli("config", "show", **bare).stdout
    assert "in use    prod" in shown
    assert "key from  keyring" in shown


def test_a_key_that_is_not_known_is_not_kept(cli: Cli) -> None:
    """Login asks the service first."""
    bare: dict[str, Any] = {"environment": {}}
    cli("config", "set-profile", "prod", "--url", API, **bare)
    result = cli("login", "--profile", "prod", stdin="hr_mistyped\n", **bare)
    assert result.exit_code == 1
    assert "invalid_api_key" in result.stderr
    assert "hr_mistyped" not in result.output
    assert not cli.keyring.secrets


def test_a_new_address_does_not_get_the_old_key(cli: Cli, server: FakeHeadrace) -> None:
    """The key is bound to the address that it was given for."""
    bare: dict[str, Any] = {"environment": {}}
    cli("config", "set-profile", "prod", "--url", API, **bare)
    cli("login", stdin=f"{KEY}\n", **bare)
    cli("config", "set-profile", "prod", "--url", "https://elsewhere.test", **bare)
    count = len(server.requests)
    result = cli("models", **bare)
    assert result.exit_code == 1
    assert "headrace --profile prod login" in result.stderr
    assert len(server.requests) == count


def test_logout_forgets_the_key(cli: Cli) -> None:
    """And says so when there was none."""
    bare: dict[str, Any] = {"environment": {}}
    cli("config", "set-profile", "prod", "--url", API, **bare)
    cli("login", stdin=f"{KEY}\n", **bare)
    assert "is forgotten" in cli("logout", **bare).stdout
    assert not cli.keyring.secrets
    assert "not in the keyring" in cli("logout", **bare).stdout


def test_without_a_keyring_the_environment_is_named(cli: Cli) -> None:
    """No key is written anywhere else; a key from the environment does."""
    bare: dict[str, Any] = {"environment": {}, "open_keyring": no_keyring}
    cli("config", "set-profile", "prod", "--url", API, **bare)
    result = cli("login", stdin=f"{KEY}\n", **bare)
    assert result.exit_code == 1
    assert "set HEADRACE_API_KEY" in result.stderr
    assert "set HEADRACE_API_KEY" in cli("models", **bare).stderr
    assert cli("models", **(bare | {"environment": {"HEADRACE_API_KEY": KEY}})).exit_code == 0


def test_who_names_a_service_last_is_heard(cli: Cli, server: FakeHeadrace) -> None:
    """--profile, then HEADRACE_URL, then HEADRACE_PROFILE, then the profile in use."""
    for name in ("one", "two", "three"):
        cli("config", "set-profile", name, "--url", f"https://{name}.test")
    cli("config", "use", "two")
    environment = {"HEADRACE_API_KEY": KEY}
    cli("models", environment=environment)
    assert asked(server) == "https://two.test"
    environment["HEADRACE_PROFILE"] = "three"
    cli("models", environment=environment)
    assert asked(server) == "https://three.test"
    environment["HEADRACE_URL"] = API
    cli("models", environment=environment)
    assert asked(server) == API
    cli("--profile", "one", "models", environment=environment)
    assert asked(server) == "https://one.test"


def test_an_unknown_profile_is_told_with_those_there_are(cli: Cli) -> None:
    """In use and in config use."""
    assert "there are: local." in cli("--profile", "prod", "models").stderr
    assert cli("config", "use", "prod").exit_code == 1


@pytest.mark.parametrize("flags", [(), ("--profile", "local")], ids=["by itself", "by name"])
def test_the_platform_that_runs_here_is_found_from_below(
    cli: Cli, server: FakeHeadrace, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """With its own key, whatever HEADRACE_API_KEY says: that one belongs to another service."""
    run_locally(tmp_path)
    deep = tmp_path / "docs" / "deep"
    deep.mkdir(parents=True)
    assert cli(*flags, "models", environment={"HEADRACE_API_KEY": "hr_other"}, here=deep).exit_code == 0
    assert asked(server) == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({"mode": 0o644}, "open to other users"),
        ({"url": "https://evil.test"}, "another machine"),
        ({"url": "http://127.0.0.1.evil.test"}, "another machine"),
        ({"pid": 2**22 + 1}, "No local platform runs"),
    ],
    ids=["came with a clone", "elsewhere", "looks like here", "is over"],
)
def test_a_state_file_that_cannot_be_trusted_is_not_used(
    cli: Cli, server: FakeHeadrace, tmp_path: Path, left: dict[str, Any], words: str
) -> None:
    """Nothing is read from the file that it names, and nothing is sent where it points."""
    run_locally(tmp_path, **left)
    result = cli("models", environment={})
    assert result.exit_code == 1
    assert words in result.stderr
    assert not server.requests


def test_without_anything_it_says_how_to_begin(cli: Cli) -> None:
    """No profile and no platform."""
    assert "make run" in cli("models", environment={}).stderr
    assert cli("login", environment={}).exit_code == 1


def test_a_key_that_is_none_is_not_sent(cli: Cli, server: FakeHeadrace) -> None:
    """Line ends in a header would be a second header."""
    result = cli("models", environment={"HEADRACE_URL": API, "HEADRACE_API_KEY": "a\nb: c"})
    assert result.exit_code == 1
    assert "HEADRACE_API_KEY" in result.stderr
    assert not server.requests


@pytest.mark.parametrize(
    "url",
    [
        "http://api.test",
        "ftp://api.test",
        "https://",
        "api.test",
        "https://u:p@api.test",
        "https://a.test?x",
        "https://[",
        "",
        "https://a.test:99999",
        "https://a b.test",
        "https://a.test/\n",
        "https://ä.test",
        "http://127.evil.test",
    ],
)
def test_an_address_that_would_show_the_key_is_refused(url: str) -> None:
    """Over http only this machine is asked."""
    with pytest.raises(UsageProblem):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost:8000", "http://[::1]:8000", "https://a.test/prod"]
)
def test_addresses_that_are_in_order(url: str) -> None:
    """This machine, or anything over TLS."""
    assert check_url(f"{url}/") == url


@pytest.mark.parametrize(
    "text",
    [
        "current = ",
        "profiles = 1",
        "[profiles.a]\nurl = 1",
        "[profiles.a]",
        '[profiles."a b"]\nurl = "https://a.test"',
        "\xff",
    ],
)
def test_a_file_that_is_no_config_is_told(cli: Cli, text: str) -> None:
    """With its path, and without a traceback."""
    cli.world.find_config_folder().mkdir()
    (cli.world.find_config_folder() / "config.toml").write_bytes(text.encode("latin-1"))
    result = cli("config", "use", "local")
    assert result.exit_code == 1
    assert "config.toml" in result.stderr


@given(urls=st.dictionaries(NAMES, URLS, max_size=4), current=st.just("") | NAMES)
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, urls: dict[str, str], current: str
) -> None:
    """Any profiles that pass the checks come back as they were."""
    checked = {check_name(name): check_url(url) for name, url in urls.items()}
    folder = tmp_path_factory.mktemp("config")
    write_config(folder, Config(checked, current))
    assert read_config(folder) == Config(checked, current)
