"""Drives `wrk`, and reads what it measured. A load generator in Python would measure itself."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import HOST

SCRIPT = Path(__file__).parent / "rotation.lua"
HOW_TO_GET_IT = "wrk is not on the PATH: install it (Debian and Ubuntu: apt install wrk; macOS: brew install wrk)"


@dataclass(frozen=True, slots=True)
class Load:
    """What one window of load measured.

    Attributes:
        requests: Answers received.
        seconds: Length of the window.
        p50_ms: Median latency as the client saw it.
        p99_ms: 99th percentile.
        bad_status: Answers other than 2xx and 3xx.
        lost: Requests without an answer.
        load_cpu_s: CPU that wrk itself took.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    bad_status: int
    lost: int
    load_cpu_s: float


def missing() -> str | None:
    """Why no load can be made, or None when it can."""
    return None if shutil.which("wrk") else HOW_TO_GET_IT


def write_bodies(folder: Path, bodies: tuple[bytes, ...]) -> Path:
    """Lay the bodies where the script finds them, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, body in enumerate(bodies):
        (folder / f"{index}.json").write_bytes(body)
    return folder


def drive(port: int, *, path: str, bodies: Path, count: int, concurrency: int, seconds: float) -> Load:
    """Load a server with one thread and kept-alive connections, each sending its next request at the last answer.

    Args:
        port: On loopback.
        path: The route.
        bodies: Folder of `write_bodies`.
        count: How many bodies lie there.
        concurrency: Connections.
        seconds: Whole seconds; wrk takes no fractions.
    """
    command = [
        "wrk", "-t1", f"-c{concurrency}", f"-d{max(1, round(seconds))}s", "--timeout", "30s",
        "-s", str(SCRIPT), f"http://{HOST}:{port}{path}", "--", str(bodies), str(count),
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return parse(output, load_cpu_s=after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def parse(output: str, *, load_cpu_s: float = 0.0) -> Load:
    """Read the line of JSON that the script prints.

    Raises:
        ValueError: There is none.
    """
    line = next((line for line in output.splitlines() if line.startswith('{"requests"')), None)
    if line is None:
        raise ValueError("wrk printed no summary")
    found = json.loads(line)
    return Load(
        requests=found["requests"],
        seconds=found["duration_us"] / 1e6,
        p50_ms=found["p50_us"] / 1000,
        p99_ms=found["p99_us"] / 1000,
        bad_status=found["bad_status"],
        lost=found["lost"],
        load_cpu_s=load_cpu_s,
    )
