"""Programs under measurement: started on a free loopback port, watched through /proc, ended by name."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.conditions import ROOT

SCRATCH = ROOT / ".headrace" / "benchmarks"
"""Models, logs and what probes hand over; out of the reach of linters, and of git."""
START_S_MAX = 90.0
STOP_S_MAX = 40.0
HOST = "127.0.0.1"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class DidNotStart(RuntimeError):
    """A program ended, or did not answer in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """A running program.

    Attributes:
        name: What tables call it.
        process: The process.
        port: Where it listens on loopback.
        start_s: From spawning it to its first right answer.
        log: Where its output goes.
    """

    name: str
    process: subprocess.Popen[bytes]
    port: int
    start_s: float
    log: Path

    def cpu_s(self) -> float:
        """CPU the whole process has used, user and system, in seconds (to the kernel's tick, usually 10 ms)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def memory_mb(self) -> tuple[float, float]:
        """Resident and proportional set size, in MB of 10^6 bytes."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        kib = {key: float(value.split()[0]) for key, _, value in (line.partition(":") for line in lines[1:])}
        return kib["Rss"] * 1.024e-3, kib["Pss"] * 1.024e-3

    def terminate(self) -> int:
        """Send SIGTERM and return the exit status; past `STOP_S_MAX` the program is killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], *, port: int, environment: Mapping[str, str], ready: Callable[[int], bool]
) -> Iterator[Program]:
    """Run a program until the block ends.

    Args:
        name: What tables call it.
        command: The program and its arguments.
        port: The port that it was told to listen on.
        environment: Added to this process's environment.
        ready: Given the port, says whether the program answers rightly; may raise OSError while it does not.

    Raises:
        DidNotStart: It ended or kept silent.
    """
    log = SCRATCH / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        _wait(name, process, port=port, ready=ready, log=log)
        yield Program(name, process, port, time.perf_counter() - start, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], *, port: int, ready: Callable[[int], bool], log: Path) -> None:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            if ready(port):
                return
        time.sleep(0.02)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise DidNotStart(f"{name} did not start: {tail}")
