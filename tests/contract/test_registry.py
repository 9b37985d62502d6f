"""The model registry on SageMaker: what is registered is found again, and a decision loses nothing."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.registry.contract import Contract, Port
from headrace.registry.versions import Candidate, Measured, RegistryRefusal, State, object_key
from headrace_aws.clients import client
from headrace_aws.registry import ModelRegistry

BUCKET = "headrace-dev-artifacts"
CONTRACT = Contract(
    task="tensors", api_version=1, inputs=(Port("x", "FP32", (-1,)),), outputs=(Port("y", "FP32", (1,)),)
)
CANDIDATE = Candidate(
    endpoint="detection",
    version="v2",
    digest=f"sha256:{'a' * 64}",
    contract_digest=CONTRACT.digest,
    api_version=1,
    measured=Measured(latency_p50_ms=1.5, latency_p99_ms=9.25, requests=200, size_bytes=35_000_000, golden=2),
    record="",
    by="anna@host",
)


@pytest.fixture
def registry(aws: None) -> ModelRegistry:
    """An empty registry."""
    s3 = client("s3", read_timeout_s=60.0)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return ModelRegistry(
        sagemaker=client("sagemaker", read_timeout_s=60.0), s3=s3, prefix="headrace-dev", bucket=BUCKET
    )


def test_an_empty_registry_is_no_error(registry: ModelRegistry) -> None:
    """Before anything is registered there is nothing, and nothing fails."""
    assert registry.versions("detection") == []
    assert registry.endpoints() == []
    assert registry.image("detection") is None


def test_a_version_is_found_as_it_was_registered(registry: ModelRegistry) -> None:
    """Pending at first, with what was measured, in the order of registration."""
    key = registry.store_record({"contract": CONTRACT.document()})
    candidate = replace(CANDIDATE, record=key)
    first = registry.register(candidate, image=None, after=0)
    second = registry.register(replace(candidate, version="v3"), image="image:1", after=1)
    assert (first.state, first.number, first.candidate) == (State.PENDING, 1, candidate)
    assert registry.versions("detection") == [first, second]
    assert registry.endpoints() == ["detection"]
    assert registry.contract(first) == CONTRACT


def test_a_package_can_be_deployed(registry: ModelRegistry) -> None:
    """With an image it names the artifact by its digest, as the endpoints' models do."""
    made = registry.register(replace(CANDIDATE, record="registrations/x.json"), image="image:1", after=0)
    told = client("sagemaker", read_timeout_s=60.0).describe_model_package(ModelPackageName=made.package)
    (container,) = told["InferenceSpecification"]["Containers"]
    assert container["ModelDataUrl"] == f"s3://{BUCKET}/{object_key(CANDIDATE.digest)}"
    assert container["Environment"] == {"HEADRACE_ARTIFACT_DIGEST": CANDIDATE.digest}
    assert told["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"] == f"s3://{BUCKET}/registrations/x.json"


def test_a_decision_keeps_everything_else(registry: ModelRegistry) -> None:
    """State and reason change; what was measured stays."""
    made = registry.register(CANDIDATE, image=None, after=0)
    approved = registry.decide(made, State.APPROVED, why="as good as v1", who="anna@host")
    assert (approved.state, approved.why) == (State.APPROVED, "as good as v1 (anna@host)")
    assert approved.candidate == CANDIDATE
    rejected = registry.decide(approved, State.REJECTED, why="too slow", who="anna@host")
    assert registry.versions("detection") == [rejected]


def test_many_versions(registry: ModelRegistry) -> None:
    """More than one page of what SageMaker lists by default."""
    for number in range(13):
        registry.register(replace(CANDIDATE, version=f"v{number}"), image=None, after=number)
    assert [each.version for each in registry.versions("detection")] == [f"v{number}" for number in range(13)]


def test_artifacts_and_records_are_kept_by_their_digests(registry: ModelRegistry, tmp_path: Path) -> None:
    """An archive lies where the stage's models look; a record that was changed is not believed."""
    assert not registry.has_artifact(CANDIDATE.digest)
    (tmp_path / "model.tar.gz").write_bytes(b"archive")
    registry.store_artifact(CANDIDATE.digest, tmp_path / "model.tar.gz")
    assert registry.has_artifact(CANDIDATE.digest)
    key = registry.store_record({"b": 1, "a": 2})
    assert key == registry.store_record({"a": 2, "b": 1})
    assert re.fullmatch(r"registrations/[0-9a-f]{64}\.json", key)
    made = registry.register(replace(CANDIDATE, record=key), image=None, after=0)
    client("s3", read_timeout_s=60.0).put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    with pytest.raises(RegistryRefusal, match="was changed"):
        registry.contract(made)


def test_foreign_packages_are_passed_over(registry: ModelRegistry) -> None:
    """What somebody else put into the group by hand is not listed, and does not break the list."""
    made = registry.register(CANDIDATE, image=None, after=0)
    client("sagemaker", read_timeout_s=60.0).create_model_package(
        ModelPackageGroupName="headrace-dev-detection", ModelPackageDescription="by hand", ClientToken="t"
    )
    assert registry.versions("detection") == [made]


def test_a_group_name_that_sagemaker_would_refuse_is_told(registry: ModelRegistry) -> None:
    """Before anything is sent."""
    with pytest.raises(RegistryRefusal, match="63 characters"):
        registry.group("x" * 60)
