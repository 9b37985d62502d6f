"""UpdateEndpoint on the local platform: an unmodified boto3 adds a version, real processes come and go."""

import json
import os
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from endpoints.building import artifact_digest, pack
from infra_local.threaded import ThreadedStack
from tests.integration.local.test_stack import alive
from tests.integration.local.toy_endpoint import write_artifact, write_toy_endpoint

pytestmark = [pytest.mark.local_stack, pytest.mark.timeout(180)]
ENDPOINT, BUCKET = "headrace-local-toy", "headrace-local-artifacts"
ROLE = "arn:aws:iam::123456789012:role/any"
INPUT = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}'


class Account:
    """What an operator does with boto3."""

    def __init__(self, stack: ThreadedStack) -> None:
        self.stack = stack
        self.control = self.client("sagemaker")

    def client(self, service: str) -> Any:
        """An unmodified boto3 client."""
        variables = self.stack.environment()
        url = variables.get(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}", variables["AWS_ENDPOINT_URL"])
        credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=url, **credentials)  # type: ignore[call-overload]

    def put_artifact(self, folder: Path, *, spoilt: bool = False) -> tuple[str, str]:
        """Packs an artifact into the bucket; returns its digest and address."""
        digest = artifact_digest(folder)
        if spoilt:
            (folder / "model.onnx").write_bytes(b"nothing to be loaded")
            archive = folder.parent / "spoilt.tar.gz"
            with tarfile.open(archive, "w:gz") as packed:
                for file in folder.iterdir():
                    packed.add(file, file.name)
        else:
            archive = pack(folder, folder.parent / "packed.tar.gz")
        key = f"{digest.removeprefix('sha256:')}/model.tar.gz"
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=archive.read_bytes())
        return digest, f"s3://{BUCKET}/{key}"

    def variant_of(self, name: str) -> dict[str, Any]:
        """A variant as the present configuration has it."""
        config = self.control.describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
        found = self.control.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
        return next(variant for variant in found if variant["VariantName"] == name)

    def model(self, name: str, *, digest: str, url: str) -> None:
        """Makes a model with the variables of the toy's first version."""
        first = self.control.describe_model(ModelName=self.variant_of("v1")["ModelName"])["PrimaryContainer"]
        container = {**first, "ModelDataUrl": url}
        container["Environment"] = {**first["Environment"], "HEADRACE_ARTIFACT_DIGEST": digest}
        self.control.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)

    def update(self, config: str, variants: list[dict[str, Any]]) -> dict[str, Any]:
        """Updates the endpoint and returns how it is described when that is over."""
        self.control.create_endpoint_config(EndpointConfigName=config, ProductionVariants=variants)
        self.control.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=config, RetainAllVariantProperties=True)
        described = self.control.describe_endpoint(EndpointName=ENDPOINT)
        assert described["EndpointStatus"] == "Updating"
        assert described["PendingDeploymentSummary"]["EndpointConfigName"] == config
        with pytest.raises(ClientError, match="in-progress"):
            self.control.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=config)
        while described["EndpointStatus"] == "Updating":
            time.sleep(0.1)
            described = self.control.describe_endpoint(EndpointName=ENDPOINT)
        return dict(described)

    def ask(self, variant: str) -> list[float]:
        """Three numbers through one variant."""
        answer = self.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=ENDPOINT, TargetVariant=variant, ContentType="application/json", Body=INPUT
        )
        numbers: list[float] = json.loads(answer["Body"].read())["outputs"][0]["data"]
        return numbers


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A platform with the toy endpoint."""
    folder = tmp_path_factory.mktemp("platform")
    endpoints, artifacts = write_toy_endpoint(folder)
    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=folder / ".headrace") as stack:
        yield Account(stack)


def test_a_new_version_comes_into_service_and_an_old_one_leaves(account: Account, tmp_path: Path) -> None:
    """v3 is fetched from the bucket and started while v1 keeps its process; v2, which is no longer named, is ended."""
    before = account.stack.process_ids()
    write_artifact(tmp_path / "v3", "toy", "v3", factor=6.0)
    digest, url = account.put_artifact(tmp_path / "v3")
    account.model("toy-v3", digest=digest, url=url)
    variants = [account.variant_of("v1"), {**account.variant_of("v1"), "VariantName": "v3", "ModelName": "toy-v3"}]
    variants[1]["InitialVariantWeight"] = 0.0
    described = account.update("with-v3", variants)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "with-v3")
    assert {v["VariantName"]: v["CurrentWeight"] for v in described["ProductionVariants"]} == {"v1": 1.0, "v3": 0.0}
    assert account.ask("v3") == [6.0, 12.0, 18.0]
    assert account.ask("v1") == [2.0, 4.0, 6.0]
    assert account.stack.process_ids()["serving-toy-v1"] == before["serving-toy-v1"]
    (gone,) = before["serving-toy-v2"]
    while alive(gone):
        time.sleep(0.1)
    assert "serving-toy-v2" not in account.stack.process_ids()
    with pytest.raises(ClientError, match="v2"):
        account.ask("v2")


def test_a_version_that_dies_at_its_start_never_serves(account: Account, tmp_path: Path) -> None:
    """The update ends where it began: the old configuration, InService, with the reason; nobody's requests noticed."""
    standing = account.control.describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    processes = account.stack.process_ids()["serving-toy-v1"]
    write_artifact(tmp_path / "v4", "toy", "v4", factor=8.0)
    digest, url = account.put_artifact(tmp_path / "v4", spoilt=True)
    account.model("toy-v4", digest=digest, url=url)
    variants = [account.variant_of("v1"), {**account.variant_of("v1"), "VariantName": "v4", "ModelName": "toy-v4"}]
    described = account.update("with-v4", variants)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", standing)
    assert "did not pass the ping health check" in described["FailureReason"]
    assert "corrupt" in described["FailureReason"]
    assert account.ask("v1") == [2.0, 4.0, 6.0]
    assert account.stack.process_ids()["serving-toy-v1"] == processes
    assert "serving-toy-v4" not in account.stack.process_ids()


def test_a_version_of_which_there_is_nothing_is_named(account: Account) -> None:
    """Model data that is nowhere ends the update with its address."""
    account.model("toy-nowhere", digest="sha256:" + "0" * 64, url=f"s3://{BUCKET}/nowhere/model.tar.gz")
    variants = [{**account.variant_of("v1"), "VariantName": "v5", "ModelName": "toy-nowhere"}]
    described = account.update("nowhere", variants)
    assert f"s3://{BUCKET}/nowhere/model.tar.gz" in described["FailureReason"]
    assert account.ask("v1") == [2.0, 4.0, 6.0]


def test_a_variant_may_get_another_model(account: Account, tmp_path: Path) -> None:
    """The same name with another artifact: a new process takes the old one's place, and no request fails meanwhile."""
    (before,) = account.stack.process_ids()["serving-toy-v1"]
    write_artifact(tmp_path / "v1", "toy", "v1", factor=10.0)
    digest, url = account.put_artifact(tmp_path / "v1")
    account.model("toy-v1-again", digest=digest, url=url)
    described = account.update("again", [{**account.variant_of("v1"), "ModelName": "toy-v1-again"}])
    assert "FailureReason" not in described
    while account.ask("v1") != [10.0, 20.0, 30.0]:
        time.sleep(0.05)
    while alive(before):
        time.sleep(0.1)
        assert account.ask("v1") == [10.0, 20.0, 30.0]


def test_a_control_plane_that_lost_its_memory_has_its_way(account: Account) -> None:
    """After kill -9 of moto the declared configuration is made again, and the processes follow it."""
    (before,) = account.stack.process_ids()["moto"]
    os.kill(before, signal.SIGKILL)
    while "serving-toy-v2" not in account.stack.process_ids():
        time.sleep(0.2)
    while True:
        try:
            assert account.ask("v2") == [4.0, 8.0, 12.0]
            break
        except ClientError:
            time.sleep(0.2)
    assert account.ask("v1") == [2.0, 4.0, 6.0]
