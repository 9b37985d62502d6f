"""The SageMaker runtime, driven by an unmodified boto3 over real processes of a toy model."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
import pytest_asyncio
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from headrace.catalog import ASYNC_SUFFIX
from infra_local.control_plane import ControlPlane
from infra_local.faults import RUBBISH, FaultBook, parse_fault
from infra_local.names import Names
from infra_local.sagemaker_runtime import BODY_BYTES_MAX, SageMakerRuntime
from infra_local.serving_pool import ServingPool, VariantSpec

TOY = Path(__file__).with_name("toy_model.py")
pytestmark = pytest.mark.asyncio


@dataclass
class Platform:
    """What a test drives."""

    runtime: SageMakerRuntime
    pool: ServingPool
    faults: FaultBook
    weights: dict[str, float]
    reports: list[str]
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def client(self) -> Any:
        """An unmodified boto3 client."""
        return boto3.client(
            "sagemaker-runtime",
            endpoint_url=self.runtime.url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}),
        )

    async def invoke(self, body: Any = None, **arguments: Any) -> Any:
        """Invokes the endpoint ``headrace-local-toy`` and returns boto3's answer with its body read."""

        def call() -> Any:
            payload = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
            fields = {"EndpointName": "headrace-local-toy", "ContentType": "application/json", "Body": payload}
            answer = self.client.invoke_endpoint(**{**fields, **arguments})
            return {**answer, "Body": answer["Body"].read()}

        return await asyncio.to_thread(call)

    async def refused(self, body: Any = None, **arguments: Any) -> tuple[int, str, dict[str, Any]]:
        """Invokes and returns the status, the code and the whole of the error that boto3 raised."""
        with pytest.raises(ClientError) as caught:
            await self.invoke(body, **arguments)
        response: Any = caught.value.response
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response

    def fault(self, kind: str, **fields: Any) -> None:
        """Puts a fault in force."""
        wish = {"endpoint": "toy", "kind": kind, **fields}
        self.faults.add(parse_fault(wish, endpoints={"toy": ["a", "b"]}, now=0))


class MemoryStore:
    """Objects in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects

    def read(self, uri: str) -> bytes:
        """Returns an object."""
        return self._objects[uri]

    def write(self, uri: str, body: bytes, content_type: str) -> None:
        """Keeps an object."""
        assert content_type
        self._objects[uri] = body


def control_plane(weights: dict[str, float]) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    """Makes a fake DescribeEndpoint for the one endpoint there is."""

    async def answer(request: web.BaseRequest) -> web.Response:
        asked = json.loads(await request.read())
        if "EndpointConfigName" in asked:
            paths = {"S3OutputPath": "s3://out/ok", "S3FailurePath": "s3://out/failed"}
            return web.json_response({"AsyncInferenceConfig": {"OutputConfig": paths}})
        if asked["EndpointName"].removesuffix(ASYNC_SUFFIX) != "headrace-local-toy":
            return web.json_response({"__type": "ValidationException"}, status=400)
        variants = [{"VariantName": name, "CurrentWeight": weight} for name, weight in weights.items()]
        return web.json_response({"ProductionVariants": variants, "EndpointConfigName": "c"})

    return answer


@pytest_asyncio.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Two variants behind the runtime, the second with no weight."""
    weights = {"a": 1.0, "b": 0.0}
    reports: list[str] = []
    objects: dict[str, bytes] = {}
    specs = [
        VariantSpec(endpoint="toy", variant=name, model_folder=tmp_path, root=TOY.parent, command=(str(TOY),))
        for name in weights
    ]
    async with aiohttp.ClientSession() as session:
        control = web.Server(control_plane(weights))
        server = await asyncio.get_running_loop().create_server(control, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pool = ServingPool(specs, log_folder=tmp_path, session=session, report=reports.append)
        pool.start()
        faults = FaultBook()
        runtime = SageMakerRuntime(
            ControlPlane(url, session),
            session,
            backend=lambda endpoint, variant: pool.find(Names().short(endpoint), variant),
            faults=faults,
            short_name=Names().short,
            store=MemoryStore(objects),
            model_timeout_s=1.0,
        )
        await runtime.start()
        assert await pool.first_answers() == []
        yield Platform(runtime, pool, faults, weights, reports, objects)
        await runtime.stop()
        await pool.stop()
        server.close()
        await control.shutdown(0.1)


async def test_answer_names_its_variant_and_carries_attributes(platform: Platform) -> None:
    """An answer comes with its content type, its variant and the container's custom attributes."""
    answer = await platform.invoke(CustomAttributes="trace=1")
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "a"
    assert answer["CustomAttributes"] == "trace=1"


async def test_only_three_headers_reach_the_container(platform: Platform) -> None:
    """Content type, Accept and custom attributes are passed on; credentials and the rest are not."""
    answer = await platform.invoke(Accept="application/x-test", InferenceId="i")
    headers = {name.lower() for name in json.loads(answer["Body"])["headers"]}
    assert headers - {"accept-encoding", "user-agent"} == {"host", "content-type", "content-length", "accept"}


async def test_target_variant_overrides_weights(platform: Platform) -> None:
    """A variant of weight 0 answers only whoever names it."""
    assert (await platform.invoke(TargetVariant="b"))["InvokedProductionVariant"] == "b"


async def test_a_component_is_the_process_of_its_version(platform: Platform) -> None:
    """Versions that share instances on AWS have a process each here; a component of another endpoint is refused."""
    answer = await platform.invoke(InferenceComponentName="headrace-local-toy-b")
    assert answer["InvokedProductionVariant"] == "b"
    for wrong in ("headrace-local-toy-z", "b"):
        assert (await platform.refused(InferenceComponentName=wrong))[:2] == (400, "ValidationError")


async def test_traffic_follows_weights_within_a_second(platform: Platform) -> None:
    """New weights in the control plane move traffic at most a second later."""
    await platform.invoke()
    platform.weights |= {"a": 0.0, "b": 1.0}
    await asyncio.sleep(1.01)
    seen = Counter([(await platform.invoke())["InvokedProductionVariant"] for _ in range(5)])
    assert seen == {"b": 5}


async def test_unknown_endpoint_and_variant_are_validation_errors(platform: Platform) -> None:
    """Both are 400 ValidationError, as at SageMaker."""
    status, code, error = await platform.refused(EndpointName="nobody")
    assert (status, code) == (400, "ValidationError")
    assert "Endpoint nobody of account" in error["Error"]["Message"]
    assert (await platform.refused(TargetVariant="z"))[:2] == (400, "ValidationError")


async def test_model_errors_carry_the_containers_words(platform: Platform) -> None:
    """A container's 4xx and 5xx become 424 ModelError with its status and message."""
    status, code, error = await platform.refused({"do": "refuse"})
    assert (status, code) == (424, "ModelError")
    assert error["OriginalStatusCode"] == 400
    assert json.loads(error["OriginalMessage"])["code"] == "bad_input"
    assert (await platform.refused({"do": "overload"}))[2]["OriginalStatusCode"] == 503


async def test_body_limit_is_six_mebibytes(platform: Platform) -> None:
    """Six MiB pass, one byte more is refused before the container sees it."""
    answer = await platform.invoke(b"x" * BODY_BYTES_MAX)
    assert json.loads(answer["Body"])["bytes"] == BODY_BYTES_MAX
    assert (await platform.refused(b"x" * (BODY_BYTES_MAX + 1)))[:2] == (413, "ValidationError")


async def test_slow_model_is_cut_off(platform: Platform) -> None:
    """A container over its time gives ModelError with status 0 and SageMaker's words."""
    status, code, error = await platform.refused({"do": "sleep", "seconds": 5})
    assert (status, code, error["OriginalStatusCode"]) == (424, "ModelError", 0)
    assert "invocation timed out" in error["OriginalMessage"]


async def test_killed_process_comes_back(platform: Platform) -> None:
    """After kill -9 requests get 503 until a new process answers, and both are reported by name."""
    process = platform.pool.find("toy", "a")
    assert process is not None
    before = process.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    seen = set()
    while process.pid in (None, before) or not process.ready:
        try:
            await platform.invoke()
        except ClientError as error:
            seen.add(error.response["Error"]["Code"])
    answer = await platform.invoke()
    assert json.loads(answer["Body"])["pid"] == process.pid != before
    assert "ServiceUnavailable" in seen
    assert seen <= {"ServiceUnavailable", "ModelError"}
    assert any("serving-toy-a killed by SIGKILL" in report for report in platform.reports)
    assert any("serving-toy-a is back" in report for report in platform.reports)


async def test_refused_connection_is_unavailable(platform: Platform) -> None:
    """While a variant has no process, callers get 503 ServiceUnavailable."""
    process = platform.pool.find("toy", "a")
    assert process is not None
    process.hold_next_start_s = 30
    process.kill()
    while process.ready:  # noqa: ASYNC110 - the test's timeout bounds it
        await asyncio.sleep(0.01)
    assert (await platform.refused())[:2] == (503, "ServiceUnavailable")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("throttle", 400, "ThrottlingException"),
        ("5xx", 424, "ModelError"),
        ("unavailable", 503, "ServiceUnavailable"),
        ("hang", 424, "ModelError"),
    ],
)
async def test_faults_look_as_from_sagemaker(platform: Platform, kind: str, status: int, code: str) -> None:
    """Each fault reaches boto3 as the error that SageMaker would send, and ends when it was met often enough."""
    platform.fault(kind, count=1, variant="a")
    assert (await platform.refused())[:2] == (status, code)
    assert (await platform.invoke())["InvokedProductionVariant"] == "a"


async def test_garbage_and_wrong_shape_are_valid_http(platform: Platform) -> None:
    """Rubbish comes with status 200; a wrong shape claims one row more than there is."""
    platform.fault("garbage", count=1)
    assert (await platform.invoke({"do": "infer"}))["Body"] == RUBBISH
    platform.fault("wrong_shape", count=1)
    output = json.loads((await platform.invoke({"do": "infer"}))["Body"])["outputs"][0]
    assert (output["shape"], output["data"]) == ([3], [1, 2])


async def test_response_stream_arrives_part_by_part(platform: Platform) -> None:
    """boto3 decodes the event stream: the parts in order, then the end."""

    def call() -> tuple[list[bytes], str]:
        body = json.dumps({"do": "stream", "parts": ["one", "two", "three"]}).encode()
        answer = platform.client.invoke_endpoint_with_response_stream(EndpointName="headrace-local-toy", Body=body)
        return [event["PayloadPart"]["Bytes"] for event in answer["Body"]], answer["InvokedProductionVariant"]

    parts, variant = await asyncio.to_thread(call)
    assert b"".join(parts) == b"onetwothree"
    assert variant == "a"


async def test_broken_stream_ends_in_an_exception_event(platform: Platform) -> None:
    """A container lost mid-stream is told as ModelStreamError, after the parts that came."""

    def call() -> list[bytes]:
        body = json.dumps({"do": "stream", "parts": ["one"], "break": True}).encode()
        answer = platform.client.invoke_endpoint_with_response_stream(EndpointName="headrace-local-toy", Body=body)
        parts: list[bytes] = []
        with pytest.raises(EventStreamError, match="lost"):
            parts.extend(event["PayloadPart"]["Bytes"] for event in answer["Body"])
        return parts

    assert await asyncio.to_thread(call) == [b"one"]


async def test_stream_refusals_are_plain_errors(platform: Platform) -> None:
    """Before the first part, a model's error is an ordinary ModelError."""
    body = json.dumps({"do": "refuse"}).encode()
    call = platform.client.invoke_endpoint_with_response_stream
    with pytest.raises(ClientError, match="ModelError"):
        await asyncio.to_thread(call, EndpointName="headrace-local-toy", Body=body)


async def test_async_invocation_leaves_its_output(platform: Platform) -> None:
    """The answer, or the error, is written where the caller was told it would be."""
    platform.objects["s3://in/x"] = b'{"do": "infer"}'
    platform.objects["s3://in/y"] = b'{"do": "refuse"}'
    call = platform.client.invoke_endpoint_async
    good, bad = [
        await asyncio.to_thread(call, EndpointName="headrace-local-toy", InputLocation=f"s3://in/{name}")
        for name in ("x", "y")
    ]
    while not {good["OutputLocation"], bad["FailureLocation"]} <= platform.objects.keys():  # noqa: ASYNC110 - bounded
        await asyncio.sleep(0.01)
    assert b"outputs" in platform.objects[good["OutputLocation"]]
    assert b"bad_input" in platform.objects[bad["FailureLocation"]]
