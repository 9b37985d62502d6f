"""The state file: how other commands find a running platform."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


class NotRunningError(Exception):
    """No platform is running from this folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A running platform.

    Attributes:
        pid: The supervisor's.
        url: The API.
        admin_url: Administration.
        admin_token: What administration asks for.
        api_key_file: Where the demo key is.
        environment: Variables that point boto3 at it.
        processes: Process ids of the children when it had started.
    """

    pid: int
    url: str
    admin_url: str
    admin_token: str
    api_key_file: str
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, list[int]] = field(default_factory=dict)


def state_path(folder: Path) -> Path:
    """Returns where the state file is, under ``.headrace``."""
    return folder / "run" / "state.json"


def write_state(folder: Path, state: State) -> None:
    """Writes the state file, readable by its owner alone."""
    write_private(state_path(folder), json.dumps(asdict(state), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    draft.replace(path)


def read_state(folder: Path) -> State:
    """Reads the state of the platform running from this folder.

    Raises:
        NotRunningError: If there is none, or its supervisor is gone.
    """
    try:
        state = State(**json.loads(state_path(folder).read_text(encoding="utf-8")))
        os.kill(state.pid, 0)
    except (FileNotFoundError, ValueError, TypeError, ProcessLookupError, PermissionError) as error:
        raise NotRunningError("the local platform is not running: start it with `make run`") from error
    return state
