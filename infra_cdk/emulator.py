"""The emulator and the deployer that a rehearsal needs, neither of them ours: fetched, started, stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MINISTACK = "ministack==1.5.33"
CDK_TOOLS = ("aws-cdk@2.1148.1", "aws-cdk-local@3.0.4")
"""The CDK command line of the library's own age: version 3 refuses its assemblies."""
ACCOUNT, REGION = "000000000000", "us-east-1"
_INSTALL_TIMEOUT_S = 600
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the emulator and the deployer are."""

    folder: Path

    @property
    def ministack(self) -> Path:
        """The emulator's program."""
        return self.folder / "venv" / "bin" / "ministack"

    @property
    def cdklocal(self) -> Path:
        """The CDK command line that speaks to an emulator."""
        return self.folder / "node_modules" / ".bin" / "cdklocal"

    def missing(self) -> list[str]:
        """Which of them are not there."""
        return [path.name for path in (self.ministack, self.cdklocal) if not path.exists()]

    def install(self, compiler: Path) -> None:
        """Fetch both. The emulator runs the functions in its own Python, so it gets Lambda's minor version."""
        npm = shutil.which("npm") or "npm"
        python = self.folder / "venv" / "bin" / "python"
        self.folder.mkdir(parents=True, exist_ok=True)
        commands: tuple[list[str | Path], ...] = (
            [compiler, "-m", "venv", self.folder / "venv"],
            [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", MINISTACK, "boto3"],
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", self.folder, *CDK_TOOLS],
        )
        for command in commands:
            subprocess.run(command, timeout=_INSTALL_TIMEOUT_S, check=True)  # noqa: S603 - the tools named above


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def aws_environment(endpoint: str) -> dict[str, str]:
    """Everything that an AWS client needs to speak to the emulator and to nothing else."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "CDK_DISABLE_VERSION_CHECK": "1",
    }


@contextlib.contextmanager
def emulator(tools: Tools, *, log: Path) -> Iterator[str]:
    """The emulator on a free loopback port, until the end of the block; yields its address."""
    port = _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    environment = {**aws_environment(endpoint), "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the emulator
            [tools.ministack], env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait_until_listening(port, process, log=log)
            yield endpoint
        finally:
            # Its workers are children of its own: the whole group goes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_until_listening(port: int, process: subprocess.Popen[bytes], *, log: Path) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=_POLL_S):
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"ministack did not start: see {log}")
