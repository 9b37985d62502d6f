"""What batches need of moto beyond the rest, through unmodified boto3: their machine, transform jobs, and uploads.

The machine is the very file that AWS gets, walked here along each of its paths.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from headrace.batches.states import Batch, Options, Source
from headrace_aws import clients
from headrace_aws.transform_jobs import TransformJobsOfBatches
from infra_local.machines import BATCH_MACHINE, batch_definition
from tests.contract.conftest import PatientCalls
from tests.contract.lambda_stand_in import StandIns, Throttled, client, mended_moto

ROLE = "arn:aws:iam::123456789012:role/any"
PLACES = {
    "PlanFunction": "plan",
    "ScoreFunction": "score",
    "FinishFunction": "finish",
    "BatchesBucket": "batches",
    "EventBus": "default",
    "ShardsAtOnce": "2",
}
SHARDS = [{"shard": n, "start": n * 10, "end": n * 10 + 10, "line": n + 1, "records": 1} for n in range(3)]
DONE = {"state": "done", "wait_s": 0, "at": 10}


class Broken(Exception):
    """What a function fails with."""


@pytest.fixture(scope="module")
def stand_ins() -> Iterator[StandIns]:
    """The functions and the model."""
    made = StandIns()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def moto(stand_ins: StandIns, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The mended moto, with the machine, its bucket, and a queue that is told of every batch's end."""
    with mended_moto(stand_ins, tmp_path_factory.mktemp("moto")) as url:
        client("s3", url).create_bucket(Bucket="batches")
        client("s3", url).put_object(Bucket="batches", Key="shards.json", Body=json.dumps(SHARDS).encode())
        quick = re.sub(r'"MaxDelaySeconds": \d+', '"MaxDelaySeconds": 1', batch_definition(PLACES))
        client("stepfunctions", url).create_state_machine(name="batch", definition=quick, roleArn=ROLE)
        queue = client("sqs", url).create_queue(QueueName="told")["QueueUrl"]
        events = client("events", url)
        events.put_rule(Name="over", EventPattern=json.dumps({"source": ["headrace"]}))
        arn = "arn:aws:sqs:us-east-1:123456789012:" + queue.rpartition("/")[2]
        events.put_targets(Rule="over", Targets=[{"Id": "1", "Arn": arn}])
        container = {"Image": "i", "ModelDataUrl": "s3://b/k"}
        control = client("sagemaker", url)
        for model in ("served", "idle"):
            control.create_model(ModelName=model, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "v1", "ModelName": "served", "InstanceType": "ml.g5.xlarge"}
        control.create_endpoint_config(
            EndpointConfigName="c", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        control.create_endpoint(EndpointName="e", EndpointConfigName="c")
        yield url


@pytest.fixture
def account(moto: str, stand_ins: StandIns) -> str:
    """The same, with functions that all succeed and nothing asked of them yet."""
    stand_ins.asked.clear()
    stand_ins.model = lambda _endpoint, _variant, body: (200, body)
    stand_ins.functions = {
        "plan": lambda _: {"method": "map", "shards_key": "shards.json", "shards": len(SHARDS), "transform": None},
        "score": lambda _: DONE,
        "finish": lambda event: {"incomplete": False, "event": {"batch_id": event["batch_id"], "state": "completed"}},
    }
    return moto


def run(url: str, batch: str = "batch_a") -> dict[str, Any]:
    """One execution, once it is over; `passed` names its states in their order."""
    machines = client("stepfunctions", url)
    arn = "arn:aws:states:us-east-1:123456789012:stateMachine:batch"
    given = json.dumps({"tenant": "acme", "batch_id": batch})
    execution = machines.start_execution(stateMachineArn=arn, name=str(uuid.uuid4()), input=given)["executionArn"]
    while (found := machines.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(0.05)  # the test's own timeout bounds this
    events = machines.get_execution_history(executionArn=execution)["events"]
    found["passed"] = [e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e]
    return dict(found)


def told(url: str) -> Any:
    """The detail of the next event of the batches'."""
    sqs = client("sqs", url)
    queue = sqs.get_queue_url(QueueName="told")["QueueUrl"]
    (message,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    event = json.loads(message["Body"])
    assert event["detail-type"] == "Batch Finished"
    return event["detail"]


def transform(name: str, *, model: str = "served", source: str = "in/") -> dict[str, Any]:
    """A job as the plan describes it."""
    return {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "SingleRecord",
        "MaxConcurrentTransforms": 4,
        "MaxPayloadInMB": 6,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 1},
        "TransformInput": {
            "CompressionType": "None",
            "ContentType": "application/json",
            "SplitType": "Line",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://batches/{source}"}},
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://batches/out/{name}",
            "AssembleWith": "Line",
            "Accept": "application/json",
        },
        "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.m5.large"},
    }


def planned(job: dict[str, Any]) -> Callable[[Any], Any]:
    """A plan that chose a transform job."""
    return lambda _: {"method": "transform", "shards_key": "shards.json", "shards": len(SHARDS), "transform": job}


# -- the machine ------------------------------------------------------------------------------------------------------


def test_the_file_has_only_places_that_everybody_fills() -> None:
    """A substitution that is missing is found before anything is deployed, and no record's path is among them."""
    assert set(json.loads(batch_definition(PLACES))["States"]) >= {"Plan", "Shards", "Transform", "Finish"}
    with pytest.raises(KeyError):
        batch_definition({})
    assert "Payload.$" not in BATCH_MACHINE.read_text(encoding="utf-8")


def test_every_shard_is_scored_until_it_is_done(account: str, stand_ins: StandIns) -> None:
    """Shards are scored, one that has more again, a paused one after its wait; then the batch is finished and told."""
    ways = {0: [DONE], 1: [{"state": "more", "wait_s": 0, "at": 5}, DONE], 2: [{"state": "paused", "wait_s": 1}, DONE]}
    stand_ins.functions["score"] = lambda event: ways[event["shard"]["shard"]].pop(0)
    execution = run(account)
    assert (execution["status"], execution["passed"][-1]) == ("SUCCEEDED", "BatchOver")
    asked = {"tenant": "acme", "batch_id": "batch_a"}
    assert stand_ins.asked_of("plan") == [asked]
    assert stand_ins.asked_of("finish") == [{**asked, "execution": execution["name"]}]
    scored = stand_ins.asked_of("score")
    assert {json.dumps(event["shard"]) for event in scored} == {json.dumps(shard) for shard in SHARDS}
    assert (len(scored), {event["tenant"] for event in scored}) == (5, {"acme"})
    assert told(account) == {"batch_id": "batch_a", "state": "completed"}


def test_no_more_shards_at_once_than_declared(account: str, stand_ins: StandIns) -> None:
    """The number that infrastructure puts into the file bounds the map."""
    lock, now, most = threading.Lock(), [0], [0]

    def score(_event: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.2)
        with lock:
            now[0] -= 1
        return DONE

    stand_ins.functions["score"] = score
    run(account)
    told(account)
    assert most[0] == 2


def test_a_shard_is_retried_and_one_that_fails_for_good_fails_no_other(account: str, stand_ins: StandIns) -> None:
    """A function that dies once is asked again; what never succeeds is left for the finish to find missing."""
    tries = {0: 0, 1: 0, 2: 0}

    def score(event: Any) -> Any:
        number = event["shard"]["shard"]
        tries[number] += 1
        if number == 0 or (number == 1 and tries[number] == 1):
            raise Broken
        return DONE

    stand_ins.functions["score"] = score
    stand_ins.functions["finish"] = lambda _: {"incomplete": True, "event": {"state": "failed"}}
    execution = run(account)
    assert tries == {0: 5, 1: 2, 2: 1}
    assert (execution["status"], execution["error"]) == ("FAILED", "BatchFailed")
    assert told(account) == {"state": "failed"}


def test_a_throttle_is_no_failure_of_a_shard(account: str, stand_ins: StandIns) -> None:
    """While Lambda has no room a shard waits, and longer than a failing one is tried; the refusal keeps its name."""
    refused = []

    def score(event: Any) -> Any:
        if event["shard"]["shard"] == 0 and len(refused) < 6:
            refused.append(event)
            raise Throttled
        return DONE

    stand_ins.functions["score"] = score
    assert run(account)["status"] == "SUCCEEDED"
    assert len(stand_ins.asked_of("score")) == len(SHARDS) + 6
    told(account)
    stand_ins.functions["throttled"] = lambda _: score({"shard": {"shard": 0}})
    refused.clear()
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        client("lambda", account).invoke(FunctionName="throttled", Payload=b"{}")


def test_nothing_to_score_goes_straight_to_the_finish(account: str, stand_ins: StandIns) -> None:
    """A file that cannot be used, or a batch that is over, has no shards."""
    stand_ins.functions["plan"] = lambda _: {"method": "none", "shards_key": "", "shards": 0, "transform": None}
    assert run(account)["passed"] == ["Plan", "Method", "Finish", "Tell", "Outcome", "BatchOver"]
    assert stand_ins.asked_of("score") == []
    told(account)


def test_a_plan_that_never_succeeds_still_finishes(account: str, stand_ins: StandIns) -> None:
    """The finish says what became of a batch that could not even be planned."""

    def plan(_event: Any) -> Any:
        raise Broken

    stand_ins.functions["plan"] = plan
    stand_ins.functions["finish"] = lambda _: {"incomplete": True, "event": {"state": "failed"}}
    assert run(account)["status"] == "FAILED"
    assert (len(stand_ins.asked_of("plan")), len(stand_ins.asked_of("finish"))) == (5, 1)
    told(account)


def test_a_list_of_shards_that_is_gone_still_finishes(account: str, stand_ins: StandIns) -> None:
    """The map itself may fail."""
    stand_ins.functions["plan"] = lambda _: {"method": "map", "shards_key": "no", "shards": 1, "transform": None}
    assert run(account)["passed"][2:4] == ["Shards", "Finish"]
    told(account)


def test_a_finish_that_never_succeeds_fails_the_execution(account: str, stand_ins: StandIns) -> None:
    """So that the alarm on failed executions sees it."""

    def finish(_event: Any) -> Any:
        raise Broken

    stand_ins.functions["finish"] = finish
    execution = run(account)
    assert (execution["status"], execution["error"]) == ("FAILED", "Broken")


def test_a_transform_job_takes_the_place_of_the_map(account: str, stand_ins: StandIns) -> None:
    """The machine waits for the job's end; no shard is scored."""
    client("s3", account).put_object(Bucket="batches", Key="in/00000.jsonl", Body=b'{"n":1}\n{"n":2}\n')
    stand_ins.functions["plan"] = planned(transform("good"))
    assert run(account)["passed"][2:4] == ["Transform", "Finish"]
    assert stand_ins.asked_of("score") == []
    made = client("s3", account).get_object(Bucket="batches", Key="out/good/00000.jsonl.out")["Body"].read()
    assert made == b'{"n":1}\n{"n":2}\n'
    told(account)


def test_a_transform_job_that_fails_is_followed_by_the_map(account: str, stand_ins: StandIns) -> None:
    """Whether it failed or could not even be made, the shards are scored."""
    client("s3", account).put_object(Bucket="batches", Key="in/00000.jsonl", Body=b"{}\n")
    stand_ins.model = lambda _endpoint, _variant, _body: (500, b"no")
    for job in (transform("bad"), transform("no-model", model="nobody"), transform("batch_with_underscore")):
        stand_ins.asked.clear()
        stand_ins.functions["plan"] = planned(job)
        assert run(account)["passed"][2:5] == ["Transform", "Shards", "Finish"]
        assert len(stand_ins.asked_of("score")) == len(SHARDS)
        told(account)


# -- transform jobs ---------------------------------------------------------------------------------------------------


def over(control: Any, name: str) -> dict[str, Any]:
    """A job, once it is over."""
    while (job := control.describe_transform_job(TransformJobName=name))["TransformJobStatus"] in {
        "InProgress",
        "Stopping",
    }:
        time.sleep(0.02)
    return dict(job)


def test_a_transform_job_asks_the_variant_of_its_model(account: str, stand_ins: StandIns) -> None:
    """Each line is a request to the process that serves the model; answers keep their lines' order."""
    seen = []

    def model(endpoint: str, variant: str, body: bytes) -> tuple[int, bytes]:
        seen.append((endpoint, variant))
        return 200, body.upper()

    stand_ins.model = model
    store, control = client("s3", account), client("sagemaker", account)
    lines = [json.dumps({"n": n}) for n in range(20)]
    store.put_object(Bucket="batches", Key="two/a.jsonl", Body="\r\n".join(lines[:10]).encode())
    store.put_object(Bucket="batches", Key="two/b.jsonl", Body=("\n".join(lines[10:]) + "\n\n").encode())
    control.create_transform_job(**transform("order", source="two/"))
    assert over(control, "order")["TransformJobStatus"] == "Completed"
    made = [
        store.get_object(Bucket="batches", Key=f"out/order/{name}.jsonl.out")["Body"].read().decode() for name in "ab"
    ]
    assert "".join(made) == "".join(f"{line.upper()}\n" for line in lines)
    assert set(seen) == {("e", "v1")}
    assert len(seen) == len(lines)


def test_a_file_with_a_bad_request_fails_its_job_but_no_other_file(account: str, stand_ins: StandIns) -> None:
    """As SageMaker does: no output for that file, the others whole, the job failed with a reason."""
    stand_ins.model = lambda _e, _v, body: (400, b"no") if b"bad" in body else (200, body)
    store, control = client("s3", account), client("sagemaker", account)
    store.put_object(Bucket="batches", Key="mixed/a.jsonl", Body=b"{}\nbad\n")
    store.put_object(Bucket="batches", Key="mixed/b.jsonl", Body=b"{}\n")
    control.create_transform_job(**transform("mixed", source="mixed/"))
    job = over(control, "mixed")
    assert (job["TransformJobStatus"], job["FailureReason"]) == ("Failed", "a.jsonl: the container answered 400")
    found = store.list_objects_v2(Bucket="batches", Prefix="out/mixed/")["Contents"]
    assert [entry["Key"] for entry in found] == ["out/mixed/b.jsonl.out"]


def test_a_transform_job_can_be_stopped(account: str, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped job ends as such, and cannot be stopped again, which is no failure; one without instances fails."""
    gate = threading.Event()

    def model(_endpoint: str, _variant: str, body: bytes) -> tuple[int, bytes]:
        gate.wait(30)
        return 200, body

    stand_ins.model = model
    store, control = client("s3", account), client("sagemaker", account)
    store.put_object(Bucket="batches", Key="slow/a.jsonl", Body=b"{}\n" * 50)
    control.create_transform_job(**transform("slow", source="slow/"))
    assert control.describe_transform_job(TransformJobName="slow")["TransformJobStatus"] == "InProgress"
    control.stop_transform_job(TransformJobName="slow")
    gate.set()
    assert over(control, "slow")["TransformJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="Stopped"):
        control.stop_transform_job(TransformJobName="slow")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", account)
    clients.client.cache_clear()
    jobs = TransformJobsOfBatches("slow", calls=PatientCalls())
    jobs.stop(Batch("acme", "", 0.0, Source("b", "k", "v", 1, "jsonl"), Options("toy", "/v1/classifications")))
    clients.client.cache_clear()
    control.create_transform_job(**transform("idle", model="idle", source="slow/"))
    assert over(control, "idle")["TransformJobStatus"] == "Failed"


def test_a_transform_job_is_refused_as_sagemaker_refuses_it(account: str) -> None:
    """A name twice, a name it does not allow, more payload than 100 MB in all."""
    control = client("sagemaker", account)
    client("s3", account).put_object(Bucket="batches", Key="in/00000.jsonl", Body=b"{}\n")
    control.create_transform_job(**transform("once"))
    too_much = {**transform("heavy"), "MaxConcurrentTransforms": 20}
    for job, match in ((transform("once"), "unique"), (transform("a_b"), "constraint"), (too_much, "exceed 100")):
        with pytest.raises(ClientError, match=match):
            control.create_transform_job(**job)


# -- uploads ----------------------------------------------------------------------------------------------------------


def post(url: str, form: dict[str, Any], body: bytes, **changed: str) -> requests.Response:
    """The form, sent as a browser or curl would."""
    return requests.post(form["url"], data={**form["fields"], **changed}, files={"file": ("f", body)}, timeout=30)


def test_a_presigned_post_holds_to_its_conditions(account: str) -> None:
    """Size, exact key, type and extra fields; what is refused is not stored."""
    store = client("s3", account)
    form = store.generate_presigned_post(
        "batches",
        "up/one.jsonl",
        Fields={"Content-Type": "application/jsonl"},
        Conditions=[
            ["content-length-range", 2, 5],
            {"Content-Type": "application/jsonl"},
            ["starts-with", "$x-amz-meta-note", "n"],
        ],
        ExpiresIn=60,
    )
    note = {"x-amz-meta-note": "note"}
    for body, changed, status, code in (
        (b"123456", note, 400, "EntityTooLarge"),
        (b"1", note, 400, "EntityTooSmall"),
        (b"123", {**note, "key": "up/other"}, 403, "AccessDenied"),
        (b"123", {**note, "Content-Type": "text/html"}, 403, "AccessDenied"),
        (b"123", {**note, "x-amz-meta-more": "x"}, 403, "AccessDenied"),
        (b"123", {"x-amz-meta-note": "other"}, 403, "AccessDenied"),
    ):
        answer = post(account, form, body, **changed)
        assert (answer.status_code, code in answer.text) == (status, True), answer.text
    assert "Contents" not in store.list_objects_v2(Bucket="batches", Prefix="up/")
    assert post(account, form, b"12345", **note).status_code == 204
    found = store.get_object(Bucket="batches", Key="up/one.jsonl")
    assert (found["Body"].read(), found["ContentType"]) == (b"12345", "application/jsonl")
    assert found["Metadata"] == {"note": "note"}


def test_an_expired_form_is_refused(account: str) -> None:
    """A policy has its time."""
    form = client("s3", account).generate_presigned_post("batches", "up/late", ExpiresIn=-10)
    answer = post(account, form, b"1")
    assert (answer.status_code, "expired" in answer.text) == (403, True)


def test_of_concurrent_writers_one_wins(account: str) -> None:
    """`If-None-Match: *` under threads: one write, whole, and the others are told."""
    store = client("s3", account)

    def write(n: int) -> bool:
        try:
            store.put_object(Bucket="batches", Key=f"once/{n // 8}", Body=str(n).encode() * 1000, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(80)))
    assert sum(won) == 10


def test_an_event_finds_the_object_with_its_metadata(account: str, stand_ins: StandIns) -> None:
    """Who hears of an object under `incoming/` can read its metadata at once, and gets the version."""
    store, events = client("s3", account), client("events", account)
    store.create_bucket(Bucket="inputs")
    store.put_bucket_versioning(Bucket="inputs", VersioningConfiguration={"Status": "Enabled"})
    store.put_bucket_notification_configuration(
        Bucket="inputs", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": ["inputs"]}, "object": {"key": [{"wildcard": "tenants/*/incoming/*"}]}},
    }
    events.put_rule(Name="incoming", EventPattern=json.dumps(pattern))
    function = "arn:aws:lambda:us-east-1:123456789012:function:start"
    events.put_targets(Rule="incoming", Targets=[{"Id": "1", "Arn": function}])
    found: list[tuple[str, Any]] = []
    heard = threading.Event()

    def start(event: Any) -> None:
        detail = event["detail"]["object"]
        held = client("s3", account).head_object(Bucket="inputs", Key=detail["key"], VersionId=detail["version-id"])
        found.append((detail["key"], held["Metadata"]))
        heard.set()

    stand_ins.functions["start"] = start
    store.put_object(Bucket="inputs", Key="tenants/acme/files/x.jsonl", Body=b"{}")
    put = store.put_object(
        Bucket="inputs", Key="tenants/acme/incoming/e/x.jsonl", Body=b"{}", Metadata={"headrace-version": "v1"}
    )
    assert heard.wait(30)
    assert found == [("tenants/acme/incoming/e/x.jsonl", {"headrace-version": "v1"})]
    assert put["VersionId"]


def test_ranges_are_cut_out_of_objects(account: str) -> None:
    """Ranges of a version, open ones, whole objects and impossible ones answer as on S3."""
    store = client("s3", account)
    store.put_object(Bucket="batches", Key="ranged", Body=bytes(range(100)))

    def read(asked: str) -> tuple[bytes, str]:
        found = store.get_object(Bucket="batches", Key="ranged", Range=asked)
        return found["Body"].read(), found["ContentRange"]

    assert read("bytes=10-19") == (bytes(range(10, 20)), "bytes 10-19/100")
    assert read("bytes=90-") == (bytes(range(90, 100)), "bytes 90-99/100")
    assert read("bytes=95-500") == (bytes(range(95, 100)), "bytes 95-99/100")
    assert read("bytes=-3") == (bytes(range(97, 100)), "bytes 97-99/100")
    with pytest.raises(ClientError, match="InvalidRange"):
        read("bytes=100-")
    assert store.get_object(Bucket="batches", Key="ranged")["Body"].read() == bytes(range(100))
