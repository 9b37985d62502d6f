"""Requests accepted for later, through the real queue, function and store of the local platform."""

import json
import time
from typing import Any

import pytest

from tests.integration.whole_platform.conftest import Answer, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(240)]

PRAISE = {"input": "I love this airline, the crew was fantastic!"}
LOOKS_MAX = 6
"""Of twenty seconds each: a retried job pauses for up to fifteen, and the machine may be busy."""


def accept(platform: Platform, **headers: str) -> Answer:
    """A request whose caller rather has the answer later."""
    answer = platform.send("POST", "/v1/classifications", PRAISE, prefer="respond-async", **headers)
    assert answer.status == 202, answer.body
    return answer


def look(platform: Platform, accepted: Answer) -> dict[str, Any]:
    """The job, once it is over."""
    document: dict[str, Any] = {}
    for _ in range(LOOKS_MAX):
        answer = platform.send("GET", accepted.headers["location"], prefer="wait=20")
        assert answer.status == 200, answer.body
        document = answer.json()
        if document["state"] not in {"queued", "running"}:
            break
    return document


def test_a_job_is_answered_by_the_real_model(healthy: Platform) -> None:
    """From 202 over SQS and `job_run` to the route's own answer, with what served it."""
    job = look(healthy, accept(healthy))
    assert job["state"] == "done"
    assert job["result"]["status"] == 200
    assert job["result"]["body"]["results"][0]["label"] == "positive"
    assert job["result"]["headers"]["x-headrace-served-by"].startswith("sentiment/")


def test_a_job_outlives_an_outage(healthy: Platform) -> None:
    """While the only version that it may have is down it goes back to the queue, and is done when that is back."""
    healthy.stack.fault(endpoint="sentiment", kind="unavailable")
    accepted = accept(healthy, x_headrace_version="v1")
    while healthy.send("GET", accepted.headers["location"]).json().get("code") is None:
        time.sleep(0.2)  # the test's own timeout bounds this; a busy store may answer 503 meanwhile
    healthy.stack.fault(clear=True)
    job = look(healthy, accepted)
    assert job["state"] == "done"
    assert job["result"]["headers"]["x-headrace-served-by"] == "sentiment/v1"


def test_a_message_delivered_again_changes_nothing(healthy: Platform) -> None:
    """The queue may repeat itself: the object of the result keeps its version, and the message is done with."""
    accepted = accept(healthy)
    job = look(healthy, accepted)
    objects, queues = healthy.client("s3"), healthy.client("sqs")
    key = f"tenants/demo/jobs/{job['id']}.json"
    before = objects.head_object(Bucket="headrace-local-jobs", Key=key)
    record: dict[str, Any] = {
        "messageId": "1",
        "receiptHandle": "none",
        "body": json.dumps({"tenant": "demo", "job": job["id"]}),
    }
    record |= {"eventSource": "aws:sqs", "attributes": {}, "messageAttributes": {}}
    again = healthy.client("lambda").invoke(
        FunctionName="headrace-local-job_run", Payload=json.dumps({"Records": [record]}).encode()
    )
    assert json.loads(again["Payload"].read()) == {"batchItemFailures": []}
    after = objects.head_object(Bucket="headrace-local-jobs", Key=key)
    assert after["LastModified"] == before["LastModified"]
    assert look(healthy, accepted) == job
    url = queues.get_queue_url(QueueName="headrace-local-jobs-dead")["QueueUrl"]
    assert "Messages" not in queues.receive_message(QueueUrl=url)


def test_a_wrong_id_is_not_found(platform: Platform) -> None:
    """Neither an id that nobody has nor something that is none reveals anything."""
    for wrong in (f"job_{'A' * 22}", "x", "job_", "..%2f"):
        answer = platform.send("GET", f"/v1/jobs/{wrong}")
        assert answer.status == 404, wrong
