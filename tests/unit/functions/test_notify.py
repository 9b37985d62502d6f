"""The function that tells webhooks: what it leaves in its queue, what it sends, and what it never logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.notices import TRIES_MAX, secret_of, show_secret

ROOT = Path(__file__).parents[3]
EVENTS = ROOT / "events" / "notify"
ENVIRONMENT = {
    "HEADRACE_STAGE": "test",
    "HEADRACE_STATE_TABLE": "state",
    "HEADRACE_NOTICES_QUEUE": "https://sqs.eu-west-1.amazonaws.com/123456789012/notices",
    "HEADRACE_PEPPER_SECRET": "pepper",
    "HEADRACE_KEYS_TABLE": "keys",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "POWERTOOLS_SERVICE_NAME": "notify",
}
PEPPER = "p" * 44
PROGRAM = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from moto import mock_aws

class Context:
    function_name = aws_request_id = invoked_function_arn = "x"
    memory_limit_in_mb = 1

class Receiver(BaseHTTPRequestHandler):
    heard, status = [], 200
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.heard.append({"path": self.path, "headers": dict(self.headers), "body": body})
        self.send_response(self.status)
        self.end_headers()
    def log_message(self, *_):
        pass

with mock_aws():
    from headrace_aws.clients import client
    client("dynamodb", read_timeout_s=2.0).create_table(
        TableName="state",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST")
    client("secretsmanager", read_timeout_s=2.0).create_secret(Name="pepper", SecretString="p" * 44)
    sqs = client("sqs", read_timeout_s=2.0)
    sqs.create_queue(QueueName="notices")
    from functions.notify import handler as notify
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    hook = f"http://127.0.0.1:{server.server_port}/secret-path"
"""
END_TO_END = f"""{PROGRAM}
    from dataclasses import replace
    from headrace.jobs.states import Job
    from headrace_aws.jobs_table import JobsTable
    job = Job("acme", "job_" + "B" * 22, 1.0, state="done", status=200, ended_at=2.0, webhook=hook)
    JobsTable(notify.table).create(job)
    found = []
    for status, tries in ((500, 1), (200, 2), (410, 3), (500, {TRIES_MAX})):
        Receiver.status = status
        notify.queue.send("acme", "job", job.job_id)
        (message,) = sqs.receive_message(QueueUrl=notify.settings.notices_queue)["Messages"]
        record = {{"messageId": "1", "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
                   "attributes": {{"ApproximateReceiveCount": str(tries)}}, "eventSource": "aws:sqs"}}
        answer = notify.handler({{"Records": [record]}}, Context())
        found.append(len(answer["batchItemFailures"]))
        sqs.delete_message(QueueUrl=notify.settings.notices_queue, ReceiptHandle=message["ReceiptHandle"])
    print(json.dumps({{"left": found, "heard": Receiver.heard}}))
"""
RECORDED = f"""{PROGRAM}
    event = json.loads(sys.argv[1])
    answer = notify.handler(event, Context())
    print(json.dumps([item["itemIdentifier"] for item in answer["batchItemFailures"]]))
"""
SECRET = """
from moto import mock_aws
with mock_aws():
    from headrace_aws import keys
    from headrace_aws.clients import client
    client("secretsmanager", read_timeout_s=2.0).create_secret(Name="pepper", SecretString="p" * 44)
    statuses = [keys.main(["webhook-secret", "--tenant", tenant]) for tenant in ("acme", "A#")]
    raise SystemExit(0 if statuses == [0, 1] else 2)
"""


def run(program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, as a cold start is one."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def answer(run: subprocess.CompletedProcess[str]) -> Any:
    """The last line that the program wrote; the function's log lines come before it."""
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_ends_are_told_and_failures_left_in_the_queue() -> None:
    """A receiver's 500 leaves the message, 200 and 410 do not; each try has the same id, and no log names the place."""
    found = run(END_TO_END, HEADRACE_WEBHOOKS_LOOPBACK="1")
    told = answer(found)
    assert told["left"] == [1, 0, 0, 1]
    heard = told["heard"]
    assert len(heard) == 4
    assert {each["headers"]["webhook-id"] for each in heard} == {f"job_{'B' * 22}-done"}
    assert {each["path"] for each in heard} == {"/secret-path"}
    assert json.loads(heard[0]["body"])["type"] == "job.done"
    logs = "\n".join((found.stdout + found.stderr).splitlines()[:-1])
    assert f"job_{'B' * 22}" in logs
    assert "secret-path" not in logs
    assert "status_500" in logs


def test_without_the_laptops_setting_this_machine_is_not_told() -> None:
    """A record that names a place on this machine, however it came there, is not asked."""
    told = answer(run(END_TO_END))
    assert told == {"left": [0, 0, 0, 0], "heard": []}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("unknown-job", []),
        ("unknown-batch", []),
        ("not-ours", ["059f36b4-87a3-44ab-83d2-661970000103"]),
        ("mixed-batch", ["059f36b4-87a3-44ab-83d2-661970000105"]),
    ],
)
def test_of_a_batch_only_what_must_come_again_is_named(name: str, left: list[str]) -> None:
    """A record that is gone is no reason to come again; a message that is none of ours ends in the dead letters."""
    assert answer(run(RECORDED, (EVENTS / f"{name}.json").read_text(encoding="utf-8"))) == left


def test_the_operator_can_print_a_tenants_secret() -> None:
    """The command prints what `notify` signs with; a name that can be no tenant's is refused."""
    found = run(SECRET)
    assert found.stdout == f"{show_secret(secret_of(PEPPER.encode(), 'acme'))}\n"
    assert found.returncode == 0
    assert "no tenant" in found.stderr
