"""Batches through the real platform: uploads, state machine, functions and models; each record ends exactly once."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests

from tests.integration.whole_platform.conftest import ROOT, TIMEOUT_S, Answer, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(240)]

OVER = {"completed", "failed", "cancelled", "expired"}
INPUTS, BATCHES = "headrace-local-inputs", "headrace-local-batches"
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:headrace-local-batch"
URL = "/v1/classifications"
PRAISE, COMPLAINT = "I love this airline, the crew was fantastic!", "Worst flight ever, my bag is lost again."
LOOK_PAUSE_S = 0.2


def text_of(number: int) -> str:
    """A record's text, each another one."""
    return f"{PRAISE if number % 2 else COMPLAINT} Flight {number}."


def requests_of(count: int) -> bytes:
    """A file of OpenAI's shape."""
    rows = ({"custom_id": f"r{n}", "method": "POST", "url": URL, "body": {"input": text_of(n)}} for n in range(count))
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def ask(platform: Platform, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> Answer:
    """An answer of the API; a busy store may answer 503 meanwhile, and everything asked for here may be asked again."""
    while (answer := platform.send(method, path, body, **headers)).status == 503:
        time.sleep(LOOK_PAUSE_S)  # the test's own timeout bounds this
    return answer


def upload(platform: Platform, filename: str, body: bytes) -> str:
    """A file's id, after its bytes went straight to S3."""
    asked = {"filename": filename, "bytes": len(body), "purpose": "batch"}
    invited = ask(platform, "POST", "/v1/files", asked)
    assert invited.status in {200, 201}, invited.body
    form = invited.json()["headrace"]["upload"]
    sent = requests.post(form["url"], data=form["fields"], files={"file": (filename, body)}, timeout=TIMEOUT_S)
    assert sent.status_code == 204, sent.text
    file_id: str = invited.json()["id"]
    return file_id


def submit(platform: Platform, file_id: str, **said: Any) -> str:
    """The id of a new batch over a file."""
    order = {"input_file_id": file_id, "endpoint": URL, "completion_window": "24h", **said}
    begun = ask(platform, "POST", "/v1/batches", order, idempotency_key=str(uuid.uuid4()))
    assert begun.status in {200, 201, 202}, begun.body
    batch_id: str = begun.json()["id"]
    return batch_id


def look(platform: Platform, batch_id: str) -> dict[str, Any]:
    """The batch as it is now."""
    answer = ask(platform, "GET", f"/v1/batches/{batch_id}")
    assert answer.status == 200, answer.body
    return dict(answer.json())


def wait_for(platform: Platform, batch_id: str, states: set[str] = OVER) -> dict[str, Any]:
    """The batch, once it is in one of these states; the test's own timeout bounds this."""
    while (batch := look(platform, batch_id))["status"] not in states:
        time.sleep(LOOK_PAUSE_S)
    return batch


def lines_of(platform: Platform, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a file that a batch wrote; no file has none."""
    if file_id is None:
        return []
    answer = ask(platform, "GET", f"/v1/files/{file_id}/content")
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def report_of(platform: Platform, batch_id: str) -> dict[str, Any]:
    """The batch's report, which must add up whatever happened."""
    found = platform.client("s3").get_object(Bucket=BATCHES, Key=f"tenants/demo/batches/{batch_id}/report.json")
    report: dict[str, Any] = json.loads(found["Body"].read())
    assert report["adds_up"]
    assert report["records"] == report["results"] + report["errors"] + report["not_processed"]
    return report


def check_once(platform: Platform, batch: dict[str, Any], ids: set[str]) -> list[dict[str, Any]]:
    """The results, after each record was found exactly once, here or among the errors."""
    results, errors = (lines_of(platform, batch[f"{kind}_file_id"]) for kind in ("output", "error"))
    assert Counter(line["custom_id"] for line in results + errors) == Counter(ids)
    assert batch["request_counts"] == {"total": len(ids), "completed": len(results), "failed": len(errors)}
    return results


def executions(platform: Platform, batch_id: str) -> list[str]:
    """The names of a batch's executions."""
    found = platform.client("stepfunctions").list_executions(stateMachineArn=MACHINE)["executions"]
    return [each["name"] for each in found if each["name"].startswith(batch_id)]


@contextmanager
def scorers_killed(platform: Platform, *, pause_s: float) -> Iterator[list[int]]:
    """As long as the block runs, every scorer's process that is found is killed; which ones were."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(pause_s):
            for pid in platform.stack.process_ids().get("lambda-headrace-local-batch_score", []):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def drops(platform: Platform) -> str:
    """The folder in which files of the demo tenant start batches; an operator allowed it."""
    environment = {
        **os.environ,
        **platform.stack.environment(),
        "PYTHONPATH": str(ROOT / "layers" / "core" / "python"),
        "HEADRACE_KEYS_TABLE": "headrace-local-keys",
        "HEADRACE_PEPPER_SECRET": "headrace-local-pepper",
        "HEADRACE_STAGE": "local",
    }
    command = (sys.executable, "-m", "headrace_aws.keys", "allow-drops", "--tenant", "demo", "--plan", "standard")
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return "tenants/demo/incoming/sentiment/"


def test_a_file_of_requests_is_answered_as_online(healthy: Platform) -> None:
    """From a presigned upload to results of OpenAI's shape, in the file's order, that agree with the online route."""
    count = 60
    batch_id = submit(healthy, upload(healthy, "tweets.jsonl", requests_of(count)), metadata={"why": "test"})
    batch = wait_for(healthy, batch_id)
    assert (batch["status"], batch["metadata"]) == ("completed", {"why": "test"})
    results = check_once(healthy, batch, {f"r{n}" for n in range(count)})
    assert [line["custom_id"] for line in results] == [f"r{n}" for n in range(count)]
    for n in (0, 1, count - 1):
        online = healthy.send("POST", URL, {"input": text_of(n)}, cache_control="no-store").json()
        offline = results[n]["response"]
        assert offline["status_code"] == 200
        (told,), (asked) = offline["body"]["results"], online["results"][0]
        assert told["label"] == asked["label"]
        assert told["scores"] == pytest.approx(asked["scores"], abs=1e-4)
    report = report_of(healthy, batch_id)
    assert (report["method"]["used"], report["not_processed"]) == ("map", 0)
    assert ask(healthy, "GET", "/v1/batches").json()["data"][0]["id"] == batch_id


def test_a_dropped_file_is_one_batch_however_often_it_is_told_of(healthy: Platform, drops: str) -> None:
    """A CSV put under the incoming prefix starts by itself; the event again, twice at once, changes nothing."""
    store, functions = healthy.client("s3"), healthy.client("lambda")
    rows = "".join(f'd{n},"{text_of(n)}\nsecond line"\r\n' for n in range(40))
    body = b"\xef\xbb\xbf" + f"id,text\r\n{rows}".encode()
    put = store.put_object(Bucket=INPUTS, Key=f"{drops}day.csv", Body=body, Metadata={"headrace-version": "v1"})
    event = json.loads((ROOT / "events" / "batch_start" / "csv.json").read_bytes())
    event["detail"]["object"] |= {"key": f"{drops}day.csv", "version-id": put["VersionId"], "size": len(body)}
    told: list[dict[str, Any]] = []

    def again() -> None:
        answer = functions.invoke(FunctionName="headrace-local-batch_start", Payload=json.dumps(event).encode())
        told.append(json.loads(answer["Payload"].read()))

    threads = [threading.Thread(target=again) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (batch_id,) = {answer["batch_id"] for answer in told}
    batch = wait_for(healthy, batch_id)
    again()
    assert told[-1] == {"tenant": "demo", "batch_id": batch_id, "state": "completed"}
    results = check_once(healthy, batch, {f"d{n}" for n in range(40)})
    assert {line["served_by"] for line in results} == {"sentiment/v1"}
    assert executions(healthy, batch_id) == [batch_id]


def test_what_is_dropped_in_the_wrong_way_leaves_a_record_that_says_so(healthy: Platform, drops: str) -> None:
    """An unknown endpoint and an unknown metadata name become failed batches; their tenant finds them in its list."""
    store = healthy.client("s3")
    store.put_object(Bucket=INPUTS, Key=f"{drops}odd.csv", Body=b"text\nx\n", Metadata={"headrace-verison": "v1"})
    store.put_object(Bucket=INPUTS, Key="tenants/demo/incoming/nobody/a.csv", Body=b"text\nx\n")
    codes: set[str] = set()
    while not codes >= {"invalid_metadata", "model_not_found"}:  # the test's own timeout bounds this
        listed = ask(healthy, "GET", "/v1/batches").json()["data"]
        codes = {row["code"] for batch in listed for row in (batch["errors"] or {"data": []})["data"]}
        time.sleep(LOOK_PAUSE_S)


def test_every_kind_of_broken_record_has_its_line_and_its_reason(healthy: Platform) -> None:
    """A bad record fails alone: what is right around it is answered, and every line of the file is accounted for."""

    def row(custom_id: Any = "x", **changed: Any) -> bytes:
        said = {"custom_id": custom_id, "method": "POST", "url": URL, "body": {"input": PRAISE}, **changed}
        return json.dumps({name: value for name, value in said.items() if value is not None}).encode()

    good = [row(f"good{n}") for n in range(3)]
    rows = [
        good[0],
        b'{"custom_id": "broken", "body": {"input": ',
        b'{"custom_id": "\xff\xfe", "body": {"input": "x"}}',
        b"[1, 2]",
        b"",
        good[1],
        row("good0"),
        row(None),
        row("method", method="GET"),
        row("url", url="/v1/detections"),
        row("model", body={"input": PRAISE, "model": "detection"}),
        row("type", body={"input": 7}),
        row("none", body={"input": []}),
        row("long", body={"input": "x" * 6_000}),
        row("many", body={"input": ["x"] * 40}),
        row("huge", body={"input": "x" * 5_000_000}),
        good[2],
    ]
    body = b"\xef\xbb\xbf" + b"\r\n".join(rows)  # with a BOM, CRLF, and no newline at the end
    batch = wait_for(healthy, batch_id := submit(healthy, upload(healthy, "mixed.jsonl", body)))
    assert batch["status"] == "completed"
    results, errors = (lines_of(healthy, batch[f"{kind}_file_id"]) for kind in ("output", "error"))
    assert [line["custom_id"] for line in results] == ["good0", "good1", "good2"]
    assert len(errors) == len(rows) - 1 - len(good)
    assert all(line["error"]["code"] and line["error"]["message"] for line in errors)
    told = [line["line"] for line in errors]
    assert told == [2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    report = report_of(healthy, batch_id)
    assert (report["blank_lines"], report["duplicates"], report["records"]) == (1, 1, len(rows) - 1)


@pytest.mark.parametrize(
    ("filename", "body", "code"),
    [
        ("twice.csv", b"text,text\na,b\n", "csv_repeated_column"),
        ("none.csv", b"id,words\n1,a\n", "csv_missing_column"),
        ("bomb.jsonl.gz", gzip.compress(b'{"input": "' + b"a" * (64 << 20) + b'"}\n'), "gzip_bomb"),
        ("no.parquet", b"PAR1 but not really", None),
    ],
)
def test_a_file_that_cannot_be_used_says_why(healthy: Platform, filename: str, body: bytes, code: str | None) -> None:
    """The batch fails as a whole, with a problem, and without a shard."""
    batch_id = submit(healthy, upload(healthy, filename, body))
    batch = wait_for(healthy, batch_id)
    assert batch["status"] == "failed"
    problems = [row["code"] for row in batch["errors"]["data"]]
    assert problems
    assert code in {None, *problems}
    assert batch["headrace"]["redrivable"] is False
    assert ask(healthy, "POST", f"/v1/batches/{batch_id}/redrive").status == 400


def test_a_failing_endpoint_still_gives_each_record_once(healthy: Platform) -> None:
    """While every fifth request fails, each record ends once, and the model's own answers are the rule."""
    healthy.stack.fault(endpoint="sentiment", kind="5xx", rate=0.2)
    count = 300
    batch = wait_for(healthy, batch_id := submit(healthy, upload(healthy, "faults.jsonl", requests_of(count))))
    assert batch["status"] == "completed"
    results = check_once(healthy, batch, {f"r{n}" for n in range(count)})
    assert len(results) == count
    report_of(healthy, batch_id)


def test_killed_scorers_lose_and_repeat_nothing(healthy: Platform) -> None:
    """SIGKILL strikes scorers at work: each shard goes on where its parts end."""
    healthy.stack.fault(endpoint="sentiment", kind="latency", latency_ms=300)
    count = 200
    batch_id = submit(healthy, upload(healthy, "killed.jsonl", requests_of(count)), degraded=False)
    wait_for(healthy, batch_id, {"in_progress", *OVER})
    with scorers_killed(healthy, pause_s=1.5) as killed:
        while len(killed) < 2:  # the test's own timeout bounds this
            time.sleep(LOOK_PAUSE_S)
    healthy.stack.fault(clear=True)
    batch = wait_for(healthy, batch_id)
    assert batch["status"] == "completed"
    check_once(healthy, batch, {f"r{n}" for n in range(count)})


def test_a_shard_that_failed_for_good_is_finished_by_a_redrive(healthy: Platform) -> None:
    """While no scorer lives the batch fails and says what is missing; a redrive does that, and reads nothing twice."""
    count = 50
    file_id = upload(healthy, "redriven.jsonl.gz", gzip.compress(requests_of(count)))
    with scorers_killed(healthy, pause_s=0.05):
        batch_id = submit(healthy, file_id)
        batch = wait_for(healthy, batch_id)
    assert batch["status"] == "failed"
    assert [row["code"] for row in batch["errors"]["data"]] == ["shards_unfinished"]
    assert report_of(healthy, batch_id)["not_processed"] == count
    assert ask(healthy, "POST", f"/v1/batches/{batch_id}/redrive").status in {200, 202}
    batch = wait_for(healthy, batch_id)
    assert (batch["status"], batch["headrace"]["redrives"]) == ("completed", 1)
    check_once(healthy, batch, {f"r{n}" for n in range(count)})
    assert sorted(executions(healthy, batch_id)) == [batch_id, f"{batch_id}-r1"]


def test_a_cancelled_batch_keeps_what_is_finished(healthy: Platform) -> None:
    """It ends soon, and its report accounts for what was not done any more."""
    healthy.stack.fault(endpoint="sentiment", kind="latency", latency_ms=2000)
    count = 400
    batch_id = submit(healthy, upload(healthy, "cancelled.jsonl", requests_of(count)), degraded=False)
    wait_for(healthy, batch_id, {"in_progress", *OVER})
    assert ask(healthy, "POST", f"/v1/batches/{batch_id}/cancel").json()["status"] in {"cancelling", "cancelled"}
    batch = wait_for(healthy, batch_id)
    assert batch["status"] == "cancelled"
    report = report_of(healthy, batch_id)
    results, errors = (lines_of(healthy, batch[f"{kind}_file_id"]) for kind in ("output", "error"))
    assert report["not_processed"] == count - len(results) - len(errors) > 0
    assert ask(healthy, "POST", f"/v1/batches/{batch_id}/cancel").status in {200, 400}


def test_a_batch_whose_execution_was_aborted_is_ended_by_another(healthy: Platform) -> None:
    """As a look starts it, hours later: what was finished is kept. An end of another run does nothing."""
    healthy.stack.fault(endpoint="sentiment", kind="latency", latency_ms=2000)
    count = 200
    batch_id = submit(healthy, upload(healthy, "aborted.jsonl", requests_of(count)), degraded=False)
    wait_for(healthy, batch_id, {"in_progress", *OVER})
    machine = healthy.client("stepfunctions")
    machine.stop_execution(executionArn=f"{MACHINE.replace(':stateMachine:', ':execution:')}:{batch_id}")
    ask(healthy, "POST", f"/v1/batches/{batch_id}/cancel")
    asked = json.dumps({"tenant": "demo", "batch_id": batch_id})
    for name in (f"{batch_id}-r1-end1", f"{batch_id}-end1"):
        assert look(healthy, batch_id)["status"] == "cancelling"
        arn = machine.start_execution(stateMachineArn=MACHINE, name=name, input=asked)["executionArn"]
        while machine.describe_execution(executionArn=arn)["status"] == "RUNNING":
            time.sleep(LOOK_PAUSE_S)
    batch = look(healthy, batch_id)
    assert batch["status"] == "cancelled"
    counts = batch["request_counts"]
    assert report_of(healthy, batch_id)["not_processed"] == count - counts["completed"] - counts["failed"] > 0


def test_a_transform_job_answers_as_the_map_does(healthy: Platform) -> None:
    """Instances of its own get the same records in the same order; the report says what was used."""
    body = requests_of(70) + b"{broken\n"
    file_id = upload(healthy, "transform.jsonl", body)
    batches = [submit(healthy, file_id, method=method) for method in ("transform", "map")]
    transformed, mapped = (wait_for(healthy, batch_id) for batch_id in batches)
    assert transformed["status"] == mapped["status"] == "completed"
    assert [report_of(healthy, batch_id)["method"]["used"] for batch_id in batches] == ["transform", "map"]

    def told(batch: dict[str, Any]) -> list[tuple[str, str]]:
        results = lines_of(healthy, batch["output_file_id"])
        return [(line["custom_id"], line["response"]["body"]["results"][0]["label"]) for line in results]

    assert told(transformed) == told(mapped)
    assert len(told(mapped)) == 70
    assert [line["line"] for line in lines_of(healthy, transformed["error_file_id"])] == [71]


def test_a_transform_job_that_fails_leaves_its_work_to_the_map(healthy: Platform) -> None:
    """The state machine falls back by itself."""
    healthy.stack.fault(endpoint="sentiment", kind="5xx", count=8)
    batch_id = submit(healthy, upload(healthy, "fallback.jsonl", requests_of(30)), method="transform")
    batch = wait_for(healthy, batch_id)
    assert batch["status"] == "completed"
    check_once(healthy, batch, {f"r{n}" for n in range(30)})
    assert report_of(healthy, batch_id)["method"]["used"] == "map"
