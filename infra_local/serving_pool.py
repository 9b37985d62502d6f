"""The serving processes, one per variant: started, checked by ``/ping``, restarted with growing pauses."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from os import SEEK_CUR
from pathlib import Path

import aiohttp

from endpoints.serving.artifact import MANIFEST
from infra_local.logs import open_log
from infra_local.ports import LOOPBACK, free_port
from infra_local.process import Child, base_environment, describe_exit, start_child

READY_TIMEOUT_S = 180.0
"""SageMaker's own health check gives a container four minutes by default; a model on a laptop needs seconds."""

STOP_GRACE_S = 30.0
"""SIGTERM, then SIGKILL after this, as SageMaker does."""

WATCH_PERIOD_S = 3.0
SILENT_PINGS_MAX = 3
"""A healthy process that misses so many pings in a row is hung: it is ended and started again, as SageMaker would."""
_PING_PERIOD_S = 0.1
_PING_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=5.0)  # a laptop at work is slower than SageMaker's 2 s
_PAUSE_MIN_S = 0.2
_PAUSE_MAX_S = 10.0
_STEADY_S = 30.0
_CRASHES_REPORTED = (1, 3)
DIGEST = "HEADRACE_ARTIFACT_DIGEST"
"""The variable that says which artifact a process may load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSpec:
    """One variant to serve.

    Attributes:
        endpoint: The endpoint's short name.
        variant: The variant's name, which is the model version's.
        model_folder: The artifact's folder.
        root: Where ``endpoints.serving`` is imported from.
        environment: The program's own variables (batching, digest).
        command: The program, for tests that serve something else.
    """

    endpoint: str
    variant: str
    model_folder: Path
    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ("-m", "endpoints.serving", "serve")

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"serving-{self.endpoint}-{self.variant}"


class ServingProcess:
    """Keeps one variant served.

    Args:
        spec: What to serve.
        log_folder: Its output goes to ``<name>.log`` in it.
        session: For health checks.
        report: Told, in words, about deaths and about returns.
    """

    def __init__(
        self, spec: VariantSpec, *, log_folder: Path, session: aiohttp.ClientSession, report: Callable[[str], None]
    ) -> None:
        self.spec = spec
        self.url: str | None = None
        self.hold_next_start_s = 0.0
        self.damaged_starts = 0
        """So many starts from now on find their artifact damaged."""
        self._log = open_log(log_folder, spec.name)
        self._session = session
        self._report = report
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process id of the program now running."""
        return self._child.pid if self._child is not None and self._child.alive else None

    @property
    def ready(self) -> bool:
        """Whether requests can be sent to ``url``."""
        return self.url is not None

    def start(self) -> None:
        """Begins to keep it running."""
        self._keeper = asyncio.ensure_future(self._keep())

    async def first_answer(self) -> bool:
        """Waits until it is ready, or has failed once, and says which."""
        await self._settled.wait()
        return self.ready

    def kill(self) -> None:
        """Kills the real process, as a machine's failure would."""
        if self._child is not None:
            self._child.kill()

    def last_lines(self) -> list[str]:
        """Returns the last lines that the program wrote."""
        return self._child.last_lines() if self._child is not None else []

    async def stop(self) -> None:
        """Lets it drain and ends it."""
        self._stopping = True
        self.url = None
        if self._child is not None:
            await self._child.stop(grace_s=STOP_GRACE_S)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    async def _keep(self) -> None:
        crashes = 0
        while True:
            hold_s, self.hold_next_start_s = self.hold_next_start_s, 0.0
            await asyncio.sleep(hold_s)
            began = time.monotonic()
            status = await self._run_once()
            self.url = None
            self._settled.set()
            if self._stopping:
                return
            crashes = 1 if time.monotonic() - began > _STEADY_S else crashes + 1
            if crashes in _CRASHES_REPORTED:
                again = "" if crashes == 1 else f" for the {crashes}rd time; {self._log} ends with:\n    "
                lines = "" if crashes == 1 else "\n    ".join(self.last_lines())
                self._report(f"{self.spec.name} {describe_exit(status)}{again}{lines}")
            await asyncio.sleep(min(_PAUSE_MAX_S, _PAUSE_MIN_S * 2 ** (crashes - 1)))

    async def _run_once(self) -> int:
        if not self.damaged_starts:
            return await self._run_from(self.spec.model_folder)
        self.damaged_starts -= 1
        with tempfile.TemporaryDirectory() as scratch:
            return await self._run_from(await asyncio.to_thread(damaged_copy, self.spec.model_folder, Path(scratch)))

    async def _run_from(self, model_folder: Path) -> int:
        port = free_port()
        environment = {
            **base_environment(),
            "PYTHONPATH": str(self.spec.root),
            "PYTHONUNBUFFERED": "1",
            "HEADRACE_HOST": LOOPBACK,
            "HEADRACE_MODEL_DIR": str(model_folder),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            **self.spec.environment,
        }
        command = (sys.executable, *self.spec.command)
        self._child = await start_child(
            self.spec.name, command, environment=environment, folder=self.spec.root, log=self._log
        )
        exited = asyncio.ensure_future(self._child.exited())
        healthy = asyncio.ensure_future(self._wait_healthy(f"http://{LOOPBACK}:{port}"))
        await asyncio.wait({exited, healthy}, return_when=asyncio.FIRST_COMPLETED)
        if not healthy.done():
            healthy.cancel()
        elif healthy.result():
            was_down = self._settled.is_set()
            self.url = f"http://{LOOPBACK}:{port}"
            self._settled.set()
            if was_down:
                self._report(f"{self.spec.name} is back (pid {self._child.pid})")
            await self._watch(exited)
        else:
            self._report(f"{self.spec.name} was not healthy after {READY_TIMEOUT_S:.0f} s and is restarted")
            self._child.kill()
        return await exited

    async def _watch(self, exited: "asyncio.Future[int]") -> None:
        """Asks after a healthy process until it ends, and ends it when it does not answer any more."""
        silent = 0
        while silent < SILENT_PINGS_MAX:
            await asyncio.wait({exited}, timeout=WATCH_PERIOD_S)
            if exited.done() or self._stopping:
                return
            try:
                async with self._session.get(f"{self.url}/ping", timeout=_WATCH_TIMEOUT):
                    silent = 0
            except (aiohttp.ClientError, TimeoutError):
                silent += 1
        if self._child is not None:
            self._report(f"{self.spec.name} does not answer /ping any more and is restarted")
            self._child.kill()

    async def _wait_healthy(self, url: str) -> bool:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.get(f"{url}/ping", timeout=_PING_TIMEOUT) as answer:
                    if answer.status == 200:  # noqa: PLR2004
                        return True
            await asyncio.sleep(_PING_PERIOD_S)
        return False


def damaged_copy(folder: Path, scratch: Path) -> Path:
    """Copies an artifact and turns a byte in the middle of its largest file around; the artifact itself stays whole."""
    copy = Path(shutil.copytree(folder, scratch / folder.name, copy_function=shutil.copyfile))
    files = (path for path in copy.rglob("*") if path.is_file() and path.name != MANIFEST)
    largest = max(files, key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(largest.stat().st_size // 2)
        turned = bytes(byte ^ 0xFF for byte in file.read(1))
        file.seek(-1, SEEK_CUR)
        file.write(turned)
    return copy


class ServingPool:
    """All variants.

    Args:
        specs: What to serve.
        log_folder: Where logs go.
        session: For health checks.
        report: Told about deaths and returns.
    """

    def __init__(
        self,
        specs: list[VariantSpec],
        *,
        log_folder: Path,
        session: aiohttp.ClientSession,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._make = partial(ServingProcess, log_folder=log_folder, session=session, report=report)
        self._processes = {(spec.endpoint, spec.variant): self._make(spec) for spec in specs}

    def start(self) -> None:
        """Begins to start every variant."""
        for process in self._processes.values():
            process.start()

    async def first_answers(self) -> list[ServingProcess]:
        """Waits until each variant is ready or has failed once; returns those that failed."""
        results = [(p, await p.first_answer()) for p in self._processes.values()]
        return [process for process, ready in results if not ready]

    def find(self, endpoint: str, variant: str) -> ServingProcess | None:
        """Returns the process of a variant."""
        return self._processes.get((endpoint, variant))

    def variants(self, endpoint: str) -> list[str]:
        """Returns the variants of an endpoint that are in service."""
        return [variant for name, variant in self._processes if name == endpoint]

    def serves(self, spec: VariantSpec) -> bool:
        """Says whether the variant is in service with this very model."""
        process = self._processes.get((spec.endpoint, spec.variant))
        if process is None or process.spec.environment != spec.environment:
            return False
        return DIGEST in spec.environment or process.spec.model_folder == spec.model_folder

    def prepare(self, spec: VariantSpec) -> ServingProcess:
        """Begins to start a process that is not in service yet."""
        process = self._make(spec)
        process.start()
        return process

    def put(self, process: ServingProcess) -> ServingProcess | None:
        """Puts a process in service and returns the one whose place it took, which still runs."""
        place = (process.spec.endpoint, process.spec.variant)
        before = self._processes.get(place)
        self._processes[place] = process
        return before

    def take(self, endpoint: str, variant: str) -> ServingProcess | None:
        """Takes a variant out of service and returns its process, which still runs."""
        return self._processes.pop((endpoint, variant), None)

    def all(self) -> list[ServingProcess]:
        """Returns every process."""
        return list(self._processes.values())

    async def stop(self) -> None:
        """Drains and ends all of them at once."""
        await asyncio.gather(*(process.stop() for process in self._processes.values()))
