"""The Lambda host behaves as Lambda does, seen through real awslambdaric processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError

from infra_local.lambda_api import LambdaApi
from infra_local.lambda_environment import FunctionSpec
from infra_local.lambda_host import InvokeRefusedError, LambdaHost

TOYS = Path(__file__).with_name("functions")
Host = Callable[..., AbstractAsyncContextManager[LambdaHost]]


def spec(name: str, **changes: Any) -> FunctionSpec:
    """Describes a toy function."""
    module = "broken_at_import" if name == "broken" else "toys"
    return FunctionSpec(**{"name": name, "handler": f"{module}.{name}", "root": TOYS, **changes})


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Makes a running Lambda host for given functions."""

    @asynccontextmanager
    async def running(*specs: FunctionSpec, report: Callable[[str], None] = print) -> AsyncIterator[LambdaHost]:
        lambda_host = LambdaHost(list(specs), log_folder=tmp_path, report=report)
        await lambda_host.start()
        try:
            yield lambda_host
        finally:
            await lambda_host.stop(grace_s=0)

    return running


def event(**fields: Any) -> bytes:
    """Encodes an event."""
    return json.dumps(fields).encode()


@pytest.mark.asyncio
async def test_function_sees_lambda_surroundings(host: Host, tmp_path: Path) -> None:
    """A handler gets its context, deadline and trace as on Lambda, and each invocation leaves a REPORT line."""
    async with host(spec("echo", timeout_s=20, memory_mb=256)) as running:
        result = await running.invoke("echo", event(a=1), trace_id="Root=1-2-3")
        answer = json.loads(result.payload)
    assert answer["event"] == {"a": 1}
    assert answer["request_id"] == result.request_id
    assert 0 < answer["remaining_ms"] <= 20_000
    assert answer["memory"] == "256"
    assert answer["arn"].endswith(":function:echo")
    assert answer["trace"] == "Root=1-2-3"
    assert answer["task_root"] == str(TOYS)
    log = (tmp_path / "lambda-echo.log").read_text()
    assert f"REPORT RequestId: {result.request_id}" in log
    assert "Init Duration" in log


@pytest.mark.asyncio
async def test_warm_environment_is_used_again(host: Host) -> None:
    """Invocations one after another share one process."""
    async with host(spec("misbehave")) as running:
        pids = {(await running.invoke("misbehave", b"{}")).payload for _ in range(3)}
    assert len(pids) == 1


@pytest.mark.asyncio
async def test_exception_becomes_unhandled_function_error(host: Host) -> None:
    """An exception is reported by type and message, and the environment lives on."""
    async with host(spec("misbehave")) as running:
        before = await running.invoke("misbehave", b"{}")
        result = await running.invoke("misbehave", event(do="raise"))
        after = await running.invoke("misbehave", b"{}")
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload)["errorType"] == "TeapotError"
    assert json.loads(result.payload)["errorMessage"] == "short and stout"
    assert before.payload == after.payload


@pytest.mark.asyncio
async def test_timeout_kills_and_replaces(host: Host) -> None:
    """An invocation over its time fails with Sandbox.Timedout and the next one gets a new process."""
    async with host(spec("misbehave", timeout_s=0.5)) as running:
        before = await running.invoke("misbehave", b"{}")
        result = await running.invoke("misbehave", event(do="hang"))
        after = await running.invoke("misbehave", b"{}")
    assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 0.50 seconds" in json.loads(result.payload)["errorMessage"]
    assert after.function_error is None
    assert before.payload != after.payload


@pytest.mark.asyncio
async def test_crash_fails_its_own_invocation_alone(host: Host) -> None:
    """A process that ends mid-invocation is told apart from an exception, and replaced."""
    async with host(spec("misbehave")) as running:
        result = await running.invoke("misbehave", event(do="exit"))
        after = await running.invoke("misbehave", b"{}")
    assert json.loads(result.payload)["errorType"] == "Runtime.ExitError"
    assert "status 3" in json.loads(result.payload)["errorMessage"]
    assert after.function_error is None


@pytest.mark.asyncio
async def test_failure_at_import_is_answered_and_reported(host: Host) -> None:
    """A function that cannot start answers every caller at once; a loop of it is reported with its last log lines."""
    reports: list[str] = []
    async with host(spec("broken"), report=reports.append) as running:
        results = [await running.invoke("broken", b"{}") for _ in range(3)]
    assert all(r.function_error == "Unhandled" for r in results)
    assert "a setting is missing" in json.loads(results[0].payload)["errorMessage"]
    assert len(reports) == 1
    assert "broken fails at every start" in reports[0]
    assert "a setting is missing" in reports[0]


@pytest.mark.asyncio
async def test_slow_start_is_cut_off(host: Host) -> None:
    """An environment that is not ready in time fails its invocation instead of hanging it."""
    async with host(spec("echo", init_timeout_s=0.001)) as running:
        result = await running.invoke("echo", b"{}")
    assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"


@pytest.mark.asyncio
async def test_concurrent_invocations_get_processes_of_their_own(host: Host) -> None:
    """Two at once run in two processes; the bound holds, and those beyond it wait."""
    async with host(spec("misbehave", concurrency_max=2)) as running:
        sleep = event(do="sleep", seconds=0.3)
        results = await asyncio.gather(*(running.invoke("misbehave", sleep) for _ in range(6)))
        assert len(running.process_ids("misbehave")) == 2
    assert {r.function_error for r in results} == {None}
    assert len({r.payload for r in results}) == 2


@pytest.mark.asyncio
async def test_beyond_the_queue_is_throttled(host: Host) -> None:
    """With no room to wait, the Invoke API's 429 answers."""
    async with host(spec("misbehave", concurrency_max=1, queue_max=0)) as running:
        first = asyncio.ensure_future(running.invoke("misbehave", event(do="sleep", seconds=0.5)))
        await asyncio.sleep(0)
        with pytest.raises(InvokeRefusedError) as refusal:
            await running.invoke("misbehave", b"{}")
        await first
    assert (refusal.value.status, refusal.value.code) == (429, "TooManyRequestsException")


@pytest.mark.asyncio
async def test_payload_limits_hold_both_ways(host: Host) -> None:
    """More than 6 MB is refused on the way in and a function error on the way out."""
    async with host(spec("misbehave")) as running:
        with pytest.raises(InvokeRefusedError) as refusal:
            await running.invoke("misbehave", b'"' + b"x" * 6_291_456 + b'"')
        result = await running.invoke("misbehave", event(do="large", bytes=6_400_000))
        fits = await running.invoke("misbehave", event(do="large", bytes=6_000_000))
    assert refusal.value.status == 413
    assert json.loads(result.payload)["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(fits.payload) == 6_000_002


@pytest.mark.asyncio
async def test_idle_environments_are_reaped(host: Host) -> None:
    """An environment left alone for longer than its idle time is ended."""
    async with host(spec("misbehave", idle_s=0)) as running:
        await running.invoke("misbehave", b"{}")
        while running.process_ids("misbehave"):  # noqa: ASYNC110 - there is no event to wait for; the test's timeout bounds it
            await asyncio.sleep(0.1)


@pytest.mark.asyncio
async def test_unmodified_boto3_invokes(host: Host) -> None:
    """boto3 pointed at the Invoke API sees answers, function errors, 404, bad JSON, Event and DryRun as from AWS."""
    async with host(spec("misbehave")) as running:
        server = await asyncio.get_running_loop().create_server(web.Server(LambdaApi(running)), "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        client = boto3.client(
            "lambda",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}),
        )

        def talk() -> None:
            answer = client.invoke(FunctionName="misbehave", Payload=b"{}")
            assert answer.get("FunctionError") is None
            assert int(answer["Payload"].read()) > 0
            answer = client.invoke(FunctionName="misbehave:$LATEST", Payload=event(do="raise"))
            assert answer["FunctionError"] == "Unhandled"
            assert client.invoke(FunctionName="misbehave", InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
            assert client.invoke(FunctionName="misbehave", InvocationType="DryRun")["StatusCode"] == 204
            with pytest.raises(ClientError, match="ResourceNotFoundException"):
                client.invoke(FunctionName="nobody")
            with pytest.raises(ClientError, match="InvalidRequestContentException"):
                client.invoke(FunctionName="misbehave", Payload=b"{")

        await asyncio.to_thread(talk)
        server.close()
