"""Starts the real serving program on a free loopback port, as SageMaker would start it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import serving_models as models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
START_S = 60.0


class Served:
    """One running serving process.

    Attributes:
        process: The process.
        port: Its port.
        log: Where its standard error goes.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Make one request on its own connection.

        Returns:
            Status, headers (lower case) and body.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def infer(self, rows: list[list[float]], **fields: Any) -> tuple[int, dict[str, Any]]:
        """Ask for rows of the input `x`."""
        body = {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": list(chain(*rows))}
            ],
            **fields,
        }
        status, _, answer = self.request("POST", "/invocations", json.dumps(body).encode())
        return status, json.loads(answer)

    def metric(self, sample: str) -> float:
        """Read one sample of /metrics."""
        text = self.request("GET", "/metrics")[2].decode()
        return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(sample + " ")), 0.0)

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Signal the process and wait for it to end.

        Returns:
            Its exit status.
        """
        self.process.send_signal(number)
        return self.process.wait(timeout=35)


def start(artifact: Path, *, log: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the program without waiting for it."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "endpoints.serving", "serve"],
            cwd=ROOT,
            stderr=stream,
            stdout=stream,
            env={
                **os.environ,
                "HEADRACE_HOST": "127.0.0.1",
                "SAGEMAKER_BIND_TO_PORT": "0",
                "HEADRACE_MODEL_DIR": str(artifact),
                "HEADRACE_THREADS": "2",
                **(environment or {}),
            },
        )


def wait_for_event(process: subprocess.Popen[bytes], *, log: Path, event: str) -> dict[str, Any]:
    """Wait for a log line; fail with the log if the process ends first."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        for line in log.read_text().splitlines():
            fields = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
            if fields.get("event") == event:
                return dict(fields)
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise AssertionError(f"no {event}: {log.read_text()}")


@contextmanager
def running(artifact: Path, *, log: Path, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Start the program, wait until it is ready, and end it afterwards."""
    process = start(artifact, log=log, environment=environment)
    try:
        port = wait_for_event(process, log=log, event="listening")["port"]
        wait_for_event(process, log=log, event="ready")
        yield Served(process, port=port, log=log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


Serve = "Callable[..., Served]"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Give a function that starts a server for a model and lets the test end stop it."""
    contexts: list[Any] = []

    def begin(onnx_bytes: bytes, *, code: str | None = None, environment: dict[str, str] | None = None) -> Served:
        folder = tmp_path / f"artifact{len(contexts)}"
        artifact = models.write_artifact(folder, onnx_bytes=onnx_bytes, code=code)
        context = running(artifact, log=tmp_path / f"log{len(contexts)}", environment=environment)
        contexts.append(context)
        return context.__enter__()

    yield begin
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of y = x with four columns, shared by the tests of a module that do not stop it."""
    folder = tmp_path_factory.mktemp("toy")
    artifact = models.write_artifact(folder / "artifact", onnx_bytes=models.identity())
    with running(artifact, log=folder / "log") as served:
        yield served
