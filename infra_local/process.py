"""A child process of the platform: started on a leash, its output in a log, stopped politely and then not."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra_local import logs

_LEASH = str(Path(__file__).with_name("leash.py"))
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")


def base_environment() -> dict[str, str]:
    """Returns what a child inherits of this process's environment: nothing that could reach a real account."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


@dataclass(slots=True)
class Child:
    """A started child process.

    Attributes:
        name: What reports call it.
        process: The asyncio handle; its pid is the program's own.
        log: Where its output goes.
        log_start_byte: Where in the log this run begins.
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path
    log_start_byte: int
    _exited: asyncio.Task[int] = field(init=False)

    def __post_init__(self) -> None:
        self._exited = asyncio.ensure_future(self.process.wait())

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.returncode is None

    async def exited(self) -> int:
        """Waits for its end and returns the exit status (negative: the signal that killed it)."""
        return await asyncio.shield(self._exited)

    def last_lines(self) -> list[str]:
        """Returns the last lines it wrote in this run."""
        return logs.tail(self.log, since_byte=self.log_start_byte)

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self, *, grace_s: float) -> None:
        """Asks it to end with SIGTERM and kills it when it has not within the grace period."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.exited(), grace_s)
            except TimeoutError:
                self.kill()
        await self.exited()


async def start_child(
    name: str, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
) -> Child:
    """Starts a program that cannot outlive this process.

    Args:
        name: What reports call it.
        command: The program (an absolute path) and its arguments.
        environment: Its whole environment.
        folder: Its working directory.
        log: An existing file; standard output and error are appended to it.
    """
    kernel_watches = sys.platform.startswith("linux")
    with log.open("ab") as output:
        start_byte = output.tell()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _LEASH, str(os.getpid()), *command),
            env=dict(environment),
            cwd=folder,
            stdin=DEVNULL if kernel_watches else PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops children in order
        )
    return Child(name, process, log, start_byte)


def describe_exit(status: int) -> str:
    """Says in words how a process ended."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"
