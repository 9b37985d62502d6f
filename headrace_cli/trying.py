"""Serves an artifact with the real serving program, on a free loopback port, and asks it what it must know.

The program is the one that SageMaker runs in the container, as a process of its own with none of this one's
environment that could reach an account.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.declaration.golden import GoldenDeclaration
from headrace.declaration.schema import EndpointDeclaration
from headrace.registry.golden import GoldenProblem, judge, request_body
from headrace_cli.golden_files import read_content
from headrace_cli.problems import Problem, plain

if TYPE_CHECKING:
    import httpx

START_TIMEOUT_S = 180.0
REQUEST_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LATENCY_REQUESTS_MAX = 300
LATENCY_REQUESTS_MIN = 20
LATENCY_BUDGET_S = 15.0
WARM_REQUESTS = 5
_POLL_S = 0.05
_OK = 200
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_LOG_LINES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of it. `metadata` is the served model's, `golden` the names of the requests that it answered."""

    metadata: Mapping[str, Any]
    golden: tuple[str, ...]
    latency_p50_ms: float
    latency_p99_ms: float
    requests: int


def try_artifact(
    artifact: Path,
    *,
    declaration: EndpointDeclaration,
    folder: Path,
    golden: Sequence[GoldenDeclaration],
    digest: str,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.perf_counter,
) -> Tried:
    """Serves it, asks the golden requests, and times them one at a time.

    Args:
        artifact: the artifact's folder.
        declaration: its endpoint's.
        folder: where that lies, and files that golden requests name.
        golden: the requests that hold for this version.
        digest: the artifact's.
        tell: told what is being done.
        clock: seconds.

    Raises:
        Problem: it does not start, or an answer is not the one known.
    """
    try:
        bodies = [json.dumps(request_body(each, read_content(each, folder))).encode() for each in golden]
    except GoldenProblem as problem:
        raise Problem(str(problem)) from problem
    tell(f"serving {artifact}")
    with _served(artifact, declaration=declaration, digest=digest) as http:
        path = f"/v2/models/{declaration.name}"
        metadata = http.get(path).json()
        tell(f"asking {len(golden)} golden requests")
        for each, body in zip(golden, bodies, strict=True):
            _ask_golden(http, f"{path}/infer", each, body)
        tell("measuring latency")
        times = sorted(_times(http, f"{path}/infer", bodies, clock=clock))
    return Tried(
        metadata=metadata,
        golden=tuple(each.name for each in golden),
        latency_p50_ms=round(statistics.median(times) * 1000, 3),
        latency_p99_ms=round(times[-(-99 * len(times) // 100) - 1] * 1000, 3),  # nearest rank
        requests=len(times),
    )


@contextmanager
def _served(artifact: Path, *, declaration: EndpointDeclaration, digest: str) -> "Iterator[httpx.Client]":
    import httpx

    batching = declaration.batching
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {
        "PYTHONPATH": _root(),
        "PYTHONUNBUFFERED": "1",
        "HEADRACE_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": "0",
        "HEADRACE_MODEL_DIR": str(artifact),
        "HEADRACE_ARTIFACT_DIGEST": digest,
        "HEADRACE_BATCH_MAX_SIZE": str(batching.max_size),
        "HEADRACE_BATCH_MAX_DELAY_MS": str(batching.max_delay_ms),
        "HEADRACE_QUEUE_MAX": str(batching.queue_max),
    }
    with tempfile.TemporaryFile() as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "endpoints.serving", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{_wait_for_port(program, log)}"
            # Without the proxies that the environment may name: this is a process of this machine.
            with httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
                _wait_until_ready(program, log, http)
                try:
                    yield http
                except (httpx.HTTPError, ValueError) as error:
                    raise Problem(
                        f"The serving program did not answer: {type(error).__name__}. {_said(log)}"
                    ) from error
        finally:
            program.terminate()
            try:
                program.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def _wait_for_port(program: "subprocess.Popen[bytes]", log: Any) -> int:
    """The port that the system chose, out of the program's log."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and program.poll() is None:
        for line in _lines(log):
            if line.get("event") == "listening":
                return int(line["port"])
        time.sleep(_POLL_S)
    raise Problem(f"The serving program did not start. {_said(log)}")


def _wait_until_ready(program: "subprocess.Popen[bytes]", log: Any, http: "httpx.Client") -> None:
    import httpx

    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and program.poll() is None:
        try:
            if http.get("/ping").status_code == _OK:
                return
        except httpx.HTTPError:
            pass  # it is loading, or has just ended
        time.sleep(_POLL_S)
    raise Problem(f"The model cannot be served. {_said(log)}")


def _lines(log: Any) -> list[dict[str, Any]]:
    size = os.fstat(log.fileno()).st_size
    lines = []
    for raw in os.pread(log.fileno(), min(size, 1 << 20), max(0, size - (1 << 20))).splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            line = {"reason": raw.decode(errors="replace")}
        lines.append(line if isinstance(line, dict) else {})
    return lines


def _said(log: Any) -> str:
    reasons = [str(line["reason"]) for line in _lines(log) if line.get("reason")]
    return plain(" ".join(reasons[-_LOG_LINES:])) or "It said nothing."


def _ask_golden(http: "httpx.Client", path: str, golden: GoldenDeclaration, body: bytes) -> None:
    answer = http.post(path, content=body)
    if answer.status_code != _OK:
        raise Problem(f"Golden request {golden.name} is refused with {answer.status_code}: {plain(answer.text[:300])}")
    if problems := judge(golden, answer.json()):
        raise Problem(f"Golden request {golden.name} is not answered as declared: {plain('; '.join(problems))}")


def _times(http: "httpx.Client", path: str, bodies: list[bytes], *, clock: Callable[[], float]) -> list[float]:
    for index in range(WARM_REQUESTS):
        http.post(path, content=bodies[index % len(bodies)])
    times: list[float] = []
    began = clock()
    while len(times) < LATENCY_REQUESTS_MAX and (
        len(times) < LATENCY_REQUESTS_MIN or clock() - began < LATENCY_BUDGET_S
    ):
        start = clock()
        status = http.post(path, content=bodies[len(times) % len(bodies)]).status_code
        times.append(clock() - start)
        if status != _OK:
            raise Problem(f"A golden request that was answered is refused with {status} when it is asked again.")
    return times


def _root() -> str:
    spec = find_spec("endpoints.serving")
    if spec is None or spec.origin is None:
        raise Problem("The serving program is not here: run this in a checkout of Headrace.")
    return str(Path(spec.origin).parents[2])
