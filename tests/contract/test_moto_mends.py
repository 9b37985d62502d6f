"""Each mend of moto holds what it promises, seen through unmodified boto3 against the server that `make run` starts."""

import asyncio
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra_local.functions import ROOT
from infra_local.ports import free_port
from infra_local.process import base_environment, start_child

ROLE = "arn:aws:iam::123456789012:role/any"


class Invocations:
    """A fake Lambda host: keeps what it was asked, answers with it, fails for the function ``broken``."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = self.path.split("/")[3]
                outer.seen.append((name, self.headers["X-Amz-Invocation-Type"], body))
                self.send_response(200)
                if name == "broken":
                    self.send_header("X-Amz-Function-Error", "Unhandled")
                    body = {"errorType": "Teapot", "errorMessage": "short and stout"}
                answer = json.dumps(body).encode()
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Keeps quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, name: str) -> tuple[str, str, Any]:
        """Returns the first invocation of a function, once it has come."""
        while True:  # the test's own timeout bounds this
            for seen in self.seen:
                if seen[0] == name:
                    return seen
            time.sleep(0.02)


@pytest.fixture(scope="module")
def invocations() -> Iterator[Invocations]:
    """A fake Lambda host."""
    fake = Invocations()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture(scope="module")
def moto_faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which DynamoDB's faults are asked for."""
    return tmp_path_factory.mktemp("moto") / "faults.json"


@pytest.fixture(scope="module")
def moto_url(invocations: Invocations, moto_faults: Path) -> Iterator[str]:
    """The mended moto, in a process of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = moto_faults.with_name("moto.log")
    log.touch()
    command = (
        *(sys.executable, "-m", "infra_local.moto_server", "--port", str(port)),
        *("--lambda-url", invocations.url, "--runtime-url", invocations.url, "--faults", str(moto_faults)),
    )
    environment = {**base_environment(), "PYTHONPATH": str(ROOT)}
    with asyncio.Runner() as runner:
        child = runner.run(start_child("moto", command, environment=environment, folder=Path(ROOT), log=log))
        while True:
            assert child.alive, log.read_text()
            try:
                with urllib.request.urlopen(f"{url}/moto-api/data.json"):  # noqa: S310 - our own loopback address
                    break
            except urllib.error.URLError:
                runner.run(asyncio.sleep(0.1))
        yield url
        runner.run(child.stop(grace_s=2))


def client(service: str, url: str, *, read_timeout: float = 60.0) -> Any:
    """Makes a boto3 client of the mended moto."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=16, read_timeout=read_timeout),
    )


def test_dynamodb_counts_every_concurrent_addition(moto_url: str) -> None:
    """Concurrent ADDs lose nothing, and a conditional counter lets through exactly as many as it should."""
    database = client("dynamodb", moto_url)
    database.create_table(
        TableName="counts",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def add(key: str, limit: int) -> bool:
        try:
            database.update_item(
                TableName="counts",
                Key={"pk": {"S": key}},
                UpdateExpression="ADD n :one",
                ConditionExpression="attribute_not_exists(n) OR n < :limit",
                ExpressionAttributeValues={":one": {"N": "1"}, ":limit": {"N": str(limit)}},
            )
        except database.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: add("free", 1000), range(200)))
        let_through = list(pool.map(lambda _: add("bucket", 20), range(100)))
    item = database.get_item(TableName="counts", Key={"pk": {"S": "free"}})["Item"]
    assert sum(added) == int(item["n"]["N"]) == 200
    assert sum(let_through) == 20


def test_lambda_invocations_reach_our_host(moto_url: str, invocations: Invocations) -> None:
    """Invoke on moto runs on the Lambda host, errors included, though moto never heard of the function."""
    functions = client("lambda", moto_url)
    answer = functions.invoke(FunctionName="direct", Payload=b'{"a": 1}')
    assert json.loads(answer["Payload"].read()) == {"a": 1}
    answer = functions.invoke(FunctionName="broken", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert ("direct", "RequestResponse", {"a": 1}) in invocations.seen


def test_step_functions_tasks_reach_our_host_and_can_be_caught(moto_url: str) -> None:
    """A Lambda task runs on the Lambda host, and Catch sees the error's own name."""
    machines = client("stepfunctions", moto_url)
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke"}
    definition = {
        "StartAt": "First",
        "States": {
            "First": {**task, "Parameters": {"FunctionName": "first", "Payload": {"n": 1}}, "Next": "Second"},
            "Second": {
                **task,
                "Parameters": {"FunctionName": "broken", "Payload": {}},
                "Catch": [{"ErrorEquals": ["Teapot"], "Next": "Caught"}],
                "End": True,
            },
            "Caught": {"Type": "Pass", "Result": {"caught": True}, "End": True},
        },
    }
    arn = machines.create_state_machine(name="m", definition=json.dumps(definition), roleArn=ROLE)["stateMachineArn"]
    executions = {machines.start_execution(stateMachineArn=arn)["executionArn"] for _ in range(2)}
    assert len(executions) == 2  # each of its own name
    for execution in executions:
        while (state := machines.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(0.05)
        assert (state["status"], json.loads(state["output"])) == ("SUCCEEDED", {"caught": True})


def test_event_rules_reach_functions_and_state_machines(moto_url: str, invocations: Invocations) -> None:
    """An object put to S3 starts the function and the state machine that its EventBridge rules name."""
    events, store, machines = (client(name, moto_url) for name in ("events", "s3", "stepfunctions"))
    definition = {
        "StartAt": "Only",
        "States": {
            "Only": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": {"FunctionName": "from-machine", "Payload.$": "$"},
                "End": True,
            }
        },
    }
    machine = machines.create_state_machine(name="e", definition=json.dumps(definition), roleArn=ROLE)[
        "stateMachineArn"
    ]
    events.put_rule(Name="r", EventPattern=json.dumps({"source": ["aws.s3"], "detail-type": ["Object Created"]}))
    function = "arn:aws:lambda:us-east-1:123456789012:function:from-rule"
    targets = [{"Id": "1", "Arn": function}, {"Id": "2", "Arn": machine, "RoleArn": ROLE}]
    events.put_targets(Rule="r", Targets=targets)
    store.create_bucket(Bucket="uploads")
    store.put_bucket_notification_configuration(
        Bucket="uploads", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    store.put_object(Bucket="uploads", Key="in/items.json", Body=b"[]")
    _, kind, event = invocations.wait_for("from-rule")
    assert kind == "Event"
    assert (event["source"], event["detail"]["object"]["key"]) == ("aws.s3", "in/items.json")
    assert isinstance(event["time"], str)
    assert invocations.wait_for("from-machine")[2]["detail"]["bucket"]["name"] == "uploads"


def test_endpoints_keep_zero_weights_and_can_be_updated(moto_url: str) -> None:
    """Weight 0 stays 0, any ml. instance type is taken, and UpdateEndpoint moves to another configuration."""
    control = client("sagemaker", moto_url)

    def variant(name: str, weight: float) -> dict[str, Any]:
        fields = {"VariantName": name, "ModelName": "m", "InstanceType": "ml.g7e.2xlarge", "InitialInstanceCount": 1}
        return {**fields, "InitialVariantWeight": weight}

    def weights() -> dict[str, float]:
        found = control.describe_endpoint(EndpointName="e")["ProductionVariants"]
        return {v["VariantName"]: v["CurrentWeight"] for v in found}

    container = {"Image": "i", "ModelDataUrl": "s3://b/k"}
    control.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    control.create_endpoint_config(EndpointConfigName="one", ProductionVariants=[variant("a", 1), variant("b", 0)])
    control.create_endpoint_config(EndpointConfigName="two", ProductionVariants=[variant("a", 1), variant("c", 5)])
    control.create_endpoint(EndpointName="e", EndpointConfigName="one")
    assert weights() == {"a": 1, "b": 0}
    control.update_endpoint_weights_and_capacities(
        EndpointName="e", DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredWeight": 3}]
    )
    control.update_endpoint(EndpointName="e", EndpointConfigName="two", RetainAllVariantProperties=True)
    assert weights() == {"a": 3, "c": 5}
    control.update_endpoint(EndpointName="e", EndpointConfigName="one")
    assert weights() == {"a": 1, "b": 0}
    with pytest.raises(ClientError, match="Could not find endpoint"):
        control.update_endpoint(EndpointName="nobody", EndpointConfigName="one")
