"""The fake inputs and the S3 bucket keep the same contract: a tenant reads below its own prefix, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from headrace.errors import Forbidden, InvalidRequest, PayloadTooLarge, UnknownTarget
from headrace.fakes.targets import FakeInputs
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.clients import client
from headrace_aws.inputs_bucket import InputsBucket

OWN = "s3://inputs/tenants/acme/dog.jpg"
Read = Callable[..., bytes]


@pytest.fixture(params=["fake", "s3"])
def read(request: pytest.FixtureRequest) -> Read:
    """Each implementation in turn, holding one object of acme's and one of another's."""
    objects = {OWN: b"woof", "s3://inputs/tenants/other/cat.jpg": b"meow"}
    if request.param == "fake":
        return FakeInputs(objects).read
    request.getfixturevalue("aws")
    s3 = client("s3", read_timeout_s=3.0)
    s3.create_bucket(Bucket="inputs", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for uri, body in objects.items():
        s3.put_object(Bucket="inputs", Key=uri.removeprefix("s3://inputs/"), Body=body)
    return InputsBucket("inputs", calls=BoundedCalls()).read


def ask(read: Read, uri: str, **changes: Any) -> bytes:
    """Read as acme."""
    return read(uri, **{"tenant": "acme", "bytes_max": 100, "timeout_s": 5.0, **changes})


def test_reads_the_tenants_own_object(read: Read) -> None:
    """The bytes are the object's."""
    assert ask(read, OWN) == b"woof"


def test_another_tenants_object_is_forbidden(read: Read) -> None:
    """Whoever names another tenant's object is refused, whether or not it exists."""
    for uri in ("s3://inputs/tenants/other/cat.jpg", "s3://inputs/tenants/other/none", "s3://inputs/tenants/acme-2/x"):
        with pytest.raises(Forbidden):
            ask(read, uri)


def test_a_missing_object_is_the_callers_mistake(read: Read) -> None:
    """It has a code of its own."""
    with pytest.raises(UnknownTarget) as refusal:
        ask(read, "s3://inputs/tenants/acme/none")
    assert refusal.value.code == "object_not_found"


@pytest.mark.parametrize(
    "uri", ["s3://other/tenants/acme/x", "https://inputs/tenants/acme/x", "s3://inputs", "s3://inputs/"]
)
def test_only_uris_of_the_bucket_are_taken(read: Read, uri: str) -> None:
    """No caller chooses which bucket the platform reads."""
    with pytest.raises(InvalidRequest) as refusal:
        ask(read, uri)
    assert refusal.value.code == "invalid_s3_uri"


@pytest.mark.parametrize("key", ["tenants/acme/../other/cat.jpg", "tenants/acme", "tenants/ACME/x"])
def test_a_prefix_is_a_folder(read: Read, key: str) -> None:
    """Dots, a missing slash and another case do not lead out of the tenant's prefix."""
    with pytest.raises(Forbidden):
        ask(read, f"s3://inputs/{key}")


def test_a_large_object_is_refused(read: Read) -> None:
    """The bound is held against the object's size, which S3 tells before the object is read."""
    with pytest.raises(PayloadTooLarge):
        ask(read, OWN, bytes_max=3)


@pytest.mark.usefixtures("aws")
def test_a_key_has_s3s_own_bound() -> None:
    """A key longer than S3 allows is a mistake in the request, not a failed call."""
    with pytest.raises(InvalidRequest):
        ask(InputsBucket("inputs", calls=BoundedCalls()).read, "s3://inputs/" + "k" * 2000)
