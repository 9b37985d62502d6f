"""Jobs of an endpoint with asynchronous inference, over the whole local platform with a toy model."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from headrace.jobs.states import OVER
from infra_local.threaded import ThreadedStack
from tests.integration.local.test_stack import Answer, send
from tests.integration.local.toy_endpoint import write_toy_endpoint

pytestmark = [pytest.mark.local_stack, pytest.mark.timeout(240)]
DECLARED = """\
async_inference: {max_instances: 2, concurrent_requests_per_instance: 2, timeout_s: 60, queue_s: 600}
limits: {max_items: 300}
"""
BUCKET = "headrace-local-jobs"
ROWS_THAT_THE_MODEL_REFUSES = 257
CHARS_TOO_MANY_TO_BE_INLINE = 130_000
LOOK_PAUSE_S = 0.2
DOUBLED = [2.25, 4.25, 6.25]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedStack]:
    """The platform with one toy endpoint, whose jobs have an endpoint of their own."""
    folder = tmp_path_factory.mktemp("async")
    endpoints, artifacts = write_toy_endpoint(folder)
    with (endpoints / "toy" / "endpoint.yaml").open("a") as file:
        file.write(DECLARED)
    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=folder / ".headrace") as running:
        yield running


@pytest.fixture
def clear(stack: ThreadedStack) -> Iterator[None]:
    """Leaves no fault behind."""
    yield
    stack.fault(clear=True)


def accept(stack: ThreadedStack, rows: int = 1, path: str = "/v2/models/toy/infer", padding: int = 0) -> str:
    """The path of a job for so many rows, and for so many characters that mean nothing."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "data": [1.125, 2.125, 3.125] * rows}
    body = {"inputs": [tensor], "parameters": {"note": "x" * padding}}
    answer = send(stack.url, "POST", path, key=stack.api_key, body=body, headers={"prefer": "respond-async"})
    assert answer.status == 202, answer.body
    return answer.headers["location"]


def end(stack: ThreadedStack, job: str) -> dict[str, Any]:
    """The job once it is over; the test's own timeout bounds this."""
    while True:
        document: dict[str, Any] = json.loads(send(stack.url, "GET", job, key=stack.api_key).body)
        if document["state"] in OVER:
            return document
        time.sleep(LOOK_PAUSE_S)


def keys(stack: ThreadedStack, prefix: str) -> list[str]:
    """The keys of the jobs bucket below a prefix."""
    environment = stack.environment()
    objects = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    return [found["Key"] for found in objects.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def served(document: dict[str, Any]) -> tuple[int, str, list[float]]:
    """Status, what served, and the first row of the output."""
    result = document["result"]
    assert "x-headrace-served-by" in result["headers"], result["body"]
    return result["status"], result["headers"]["x-headrace-served-by"], result["body"]["outputs"][0]["data"][:3]


@pytest.mark.usefixtures("clear")
def test_a_job_is_answered_by_the_asynchronous_endpoint(stack: ThreadedStack) -> None:
    """It is sent once, its output lies where its id says, and its caller gets the route's own answer."""
    job = accept(stack)
    document = end(stack, job)
    assert document["state"] == "done"
    assert served(document) == (200, "toy/v1", DOUBLED)
    job_id = job.rpartition("/")[2]
    assert keys(stack, "async/output/") == [f"async/output/demo/{job_id}/0.out"]
    assert keys(stack, f"async/sent/demo/{job_id}/") == [f"async/sent/demo/{job_id}/0.json"]
    assert keys(stack, "async/input/") == []


@pytest.mark.usefixtures("clear")
def test_a_large_input_goes_as_an_object(stack: ThreadedStack) -> None:
    """What is too large to be inline is written to the bucket, and the answer is whole."""
    job = accept(stack, rows=2, padding=CHARS_TOO_MANY_TO_BE_INLINE)
    document = end(stack, job)
    assert served(document) == (200, "toy/v1", DOUBLED)
    assert len(document["result"]["body"]["outputs"][0]["data"]) == 6
    assert keys(stack, f"async/input/demo/{job.rpartition('/')[2]}/")


@pytest.mark.usefixtures("clear")
def test_a_request_waits_in_the_endpoints_queue_until_there_is_capacity(stack: ThreadedStack) -> None:
    """With no instance to ask the job is running, costs no attempts, and is done once there is one: no stand-in."""
    stack.fault(endpoint="toy", kind="unavailable")
    job = accept(stack)
    while not keys(stack, f"async/sent/demo/{job.rpartition('/')[2]}/"):
        time.sleep(LOOK_PAUSE_S)
    waiting = json.loads(send(stack.url, "GET", job, key=stack.api_key).body)
    assert waiting["state"] in {"queued", "running"}
    assert waiting["code"] is None
    stack.fault(clear=True)
    assert served(end(stack, job)) == (200, "toy/v1", DOUBLED)


@pytest.mark.usefixtures("clear")
def test_a_failure_is_an_attempt_that_is_made_again(stack: ThreadedStack) -> None:
    """A failure object sends the job back to its queue; the second round has its own output."""
    stack.fault(endpoint="toy", kind="5xx", count=1)
    job = accept(stack)
    document = end(stack, job)
    assert served(document) == (200, "toy/v1", DOUBLED)
    job_id = job.rpartition("/")[2]
    assert keys(stack, f"async/output/demo/{job_id}/") == [f"async/output/demo/{job_id}/1.out"]


@pytest.mark.usefixtures("clear")
def test_what_the_model_refuses_is_the_answer(stack: ThreadedStack) -> None:
    """A failure object that says that the request is wrong ends the job with that, and nothing is tried again."""
    document = end(stack, accept(stack, rows=ROWS_THAT_THE_MODEL_REFUSES))
    assert document["state"] == "done"
    assert (document["result"]["status"], document["result"]["body"]["code"]) == (400, "too_many_rows")


@pytest.mark.usefixtures("clear")
def test_a_job_that_pins_another_version_is_served_as_its_caller_would_have_been(stack: ThreadedStack) -> None:
    """The asynchronous endpoint hosts one version; what only another may serve goes to the other endpoint."""
    job = accept(stack, path="/v2/models/toy/versions/v2/infer")
    document = end(stack, job)
    assert served(document) == (200, "toy/v2", [4.5, 8.5, 12.5])
    assert not keys(stack, f"async/sent/demo/{job.rpartition('/')[2]}/")


@pytest.mark.usefixtures("clear")
def test_who_waits_is_answered_at_once(stack: ThreadedStack) -> None:
    """Without a preference nothing is sent on, whatever a caller writes."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    answer: Answer = send(stack.url, "POST", "/v2/models/toy/infer", key=stack.api_key, body={"inputs": [tensor]})
    assert (answer.status, answer.served_by) == (200, "toy/v1")
