"""Commands that talk to a running platform: status, faults, stop and replay."""

import json
import shlex
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from infra_local.administration import TOKEN_HEADER
from infra_local.names import Names
from infra_local.state import NotRunningError, read_state, state_path

_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0


class RefusedError(Exception):
    """The platform would not do it; the message says why."""


def ask(folder: Path, method: str, path: str, fields: dict[str, Any] | None = None) -> Any:
    """Asks the administration of the platform running from ``folder``.

    Raises:
        NotRunningError: If none is.
        RefusedError: If it would not.
    """
    state = read_state(folder)
    data = None if fields is None else json.dumps(fields).encode()
    request = urllib.request.Request(  # noqa: S310 - a loopback address from our own file
        state.admin_url + path, data=data, method=method, headers={TOKEN_HEADER: state.admin_token}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RefusedError(json.load(error)["error"]) from error
    except urllib.error.URLError as error:
        raise NotRunningError(f"the local platform does not answer: {error.reason}") from error


def stop(folder: Path) -> None:
    """Stops the platform and waits until it is gone.

    Raises:
        NotRunningError: If it does not run.
        RefusedError: If it is still there after a minute.
    """
    pid = read_state(folder).pid
    ask(folder, "POST", "/stop", {})
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        # The supervisor removes its state file last; its pid may linger as a zombie of whoever started it.
        if not state_path(folder).exists():
            return
        time.sleep(0.1)
    raise RefusedError(f"the supervisor (pid {pid}) has not ended; end it with: kill -9 {pid}")


def replay(folder: Path, event_file: Path) -> str:
    """Sends an event file to the function that its folder names, and returns the answer as readable text.

    Args:
        folder: ``.headrace``.
        event_file: Such as ``events/predict/classify.json``.

    Raises:
        NotRunningError: If the platform does not run.
        RefusedError: If there is no such file or function.
    """
    state = read_state(folder)
    try:
        payload = event_file.read_bytes()
    except OSError as error:
        raise RefusedError(f"{event_file}: {error.strerror}") from error
    event = _with_key(payload, Path(state.api_key_file).read_text(encoding="utf-8").strip())
    function = f"{Names().prefix}-{event_file.resolve().parent.name}"
    url = f"{state.environment['AWS_ENDPOINT_URL_LAMBDA']}/2015-03-31/functions/{function}/invocations"
    request = urllib.request.Request(url, data=event, method="POST")  # noqa: S310 - a loopback address from our own file
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            if failed := answer.headers.get("X-Amz-Function-Error"):
                sys.stderr.write(f"the function failed: {failed}\n")
            return json.dumps(json.load(answer), indent=2, ensure_ascii=False)
    except urllib.error.HTTPError as error:
        raise RefusedError(json.load(error)["Message"]) from error


def environment(folder: Path) -> str:
    """Returns a shell's lines that point boto3 and the operator's commands at the running platform.

    Raises:
        NotRunningError: If none runs.
    """
    names = Names()
    variables = {
        **read_state(folder).environment,
        "HEADRACE_KEYS_TABLE": names.keys_table,
        "HEADRACE_PEPPER_SECRET": names.pepper_secret,
        "HEADRACE_STATE_TABLE": names.state_table,
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _with_key(payload: bytes, key: str) -> bytes:
    """Puts the running platform's key where a recorded event says ``$HEADRACE_KEY``: real keys are never recorded."""
    return payload.replace(b"$HEADRACE_KEY", key.encode())
