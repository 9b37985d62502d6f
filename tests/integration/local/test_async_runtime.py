"""`InvokeEndpointAsync` on the local runtime, by an unmodified boto3 and by the platform's own adapter."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from headrace.catalog import AsyncRules, Catalog, Endpoint
from headrace.errors import (
    AnswerPending,
    AttemptTimedOut,
    HeadraceError,
    InvalidAnswer,
    InvalidRequest,
    PayloadTooLarge,
    TargetUnavailable,
)
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.jobs.asynchronous import Asynchronous, AsyncRun, load_sent
from headrace_aws import clients
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.sagemaker_async import INLINE_MAX_BYTES, LATE_S, SageMakerAsync
from infra_local.async_inference import INLINE_BYTES_MAX
from tests.integration.local.test_sagemaker_runtime import Platform, platform
from tests.unit.headrace.conftest import catalog

__all__ = ["catalog", "platform"]
pytestmark = pytest.mark.asyncio

NAME = "headrace-local-toy-async"
RUN = AsyncRun("acme", f"job_{'a' * 22}", 0)
RULES = AsyncRules("a", timeout_s=900, queue_s=3600)
OUT, FAILED = "s3://out/ok", "s3://out/failed"


async def invoke(platform: Platform, **arguments: Any) -> Any:
    """boto3's answer to an asynchronous invocation."""
    return await asyncio.to_thread(platform.client.invoke_endpoint_async, EndpointName=NAME, **arguments)


async def until(platform: Platform, key: str) -> bytes:
    """An object, once it is there; the test's own timeout bounds this."""
    while key not in platform.objects:  # noqa: ASYNC110 - bounded
        await asyncio.sleep(0.01)
    return platform.objects[key]


async def test_the_output_has_the_place_that_was_asked_for(platform: Platform) -> None:
    """Path and name are the caller's, below the configured prefix; the body went inline."""
    answer = await invoke(
        platform, Body=b'{"do": "infer"}', InferenceId="x", S3OutputPathExtension="acme/job_1", Filename="0.out"
    )
    assert (answer["InferenceId"], answer["OutputLocation"]) == ("x", f"{OUT}/acme/job_1/0.out")
    assert answer["FailureLocation"].startswith(FAILED)
    assert b"outputs" in await until(platform, answer["OutputLocation"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"Body": b"x" * (INLINE_BYTES_MAX + 1)},
        {"Body": b"x", "InputLocation": "s3://in/x"},
        {},
        {"Body": b"x", "RequestTTLSeconds": 21_601},
        {"Body": b"x", "InvocationTimeoutSeconds": 3601},
        {"Body": b"x", "Filename": "a.b.c"},
        {"Body": b"x", "Filename": "x" * 33},
        {"Body": b"x", "S3OutputPathExtension": "s3://elsewhere"},
        {"Body": b"x", "InferenceId": "x" * 65},
    ],
)
async def test_what_the_service_refuses_is_refused(platform: Platform, wrong: dict[str, Any]) -> None:
    """Limits and patterns are those of the API reference."""
    with pytest.raises(ClientError, match="ValidationError"):
        await invoke(platform, **wrong)


async def test_requests_wait_while_there_is_no_instance(platform: Platform) -> None:
    """No capacity is no failure: the request is begun when there is some."""
    platform.fault("unavailable")
    answer = await invoke(platform, Body=b'{"do": "infer"}')
    await asyncio.sleep(0.3)
    assert not platform.objects
    platform.faults.clear("toy")
    assert b"outputs" in await until(platform, answer["OutputLocation"])


async def test_work_that_takes_too_long_leaves_a_failure(platform: Platform) -> None:
    """The time at work is the request's own, not that of requests whose callers wait."""
    answer = await invoke(platform, Body=b'{"do": "sleep", "seconds": 30}', InvocationTimeoutSeconds=1)
    assert b"timed out" in await until(platform, answer["FailureLocation"])


# -- the adapter ------------------------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """The runtime's objects as the adapter reads them."""

    objects: dict[str, bytes]

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object that is not there."""
        return self.objects.setdefault(f"s3://out/{key}", body) is body

    def read_within(self, key: str, *, bytes_max: int) -> bytes | None:
        """An object's bytes, or None."""
        found = self.objects.get(f"s3://out/{key}")
        if found is not None and len(found) > bytes_max:
            raise PayloadTooLarge("too large")
        return found


@dataclass
class Side:
    """The adapter, and what it is asked."""

    port: Asynchronous
    endpoint: Endpoint
    objects: dict[str, bytes]
    now: float = 1_000_000.0

    async def send(self, request: InferenceRequest) -> None:
        """Send a run's request."""
        version = self.endpoint.version("a")
        await asyncio.to_thread(self.port.send, RUN, self.endpoint, version, request, tier=5)

    async def found(self) -> InferenceResponse | HeadraceError | None:
        """What came of it, whatever that is but nothing yet; the test's own timeout bounds this."""
        while True:
            try:
                return await asyncio.to_thread(self.port.find, RUN)
            except AnswerPending:
                await asyncio.sleep(0.01)
            except HeadraceError as error:
                return error


@pytest.fixture
def side(platform: Platform, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    """The adapter before the runtime."""
    for name, value in {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": platform.runtime.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    caches: list[Callable[[], None]] = [
        clients.client.cache_clear,
        clients.credentials.cache_clear,
        clients._session.cache_clear,
    ]
    for clear in caches:
        clear()
    sentiment = catalog.endpoint("sentiment")
    versions = (replace(sentiment.versions[0], name="a"), *sentiment.versions[1:])
    endpoint = replace(sentiment, name="toy", versions=versions, async_inference=RULES)
    made = Side(None, endpoint, platform.objects)  # type: ignore[arg-type]
    made.port = SageMakerAsync(
        prefix="headrace-local",
        bucket="out",
        objects=Bucket(platform.objects),
        calls=BoundedCalls(),
        wall=lambda: made.now,
    )
    yield made
    for clear in caches:
        clear()


def asking(what: str, *, chars: int = 0) -> InferenceRequest:
    """A request that the toy model knows."""
    return InferenceRequest(
        inputs=(Tensor("text", "BYTES", (1,), data=["x" * chars]),), parameters={"do": what, "seconds": 30}
    )


async def test_nothing_is_found_before_something_is_sent(side: Side) -> None:
    """That is how a run knows that it has to send."""
    assert side.port.find(RUN) is None


async def test_what_is_sent_is_found(side: Side) -> None:
    """The output lies where the run says, and is read as the endpoint's answer."""
    await side.send(asking("infer"))
    found = await side.found()
    assert isinstance(found, InferenceResponse)
    assert found.outputs[0].data == [1, 2]
    assert f"s3://out/ok/{RUN.folder}/0.out" in side.objects
    assert not any("input" in key for key in side.objects)


async def test_a_large_request_goes_as_an_object(side: Side) -> None:
    """More than may go inline is written first, and is the whole request."""
    await side.send(asking("infer", chars=INLINE_MAX_BYTES))
    assert isinstance(await side.found(), InferenceResponse)
    assert len(side.objects[f"s3://out/{RUN.input_key}"]) > INLINE_MAX_BYTES


async def test_a_failure_is_read_as_what_it_is(side: Side) -> None:
    """The model's refusal of an input reaches the caller as one."""
    await side.send(asking("refuse"))
    found = await side.found()
    assert isinstance(found, InvalidRequest)
    assert found.code == "bad_input"


async def test_pending_says_how_long(side: Side) -> None:
    """Until the time in the queue, at work and on the way is over; then the run is told that nothing came."""
    await side.send(asking("sleep"))
    left_s = RULES.queue_s + RULES.timeout_s + LATE_S
    with pytest.raises(AnswerPending) as pending:
        side.port.find(RUN)
    assert pending.value.waits_s == left_s
    side.now += left_s
    with pytest.raises(AttemptTimedOut):
        side.port.find(RUN)


async def test_an_answer_that_is_too_large_is_none(side: Side) -> None:
    """It is not read into memory, whatever a model writes."""
    side.objects[f"s3://out/{RUN.output_key}"] = b"x" * 5_000_000
    with pytest.raises(InvalidAnswer):
        side.port.find(RUN)


async def test_a_binary_answer_is_read_without_its_content_type(side: Side) -> None:
    """The head is one JSON document, and the rest are the tensors that it announces."""
    head = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}'
    side.objects[f"s3://out/{RUN.output_key}"] = head + b"\x00\x00\x80?"
    found = await side.found()
    assert isinstance(found, InferenceResponse)
    assert found.outputs[0].raw == b"\x00\x00\x80?"


async def test_an_endpoint_that_is_not_there_takes_nothing(side: Side) -> None:
    """Nothing is written down as sent: the next run sends."""
    side.endpoint = replace(side.endpoint, name="other")
    with pytest.raises(TargetUnavailable):
        await side.send(asking("infer"))
    assert side.port.find(RUN) is None


async def test_a_request_sent_twice_answers_in_one_place(side: Side) -> None:
    """A run that died before it had written down what it sent is repeated by the next."""
    await side.send(asking("infer"))
    record = f"s3://out/{RUN.sent_key}"
    first = load_sent(side.objects.pop(record))
    side.objects.pop(f"s3://out/{RUN.output_key}", None)
    await asyncio.to_thread(partial(side.port.find, RUN))
    await side.send(asking("infer"))
    assert load_sent(side.objects[record]) == first
