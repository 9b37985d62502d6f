"""The whole local platform over a toy endpoint: real functions, a real model, real deaths."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from infra_local.threaded import ThreadedStack
from tests.integration.local.toy_endpoint import write_toy_endpoint

pytestmark = [pytest.mark.local_stack, pytest.mark.timeout(180)]
INPUT = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def outputs(self) -> list[float]:
        """The numbers of the one output."""
        data: list[float] = json.loads(self.body)["outputs"][0]["data"]
        return data

    @property
    def served_by(self) -> str:
        """What the answer says served it."""
        return self.headers.get("x-headrace-served-by", "")


def send(
    url: str, method: str, path: str, *, key: str = "", body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    """Sends one request over a connection of its own."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {}), **(headers or {})}
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedStack]:
    """The platform with one toy endpoint from a temporary folder."""
    folder = tmp_path_factory.mktemp("platform")
    endpoints, artifacts = write_toy_endpoint(folder)
    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=folder / ".headrace") as running:
        yield running


@pytest.fixture
def clear(stack: ThreadedStack) -> Iterator[None]:
    """Leaves no fault behind."""
    yield
    stack.fault(clear=True)


def stack_folder(stack: ThreadedStack) -> Path:
    """The folder of the toy's first version."""
    folder: Path = stack._arguments["artifacts"]
    return folder / "toy" / "v1"


def infer(stack: ThreadedStack) -> Answer:
    """Asks the toy endpoint to double 1, 2, 3."""
    return send(stack.url, "POST", "/v2/models/toy/infer", key=stack.api_key, body={"inputs": [INPUT]})


def test_request_passes_through_everything(stack: ThreadedStack) -> None:
    """HTTP → authorizer → function → SageMaker runtime → serving process → answer, and it is the model's own."""
    answer = infer(stack)
    assert (answer.status, answer.outputs) == (200, [2.0, 4.0, 6.0])
    assert answer.served_by.startswith("toy/v1")


def test_keys_decide(stack: ThreadedStack) -> None:
    """No key and a wrong one are 401 with a code and a request id; public routes need none."""
    refused = send(stack.url, "GET", "/v1/models")
    assert refused.status == 401
    error = json.loads(refused.body)["error"]
    assert (error["code"], error["request_id"]) == ("unauthenticated", refused.headers["x-request-id"])
    assert send(stack.url, "GET", "/v1/models", key=stack.api_key[:-1] + "_").status == 401
    assert send(stack.url, "GET", "/v1/models", key=stack.api_key).status == 200
    assert send(stack.url, "GET", "/healthz").status == 200


def test_unmodified_boto3_sees_the_account(stack: ThreadedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """With only the environment set, boto3 finds the endpoint, its variants, the model and the functions."""
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    session = boto3.session.Session()
    described = session.client("sagemaker").describe_endpoint(EndpointName="headrace-local-toy")
    weights = {v["VariantName"]: v["CurrentWeight"] for v in described["ProductionVariants"]}
    assert weights == {"v1": 1.0, "v2": 0.0}
    answer = session.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="headrace-local-toy",
        TargetVariant="v2",
        ContentType="application/json",
        Body=json.dumps({"inputs": [INPUT]}),
    )
    assert json.loads(answer["Body"].read())["outputs"][0]["data"] == [4.0, 8.0, 12.0]
    invoked = session.client("lambda").invoke(FunctionName="headrace-local-authorizer", Payload=b"{}")
    assert invoked["FunctionError"] == "Unhandled"


def test_an_unmodified_signer_calls_as_the_demo_tenant(stack: ThreadedStack) -> None:
    """With the printed credentials a signed request passes the front, is found in the keys table, and is answered."""
    environment = stack.environment()
    credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    url, body = f"{stack.url}/aws/v2/models/toy/infer", json.dumps({"inputs": [INPUT]}).encode()
    request = AWSRequest("POST", url, data=body, headers={"content-type": "application/json"})
    SigV4Auth(credentials, "execute-api", environment["AWS_REGION"]).add_auth(request)
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", url, body=body, headers=dict(request.headers.items()))
        assert (answer.status, json.loads(answer.data)["outputs"][0]["data"]) == (200, [2.0, 4.0, 6.0])
        unsigned = pool.request("POST", url, body=body, headers={"x-api-key": stack.api_key})
    assert (unsigned.status, json.loads(unsigned.data)["error"]["type"]) == (403, "authentication_error")


@pytest.mark.parametrize("kind", ["throttle", "5xx", "unavailable", "garbage", "wrong_shape"])
def test_rules_answer_when_the_endpoint_cannot(stack: ThreadedStack, clear: None, kind: str) -> None:
    """Each fault of the endpoint leads down the ladder, and the answer says so."""
    stack.fault(endpoint="toy", kind=kind)
    answer = infer(stack)
    assert (answer.status, answer.outputs) == (200, [0.0, 0.0, 0.0])
    assert "rules" in answer.served_by
    assert answer.headers["x-headrace-degraded"]


def test_killed_model_comes_back_and_nobody_gets_an_error(stack: ThreadedStack) -> None:
    """After kill -9 of the serving process, callers get rules until the model answers again."""
    (before,) = stack.process_ids()["serving-toy-v1"]
    os.kill(before, signal.SIGKILL)
    seen: list[str] = []
    while not (seen and seen[-1].startswith("toy/v1")) or stack.process_ids().get("serving-toy-v1") in (None, [before]):
        answer = infer(stack)
        assert answer.status == 200
        seen.append(answer.served_by)
    assert any("rules" in served_by for served_by in seen)


def test_a_damaged_artifact_is_never_served(stack: ThreadedStack) -> None:
    """A serving process that finds its artifact damaged does not come up; callers get rules until it is whole again."""
    artifact = stack_folder(stack) / "model.onnx"
    whole = artifact.read_bytes()
    (before,) = stack.process_ids()["serving-toy-v1"]
    stack.fault(endpoint="toy", kind="corrupt", variant="v1", count=2)
    seen: list[Answer] = []
    while not (seen and seen[-1].served_by.startswith("toy/v1")) or stack.process_ids()["serving-toy-v1"] == [before]:
        seen.append(infer(stack))
    assert {answer.status for answer in seen} == {200}
    assert any("rules" in answer.served_by for answer in seen)
    assert artifact.read_bytes() == whole


def test_dynamodb_has_bad_days_too(stack: ThreadedStack, clear: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of one table strikes unmodified boto3 there, spares the other table, and can be cleared."""
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    database = boto3.session.Session().client("dynamodb", config=Config(retries={"total_max_attempts": 1}))
    item = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    stack.fault(endpoint="dynamodb", kind="throttle", variant="state")
    with pytest.raises(database.exceptions.ProvisionedThroughputExceededException):
        database.put_item(TableName="headrace-local-state", Item=item)
    database.get_item(TableName="headrace-local-keys", Key={"pk": {"S": "a"}})
    stack.fault(endpoint="dynamodb", clear=True)
    database.put_item(TableName="headrace-local-state", Item=item)


def test_killed_moto_comes_back_with_the_same_key(stack: ThreadedStack) -> None:
    """After kill -9 of moto, everything is created again and the key that was printed still works."""
    (before,) = stack.process_ids()["moto"]
    os.kill(before, signal.SIGKILL)
    while stack.process_ids().get("moto", [before]) == [before]:
        time.sleep(0.1)
    # Refused while the keys are gone, then perhaps rules while a circuit is open: in the end the model again.
    while not infer(stack).served_by.startswith("toy/v1"):
        time.sleep(0.2)


# -- the supervisor ---------------------------------------------------------------------------------------------------


def start_supervisor(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts ``python -m infra_local up`` over a toy endpoint in ``folder``."""
    endpoints, artifacts = folder / "endpoints", folder / "artifacts"
    if not endpoints.exists():
        write_toy_endpoint(folder)
    command = [sys.executable, "-m", "infra_local", "--folder", str(folder / ".headrace"), "up", "--no-color"]
    command += ["--endpoints", str(endpoints), "--artifacts", str(artifacts), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def command_line(folder: Path, *arguments: str) -> str:
    """Runs another command against the platform of ``folder`` and returns what it printed."""
    command = [sys.executable, "-m", "infra_local", "--folder", str(folder / ".headrace"), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Reads what a process prints until a line with these words, and returns it all."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if words in line:
            return text
    raise AssertionError(text)


def alive(pid: int) -> bool:
    """Says whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def everyone(folder: Path) -> list[int]:
    """Returns the process ids of all children, as the state file tells."""
    state = json.loads((folder / ".headrace" / "run" / "state.json").read_text())
    return [pid for pids in state["processes"].values() for pid in pids]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_supervisor_prints_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """What is printed works; `down` stops in order; SIGKILL of the supervisor leaves no orphan either."""
    first = start_supervisor(tmp_path, "--port", "0")
    printed = read_until(first, "Ctrl-C")
    key = re.search(r"export HEADRACE_KEY=(\S+)", printed)
    command = re.search(r"^curl .*$", printed, re.MULTILINE)
    assert key is not None
    assert command is not None
    pasted = subprocess.run(
        ["/bin/sh", "-c", command[0]], env={**os.environ, "HEADRACE_KEY": key[1]}, capture_output=True, check=True
    )
    assert json.loads(pasted.stdout)["model_name"] == "toy"
    event = {"resource": "/healthz", "path": "/healthz", "httpMethod": "GET", "headers": {}, "requestContext": {}}
    (tmp_path / "predict").mkdir()
    (tmp_path / "predict" / "healthz.json").write_text(json.dumps(event | {"isBase64Encoded": False, "body": None}))
    assert json.loads(command_line(tmp_path, "replay", str(tmp_path / "predict" / "healthz.json")))["statusCode"] == 200
    assert json.loads(command_line(tmp_path, "fault", "toy", "hang", "--count", "2"))[0]["kind"] == "hang"
    assert json.loads(command_line(tmp_path, "fault", "toy", "clear")) == []
    asked = command_line(tmp_path, "fault", "dynamodb", "latency", "--variant", "keys", "--latency-ms", "50")
    assert json.loads(asked)[0]["variant"] == "keys"
    assert json.loads(command_line(tmp_path, "fault", "clear")) == []
    assert "HEADRACE_STATE_TABLE=headrace-local-state" in command_line(tmp_path, "environment")
    assert json.loads(command_line(tmp_path, "status"))["serving"]["serving-toy-v1"] == "ready"
    children = everyone(tmp_path)
    assert len(children) >= 5
    again = start_supervisor(tmp_path)
    assert "already running" in read_until(again, "already running")
    assert again.wait(30) == 1
    assert "stopped" in command_line(tmp_path, "down")
    assert first.wait(60) == 0
    assert not any(alive(pid) for pid in children)

    second = start_supervisor(tmp_path, "--port", "0")
    read_until(second, "Ctrl-C")
    children = everyone(tmp_path)
    assert all(alive(pid) for pid in children)
    second.kill()
    second.wait(30)
    while any(alive(pid) for pid in children):
        time.sleep(0.05)
    for process in (first, second, again):
        assert process.stdout is not None
        process.stdout.close()


def test_taken_port_is_named(tmp_path: Path) -> None:
    """A port asked for by number that is taken is named, with what to do, and nothing is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start_supervisor(tmp_path, "--port", str(port))
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"port {port} is taken" in output


def test_missing_artifact_is_told_with_what_to_do(tmp_path: Path) -> None:
    """Without artifacts nothing starts, and the message says to build them."""
    endpoints, _ = write_toy_endpoint(tmp_path)
    (tmp_path / "artifacts" / "toy" / "v1" / "manifest.json").unlink()
    process = start_supervisor(tmp_path, "--port", "0")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert endpoints.exists()
    assert "make models" in output
