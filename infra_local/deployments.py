"""UpdateEndpoint with real processes: those of a new configuration are started, and serve once all of them are well.

SageMaker's blue/green update (docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html): the old
fleet serves until the new one passes its health checks; then the traffic moves and the old one is drained. A new model
that dies while it starts, or cannot be loaded, ends the update: the old configuration stays, and DescribeEndpoint says
why. What did not change keeps its process.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from infra_local.control_plane import ControlPlane, ControlPlaneDownError, UnknownEndpointError
from infra_local.model_data import ModelDataError
from infra_local.serving_pool import DIGEST, ServingPool, ServingProcess, VariantSpec

LOOK_S = 1.0
DRAIN_DELAY_S = 1.5
"""What the control plane answered is used for a second: so long the old variants may still be asked."""
LAST_LINES = 3
_TROUBLE = (aiohttp.ClientError, TimeoutError, ControlPlaneDownError, UnknownEndpointError)


class ModelData(Protocol):
    """Where artifacts are found."""

    def folder(self, *, digest: str, url: str) -> Path:
        """The folder of an artifact.

        Raises:
            ModelDataError: There is none, or what is there cannot be read.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An endpoint whose configuration is followed.

    Attributes:
        endpoint: Its full name.
        short: The declaration's name, by which its processes are found.
        config: The configuration that the processes now serve.
        own: Whether its variants have processes of their own. An asynchronous endpoint's are its sister's.
    """

    endpoint: str
    short: str
    config: str
    own: bool = True


@dataclass(frozen=True, slots=True)
class _Update:
    """The configuration that the control plane asks for, and whether it waits to be told what became of it."""

    config: str
    pending: bool


class UpdateFailedError(Exception):
    """The new configuration cannot be served; the message is the endpoint's FailureReason."""


class Deployments:
    """Follows the control plane.

    Args:
        control: The control plane.
        pool: The processes.
        data: Where artifacts are.
        root: Where the serving program is imported from.
        watched: The endpoints, as their processes were started.
        report: Told in words what was done.
    """

    def __init__(
        self,
        control: ControlPlane,
        pool: ServingPool,
        *,
        data: ModelData,
        root: Path,
        watched: Iterable[Watched],
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._pool = pool
        self._data = data
        self._root = root
        self._watched = tuple(watched)
        self._report = report
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to follow every endpoint."""
        self._tasks = [asyncio.ensure_future(self._follow(each)) for each in self._watched]

    async def stop(self) -> None:
        """Follows nothing any more; the pool ends its processes itself."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, watched: Watched) -> None:
        serving = watched.config
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                update = await self._asked_for(watched.endpoint, serving)
                if update is not None and await self._carry_out(watched, update):
                    serving = update.config
            except _TROUBLE:  # moto is away, or has just been started again and is empty: look again
                continue

    async def _asked_for(self, endpoint: str, serving: str) -> _Update | None:
        described = await self._control.call("DescribeEndpoint", {"EndpointName": endpoint})
        pending = described.get("PendingDeploymentSummary")
        if isinstance(pending, dict):
            return _Update(str(pending["EndpointConfigName"]), pending=True)
        config = str(described["EndpointConfigName"])
        # The control plane was started again: what it then has is in force, and nobody waits to be told.
        return None if config == serving else _Update(config, pending=False)

    async def _carry_out(self, watched: Watched, update: _Update) -> bool:
        """Whether the new configuration is served now."""
        try:
            gone = await self._bring_up(watched, await self._specs(watched, update.config))
        except (UpdateFailedError, ModelDataError) as error:
            self._report(f"{watched.endpoint} stays as it was: {error}")
            if update.pending:
                await self._control.conclude_update(watched.endpoint, failure=str(error))
            return not update.pending  # nothing to go back to: say it once
        if update.pending:
            await self._control.conclude_update(watched.endpoint, failure="")
        self._control.forget()
        self._report(f"{watched.endpoint} now serves the configuration {update.config}")
        if gone:
            try:
                await asyncio.sleep(DRAIN_DELAY_S)
            finally:  # also when all is ended meanwhile: nobody else knows them
                await asyncio.gather(*(process.stop() for process in gone))
        return True

    async def _specs(self, watched: Watched, config: str) -> list[VariantSpec]:
        described = await self._control.describe_config(config)
        variants: Any = described["ProductionVariants"]
        return [await self._spec(watched.short, each["VariantName"], each.get("ModelName", "")) for each in variants]

    async def _spec(self, short: str, variant: str, model: str) -> VariantSpec:
        try:
            described: Any = await self._control.call("DescribeModel", {"ModelName": model})
        except UnknownEndpointError as error:
            raise UpdateFailedError(f"variant {variant}: there is no model {model!r}") from error
        container = described.get("PrimaryContainer", {})
        if "ModelDataUrl" not in container:
            raise UpdateFailedError(
                f"variant {variant}: model {model!r} has no ModelDataUrl, and nothing else runs here"
            )
        environment = {str(name): str(value) for name, value in container.get("Environment", {}).items()}
        digest = environment.get(DIGEST, "")
        folder = await asyncio.to_thread(self._data.folder, digest=digest, url=str(container["ModelDataUrl"]))
        return VariantSpec(
            endpoint=short, variant=variant, model_folder=folder, root=self._root, environment=environment
        )

    async def _bring_up(self, watched: Watched, specs: Sequence[VariantSpec]) -> list[ServingProcess]:
        """Starts what is new and puts it in service; returns the processes that nobody will ask any more.

        Raises:
            UpdateFailedError: One did not start; none is in service, and those that did have been ended.
        """
        new = [spec for spec in specs if not self._pool.serves(spec)]
        if not watched.own:
            if new:
                names = ", ".join(spec.variant for spec in new)
                raise UpdateFailedError(f"no process serves {names}: update {watched.short}'s real-time endpoint first")
            return []
        started = [self._pool.prepare(spec) for spec in new]
        try:
            well = await asyncio.gather(*(process.first_answer() for process in started))
        except asyncio.CancelledError:
            await asyncio.gather(*(process.stop() for process in started))
            raise
        failed = [process for process, ready in zip(started, well, strict=True) if not ready]
        if failed:
            reasons = [f"{each.spec.variant}: {' | '.join(each.last_lines()[-LAST_LINES:])}" for each in failed]
            await asyncio.gather(*(process.stop() for process in started))
            raise UpdateFailedError(
                f"The container of a production variant did not pass the ping health check. {'; '.join(reasons)}"
            )
        kept = {spec.variant for spec in specs}
        gone = [self._pool.put(process) for process in started]
        over = [name for name in self._pool.variants(watched.short) if name not in kept]
        gone += [self._pool.take(watched.short, name) for name in over]
        return [process for process in gone if process is not None]
