"""Pushing artifacts: only what is pinned, under its digest, once."""

from pathlib import Path

import pytest

from headrace_aws.clients import client
from infra_cdk.push import PushError, pinned_artifacts, push
from tests.integration.local.toy_endpoint import write_toy_endpoint


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
