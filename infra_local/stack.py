"""The whole platform in one event loop: starts the parts in order, keeps them running, stops them in reverse.

Child processes (moto, serving processes, Lambda environments) are real; the parts that only pass requests on (front,
Lambda host, SageMaker runtime, administration) live in this process.

    async with Stack(endpoints=..., artifacts=..., folder=...) as stack: ...
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from headrace import notices
from headrace.gateway import GATEWAY_REFUSALS, PUBLIC_PATHS
from headrace.jobs.states import BATCH_MAX
from headrace.rollouts import shadowing
from infra_local.bootstrap import Account, ObjectStore
from infra_local.control_plane import ControlPlane
from infra_local.deployments import Deployments, Watched
from infra_local.faults import AT_ONCE, DYNAMODB, FaultBook, parse_fault
from infra_local.front import Front
from infra_local.front_signature import AccessKey
from infra_local.functions import JOBS_AT_ONCE, NOTICES_AT_ONCE, ROOT, SHADOWS_AT_ONCE, platform_functions
from infra_local.lambda_api import LambdaApi
from infra_local.lambda_environment import FunctionSpec
from infra_local.lambda_host import LambdaHost
from infra_local.logs import open_log
from infra_local.model_data import LocalModelData
from infra_local.moto_faults import write_faults
from infra_local.names import ACCESS_KEY_ID, OPERATOR_ROLE, SECRET_ACCESS_KEY, Names, aws_environment
from infra_local.plan import Plan, read_plan
from infra_local.ports import LOOPBACK, free_port
from infra_local.process import Child, base_environment, describe_exit, start_child
from infra_local.queues import EventSource, queue_url
from infra_local.sagemaker_runtime import SageMakerRuntime
from infra_local.serving_pool import ServingPool, ServingProcess, VariantSpec
from infra_local.state import write_private

MOTO_READY_TIMEOUT_S = 60.0
DEMO_TENANT = "demo"
OPERATOR = AccessKey(id=ACCESS_KEY_ID, secret=SECRET_ACCESS_KEY, role=OPERATOR_ROLE, session="local")
"""Who signs with what `environment` prints; it may call the API as the demo tenant."""
_PING_PERIOD_S = 0.1
_MOTO_PAUSE_S = 1.0

Functions = Callable[[Names, Path, Mapping[str, str]], list[FunctionSpec]]


class StartError(Exception):
    """A part did not start; the message names it and ends with its last log lines."""


class Stack:
    """The local platform.

    Args:
        endpoints: The folder of declarations.
        artifacts: The folder of built artifacts.
        folder: Where logs and state go (``.headrace``).
        port: Of the front; 0 means any free one.
        functions: Makes the functions from the names, the catalog's path and boto3's variables; the platform's own when
            missing. They must include those called ``<prefix>-predict`` and ``<prefix>-authorizer``.
        report: Told in words what a person should know: deaths, returns, crash loops.
        model_timeout_s: How long a container may take; SageMaker's 60 s.
        oidc_issuers: Whose tokens the authorizer accepts beside API keys, as the JSON that it reads.
    """

    def __init__(
        self,
        *,
        endpoints: Path,
        artifacts: Path,
        folder: Path,
        port: int = 0,
        functions: Functions | None = None,
        report: Callable[[str], None] = lambda _: None,
        model_timeout_s: float = 60.0,
        oidc_issuers: str = "[]",
    ) -> None:
        self.names = Names()
        self.faults = FaultBook()
        self.plan = Plan(())
        self.api_key = ""
        self._endpoints = endpoints
        self._artifacts = artifacts
        self.logs = folder.absolute() / "logs"
        self._run_folder = folder.absolute() / "run"
        self._moto_faults = self._run_folder / "dynamodb-faults.json"
        self._tables = {"state": self.names.state_table, "keys": self.names.keys_table}
        self._front_port = port
        self._functions = functions
        self._report = report
        self._model_timeout_s = model_timeout_s
        self._oidc_issuers = oidc_issuers
        self._moto_port = 0
        self._moto: Child | None = None
        self._moto_keeper: asyncio.Task[None] | None = None
        self._cleanup = contextlib.AsyncExitStack()

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The API's base URL."""
        return self.front.url

    @property
    def moto_url(self) -> str:
        """Where the rest of AWS is."""
        return f"http://{LOOPBACK}:{self._moto_port}"

    def environment(self) -> dict[str, str]:
        """Returns the variables that point an unmodified boto3 here."""
        return dict(aws_environment(moto=self.moto_url, lambda_api=self.lambda_url, sagemaker_runtime=self.runtime.url))

    def process_ids(self) -> dict[str, list[int]]:
        """Returns the process ids of every child, by part."""
        ids = {process.spec.name: [process.pid] for process in self.pool.all() if process.pid is not None}
        ids |= {f"lambda-{name}": self.lambda_host.process_ids(name) for name in self.lambda_host.names()}
        if self._moto is not None and self._moto.alive:
            ids["moto"] = [self._moto.pid]
        return ids

    def fault(self, **fields: Any) -> None:
        """Puts a fault in force, or clears all with ``clear=True``.

        Args:
            **fields: ``endpoint`` (its short name, or ``dynamodb``), ``kind`` and the optional ``variant``, ``rate``,
                ``count``, ``seconds``, ``latency_ms``, ``jitter_ms``; or ``clear`` and perhaps ``endpoint``.

        Raises:
            ValueError: If there is no such place or kind.
        """
        if fields.get("clear"):
            self.faults.clear(fields.get("endpoint"))
            self._tell_moto()
            return
        variants = {e.name: self.pool.variants(e.name) for e in self.plan.endpoints}
        places = {**variants, DYNAMODB: list(self._tables)}
        fault = parse_fault(fields, endpoints=places, now=time.monotonic())
        if fault.kind not in AT_ONCE:
            self.faults.add(fault)
            self._tell_moto()
            return
        for name in variants[fault.endpoint]:
            process = self.pool.find(fault.endpoint, name)
            if process is not None and fault.variant in (None, name):
                if fault.kind == "slow_start":
                    process.hold_next_start_s = fault.latency_ms / 1000
                elif fault.kind == "corrupt":
                    process.damaged_starts = 1 if fault.count is None else fault.count
                process.kill()

    def _tell_moto(self) -> None:
        write_faults(self._moto_faults, self.faults.in_force(), tables=self._tables)

    # -- its life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async for _ in self.starting():
            pass
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def starting(self) -> AsyncIterator[str]:
        """Starts everything, yielding what it begins to do; on failure, stops what was started.

        Raises:
            PlanError: If what is declared cannot be run.
            StartError: If a part does not come up.
        """
        try:
            async for step in self._steps():
                yield step
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stops everything, the front first, so that requests in flight find what they need."""
        await self._cleanup.aclose()

    async def _steps(self) -> AsyncIterator[str]:
        yield "reading the declarations"
        self.plan = await asyncio.to_thread(read_plan, self._endpoints, self._artifacts)
        catalog = self._run_folder / "catalog.json"
        await asyncio.to_thread(write_private, catalog, self.plan.catalog())
        session = await self._cleanup.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=5.0),
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
            )
        )
        self._moto_port = free_port()
        yield "starting models and emulated services"
        self.pool = ServingPool(self._variants(), log_folder=self.logs, session=session, report=self._report)
        self._cleanup.push_async_callback(self.pool.stop)
        self.pool.start()
        await self._start_runtime(session)
        await self._start_lambda_host(catalog)
        await self._start_moto(session)
        yield "creating tables, secrets, buckets and endpoints"
        await asyncio.to_thread(self.account.build, self.plan)
        # The way an operator does it: the platform's own command, against the emulated account.
        self.api_key, _ = await asyncio.gather(
            self._keys("issue", "--tenant", DEMO_TENANT),
            self._keys("allow-role", OPERATOR.user_arn, "--tenant", DEMO_TENANT),
        )
        await asyncio.to_thread(self.account.remember_keys)
        self._moto_keeper = asyncio.ensure_future(self._keep_moto(session))
        self._cleanup.push_async_callback(self._stop_keeper)
        yield "warming up models and functions"
        # Not before the buckets are filled: the stand-in loads its models while it starts.
        await self.lambda_host.start()
        for failed in await self.pool.first_answers():
            lines = "\n    ".join(failed.last_lines())
            self._report(
                f"{failed.spec.name} did not start; {self.logs / failed.spec.name}.log ends with:\n    {lines}"
            )
        self._follow_updates()
        await self.lambda_host.first_starts()
        # Before the API opens: what it accepts for later must find somebody who runs it; a test's functions need not.
        self._poll(self.names.job_run, self.names.jobs_queue, batch_max=BATCH_MAX, concurrency_max=JOBS_AT_ONCE)
        self._poll(
            self.names.notify, self.names.notices_queue, batch_max=notices.BATCH_MAX, concurrency_max=NOTICES_AT_ONCE
        )
        self._poll(
            self.names.shadow, self.names.shadow_queue, batch_max=shadowing.BATCH_MAX, concurrency_max=SHADOWS_AT_ONCE
        )
        yield "opening the API"
        self.front = Front(
            self.lambda_host,
            predict=self.names.predict,
            authorizer=self.names.authorizer,
            public_paths=frozenset(PUBLIC_PATHS),
            access_keys=(OPERATOR,),
            words=GATEWAY_REFUSALS,
        )
        await self.front.start(self._front_port)
        self._cleanup.push_async_callback(self.front.stop)

    def _variants(self) -> list[VariantSpec]:
        return [
            VariantSpec(
                endpoint=endpoint.name,
                variant=version.name,
                model_folder=version.folder,
                root=ROOT,
                environment=endpoint.serving_environment(version),
            )
            for endpoint in self.plan.endpoints
            for version in endpoint.hosted
        ]

    def _follow_updates(self) -> None:
        names = [(self.names.endpoint(e.name), e.name, True) for e in self.plan.endpoints]
        names += [(self.names.async_endpoint(name), name, False) for name in self._with_async()]
        kept = self._run_folder / "artifacts"
        deployments = Deployments(
            self.control,
            self.pool,
            data=LocalModelData(self._artifacts, kept=kept, read=ObjectStore(self.account).read),
            root=ROOT,
            watched=[Watched(endpoint=full, short=short, config=full, own=own) for full, short, own in names],
            report=self._report,
        )
        deployments.start()
        self._cleanup.push_async_callback(deployments.stop)

    def _with_async(self) -> list[str]:
        return [e.name for e in self.plan.endpoints if e.declaration.async_inference is not None]

    async def _start_runtime(self, session: aiohttp.ClientSession) -> None:
        def backend(endpoint: str, variant: str) -> ServingProcess | None:
            return self.pool.find(self.names.short(endpoint), variant)

        self.control = ControlPlane(self.moto_url, session)
        aws = aws_environment(moto=self.moto_url, lambda_api="", sagemaker_runtime="")
        self.account = Account(self.names, aws=aws)
        self.runtime = SageMakerRuntime(
            self.control,
            session,
            backend=backend,
            faults=self.faults,
            short_name=self.names.short,
            store=ObjectStore(self.account),
            model_timeout_s=self._model_timeout_s,
        )
        await self.runtime.start()
        self._cleanup.push_async_callback(self.runtime.stop)

    def _poll(self, function: str, queue: str, *, batch_max: int, concurrency_max: int) -> None:
        if function not in self.lambda_host.names():
            return
        source = EventSource(
            self.lambda_host,
            function=function,
            sqs=lambda: self.account.client("sqs"),
            url=queue_url(self.moto_url, queue),
            batch_max=batch_max,
            concurrency_max=concurrency_max,
        )
        source.start()
        self._cleanup.push_async_callback(source.stop)

    async def _start_lambda_host(self, catalog: Path) -> None:
        loop = asyncio.get_running_loop()
        lambda_port = free_port()
        self.lambda_url = f"http://{LOOPBACK}:{lambda_port}"
        make = self._functions or (
            lambda names, path, aws: platform_functions(
                names, catalog=path, endpoints=self._endpoints, aws=aws, oidc_issuers=self._oidc_issuers
            )
        )
        specs = make(self.names, catalog, self.environment())
        self.lambda_host = LambdaHost(specs, log_folder=self.logs, report=self._report)
        self._cleanup.push_async_callback(self.lambda_host.stop)
        api = web.Server(LambdaApi(self.lambda_host), access_log=None)
        server = await loop.create_server(api, LOOPBACK, lambda_port)
        self._cleanup.push_async_callback(api.shutdown, 0.5)
        self._cleanup.callback(server.close)

    async def _start_moto(self, session: aiohttp.ClientSession) -> None:
        if self._moto is None:
            self._cleanup.push_async_callback(self._stop_moto)
        write_faults(self._moto_faults, (), tables=self._tables)  # what is made in it now must meet none
        command = (
            *(sys.executable, "-m", "infra_local.moto_server"),
            *("--port", str(self._moto_port), "--lambda-url", self.lambda_url),
            *("--runtime-url", self.runtime.url, "--faults", str(self._moto_faults), "--hold-updates"),
        )
        environment = {**base_environment(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        log = open_log(self.logs, "moto")
        self._moto = await start_child("moto", command, environment=environment, folder=ROOT, log=log)
        deadline = time.monotonic() + MOTO_READY_TIMEOUT_S
        while time.monotonic() < deadline and self._moto.alive:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{self.moto_url}/moto-api/data.json", timeout=aiohttp.ClientTimeout(total=10)):
                    return
            await asyncio.sleep(_PING_PERIOD_S)
        lines = "\n    ".join(self._moto.last_lines())
        raise StartError(f"moto did not start; {log} ends with:\n    {lines}")

    async def _keep_moto(self, session: aiohttp.ClientSession) -> None:
        while self._moto is not None:
            status = await self._moto.exited()
            self._report(f"moto {describe_exit(status)} and is started again; what was stored in it is lost")
            await asyncio.sleep(_MOTO_PAUSE_S)
            try:
                await self._start_moto(session)
                await asyncio.to_thread(self.account.build, self.plan)
                self._tell_moto()
            except Exception as error:  # noqa: BLE001 - whatever it was, say so and try again
                self._report(f"moto could not be restored: {error}")
                self._moto.kill()
                continue
            self.control.forget()
            self._report(f"moto is back (pid {self._moto.pid})")

    async def _stop_keeper(self) -> None:
        if self._moto_keeper is not None:
            self._moto_keeper.cancel()
            await asyncio.gather(self._moto_keeper, return_exceptions=True)

    async def _stop_moto(self) -> None:
        if self._moto is not None:
            await self._moto.stop(grace_s=2.0)

    async def _keys(self, *arguments: str) -> str:
        """Runs ``headrace_aws.keys`` and returns what it printed."""
        environment = {
            **base_environment(),
            **self.environment(),
            "PYTHONPATH": f"{ROOT / 'layers' / 'core' / 'python'}",
            "HEADRACE_KEYS_TABLE": self.names.keys_table,
            "HEADRACE_PEPPER_SECRET": self.names.pepper_secret,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace_aws.keys", *arguments),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            raise StartError(f"no credentials for the demo tenant: {errors.decode('utf-8', 'replace').strip()}")
        return output.decode().strip()
