"""Pushing artifacts: only what is pinned, under its digest, once."""

from pathlib import Path

import pytest

from headrace.declaration.parse import parse_declaration
from headrace.declaration.schema import EndpointDeclaration
from headrace_aws.clients import client
from infra_cdk.push import PushError, pinned_artifacts, push, variants_change
from tests.integration.local.toy_endpoint import write_toy_endpoint
from tests.unit.headrace.declarations import DETECTION, SENTIMENT


@pytest.mark.usefixtures("aws")
def test_pushes_what_is_pinned_once(tmp_path: Path) -> None:
    """Every pinned artifact lands under its digest; a second push writes nothing."""
    endpoints, artifacts = write_toy_endpoint(tmp_path)
    s3 = client("s3", read_timeout_s=3.0)
    s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    found = pinned_artifacts(endpoints, artifacts)
    assert sorted(push(found, bucket="artifacts", s3=s3)) == sorted(found)
    assert push(found, bucket="artifacts", s3=s3) == []
    assert {item["Key"] for item in s3.list_objects_v2(Bucket="artifacts")["Contents"]} == set(found)


def test_refuses_what_differs_from_its_pin(tmp_path: Path) -> None:
    """An artifact that was built differently, or not at all, is named with both digests; nothing is pushed."""
    endpoints, artifacts = write_toy_endpoint(tmp_path)
    manifest = artifacts / "toy" / "v1" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    (artifacts / "toy" / "v2" / "manifest.json").unlink()
    with pytest.raises(PushError, match="toy/v1: built sha256") as refusal:
        pinned_artifacts(endpoints, artifacts)
    assert "toy/v2: no artifact" in str(refusal.value)


def _declared(text: str) -> EndpointDeclaration:
    declaration, problems = parse_declaration(text, source="endpoint.yaml")
    assert declaration is not None, problems
    return declaration


def _deploy(name: str, *variants: str) -> None:
    control = client("sagemaker", read_timeout_s=3.0)
    role = "arn:aws:iam::123456789012:role/serving"
    for variant in variants:
        control.create_model(ModelName=f"{name}-{variant}", ExecutionRoleArn=role, PrimaryContainer={"Image": "image"})
    control.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": variant,
                "ModelName": f"{name}-{variant}",
                "InstanceType": "ml.g4dn.xlarge",
                "InitialInstanceCount": 1,
            }
            for variant in variants
        ],
    )
    control.create_endpoint(EndpointName=name, EndpointConfigName=name)


@pytest.mark.usefixtures("aws")
def test_says_which_endpoints_get_other_variants() -> None:
    """One that gains or loses a version, or whose jobs another version serves; not one that is new, or stays."""
    _deploy("headrace-dev-detection", "v1", "v0")
    _deploy("headrace-dev-sentiment", "v1")
    _deploy("headrace-dev-sentiment-async", "v0")
    control = client("sagemaker", read_timeout_s=3.0)
    jobs = SENTIMENT + "async_inference: {max_instances: 1, concurrent_requests_per_instance: 2}\n"
    third = SENTIMENT.replace("name: sentiment", "name: third")
    declarations = [_declared(text) for text in (DETECTION, SENTIMENT, third)]
    assert variants_change(declarations, prefix="headrace-dev", sagemaker=control) == {
        "detection": "joining: v2; leaving: v0"
    }
    assert variants_change([_declared(jobs)], prefix="headrace-dev", sagemaker=control) == {
        "sentiment": "joining: v1; leaving: v0"
    }


@pytest.mark.usefixtures("aws")
def test_versions_that_share_instances_change_no_variant() -> None:
    """A component comes and goes beside the one variant."""
    _deploy("headrace-dev-detection", "AllTraffic")
    shared = _declared(DETECTION + "components: {copies_per_instance: 2, memory_mb: 2048, accelerators: 1}\n")
    control = client("sagemaker", read_timeout_s=3.0)
    assert variants_change([shared], prefix="headrace-dev", sagemaker=control) == {}
