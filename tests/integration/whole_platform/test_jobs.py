"""Requests accepted for later, through the real queue, function and store of the local platform."""

import hmac
import json
import os
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import pytest

from tests.integration.whole_platform.conftest import Answer, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(240)]

PRAISE = {"input": "I love this airline, the crew was fantastic!"}
LOOKS_MAX = 6
"""Of twenty seconds each: a retried job pauses for up to fifteen, and the machine may be busy."""
PATIENCE_S = 120.0
"""For a notice; it comes within a second or two, and some five later when it is tried again."""


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


@contextmanager
def receiver(*statuses: int) -> Iterator[tuple[str, Queue[tuple[dict[str, str], bytes]]]]:
    """Somebody who wants to be told: the address, and what arrives there. It answers these, then 200."""
    heard: Queue[tuple[dict[str, str], bytes]] = Queue()
    answers = [*statuses]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take the notice."""
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.put(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/told", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def webhook_secret(platform: Platform) -> bytes:
    """The demo tenant's, as its operator hands it out."""
    run = subprocess.run(
        [sys.executable, "-m", "headrace_aws.keys", "webhook-secret", "--tenant", "demo"],
        env={
            **os.environ,
            **platform.stack.environment(),
            "HEADRACE_KEYS_TABLE": "headrace-local-keys",
            "HEADRACE_PEPPER_SECRET": "headrace-local-pepper",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return b64decode(run.stdout.strip().removeprefix("whsec_"))


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
    accepted = accept(healthy, x_headrace_version="v1", cache_control="no-store")
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


def test_an_end_is_told_to_the_webhook_until_it_is_heard(healthy: Platform) -> None:
    """Over the queue and `notify` to a receiver that fails at first: the same notice twice, signed for its tenant."""
    with receiver(500) as (address, heard):
        accepted = accept(healthy, x_headrace_webhook=address)
        tries = [heard.get(timeout=PATIENCE_S) for _ in range(2)]
    assert len({headers["webhook-id"] for headers, _ in tries}) == 1
    assert len({body for _, body in tries}) == 1
    headers, body = tries[-1]
    notice = json.loads(body)
    assert notice["type"] == "job.done"
    assert notice["data"]["url"] == accepted.headers["location"]
    assert "label" not in notice["data"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.digest(webhook_secret(healthy), signed, "sha256")
    assert headers["webhook-signature"] == f"v1,{b64encode(digest).decode()}"


def test_a_job_that_waits_is_cancelled_and_its_end_told(healthy: Platform) -> None:
    """It goes back to the queue while its version is down; cancelled there, it is not run when that is back."""
    with receiver() as (address, heard):
        healthy.stack.fault(endpoint="sentiment", kind="unavailable")
        accepted = accept(healthy, x_headrace_version="v1", cache_control="no-store", x_headrace_webhook=address)
        while healthy.send("GET", accepted.headers["location"]).json().get("code") is None:
            time.sleep(0.2)  # the test's own timeout bounds this; a busy store may answer 503 meanwhile
        cancelled = healthy.send("POST", f"{accepted.headers['location']}/cancel")
        healthy.stack.fault(clear=True)
        assert (cancelled.status, cancelled.json()["state"]) == (200, "cancelled"), cancelled.body
        _, body = heard.get(timeout=PATIENCE_S)
    assert json.loads(body)["type"] == "job.cancelled"
    assert look(healthy, accepted)["state"] == "cancelled"


def test_jobs_are_listed_newest_first(healthy: Platform) -> None:
    """Page by page, and only as far back as was asked."""
    ids = [accept(healthy).json()["id"] for _ in range(3)]
    first = healthy.send("GET", "/v1/jobs?limit=2").json()
    assert [job["id"] for job in first["data"]] == [ids[2], ids[1]]
    second = healthy.send("GET", f"/v1/jobs?limit=1&after={first['last_id']}").json()
    assert [job["id"] for job in second["data"]] == [ids[0]]
