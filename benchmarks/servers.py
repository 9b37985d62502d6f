"""Starts the serving program and its peers as real processes, each on a port of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.bare import CORES
from benchmarks.load.wrk import Load, drive, write_bodies
from benchmarks.models import BODIES, BenchModel
from benchmarks.peers.session import MODEL
from benchmarks.processes import HOST, SCRATCH, Program, free_port, running

PATH = "/invocations"
HEADRACE, TUNED, PLAIN = "Headrace", "FastAPI, tuned", "FastAPI, plain"
TOLERANCE = 1e-3
ABSOLUTE = 1e-4


@dataclass(frozen=True, slots=True)
class Served:
    """One window of load on a server.

    Attributes:
        load: What wrk saw.
        cpu_s: CPU the server's process took meanwhile.
    """

    load: Load
    cpu_s: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.load.requests - self.load.bad_status) / self.load.seconds

    @property
    def cpu_us(self) -> float:
        """CPU per request, in microseconds."""
        return self.cpu_s / max(1, self.load.requests) * 1e6


def load(program: Program, model: BenchModel, *, concurrency: int, seconds: float) -> Served:
    """Load a server for a window."""
    bodies = write_bodies(SCRATCH / "bodies" / model.name, model.bodies)
    cpu = program.cpu_s()
    found = drive(program.port, path=PATH, bodies=bodies, count=BODIES, concurrency=concurrency, seconds=seconds)
    return Served(found, program.cpu_s() - cpu)


def ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    """Send one request on a connection that stays open, and return status and body."""
    connection.request("POST", PATH, body=body, headers={"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def first_output(answer: bytes) -> np.ndarray:
    """The first output tensor of an answer in JSON."""
    tensor: dict[str, Any] = json.loads(answer)["outputs"][0]
    return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])


def is_right(answer: bytes, expected: np.ndarray) -> bool:
    """Whether an answer is the row that was asked for: batching may move the last digits, neighbours may not."""
    found = first_output(answer)
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=TOLERANCE, atol=ABSOLUTE))


@contextlib.contextmanager
def server(name: str, model: BenchModel, *, expected: np.ndarray, inline: bool) -> Iterator[Program]:
    """Run one server until the block ends; it counts as started with its first right answer.

    Args:
        name: `HEADRACE`, `TUNED` or `PLAIN`.
        model: What it serves.
        expected: The right answer to the model's first body.
        inline: For `TUNED`: whether the model is quick enough to run on its event loop.
    """

    def ready(port: int) -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        try:
            status, answer = ask(connection, model.bodies[0])
        except http.client.HTTPException:
            return False
        finally:
            connection.close()
        return status == http.HTTPStatus.OK and is_right(answer, expected)

    port = free_port()
    if name == HEADRACE:
        command = [sys.executable, "-m", "endpoints.serving", "serve"]
        environment = {
            "HEADRACE_HOST": HOST,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "HEADRACE_MODEL_DIR": str(model.artifact),
            "HEADRACE_THREADS": str(CORES),
        }
    else:
        module = "benchmarks.peers.tuned:app" if name == TUNED else "benchmarks.peers.plain:app"
        command = [
            sys.executable, "-m", "uvicorn", module, "--host", HOST, "--port", str(port), "--loop", "uvloop",
            "--http", "httptools", "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip
        environment = {MODEL: str(model.onnx), "BENCH_INLINE": "1" if inline else "0"}
    label = f"{model.name}-{name.lower().replace(', ', '-')}"
    with running(label, command, port=port, environment=environment, ready=ready) as program:
        yield program
