"""The platform that `make run` started in this repository: where it listens, and its demo key.

It is found by its state file, `.headrace/run/state.json` in the current folder or one above, and its key beside it in
`api-key`. A key is sent where this file says, so the file must be this user's own and closed to all others (a file
that came with a clone or an archive is not), and the address must be this machine's.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from headrace_cli.problems import Problem

RUN_FOLDER = Path(".headrace") / "run"
STATE_BYTES_MAX = 1 << 20
NOT_RUNNING = "No local platform runs from this folder: start one with `make run`, or choose a profile with --profile."


@dataclass(frozen=True, slots=True)
class LocalPlatform:
    """A running platform. `environment` are the variables that point boto3 at it, as its state file has them."""

    url: str
    key: str = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def find_local(here: Path) -> LocalPlatform:
    """The platform that runs from `here` or a folder above it.

    Raises:
        Problem: none does, or its state file cannot be trusted.
    """
    for folder in (here, *here.parents):
        run = folder / RUN_FOLDER
        if (run / "state.json").is_file():
            return _read(run)
    raise Problem(NOT_RUNNING)


def is_loopback(url: str) -> bool:
    """Whether a URL stays on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _read(run: Path) -> LocalPlatform:
    try:
        state = json.loads(_private(run / "state.json"))
        url, pid = str(state["url"]), int(state["pid"])
        environment = {str(name): str(value) for name, value in dict(state.get("environment", {})).items()}
        os.kill(pid, 0)
    except (ValueError, TypeError, KeyError, ProcessLookupError, PermissionError) as error:
        raise Problem(NOT_RUNNING) from error
    if not is_loopback(url):
        raise Problem(f"{run / 'state.json'} points to another machine; it is not used.")
    return LocalPlatform(url.rstrip("/"), _private(run / "api-key").strip(), environment)


def _private(path: Path) -> str:
    """The text of a file that only this user can read and write."""
    with path.open("rb") as stream:
        about = os.fstat(stream.fileno())
        if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise Problem(f"{path} is open to other users, so it is not used. `make run` writes it anew.")
        return stream.read(STATE_BYTES_MAX).decode()
