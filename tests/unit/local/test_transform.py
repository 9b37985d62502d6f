"""Transform jobs on this machine: what each file becomes, what a failure leaves, and which forms are refused."""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_local.moto_uploads import PolicyRefusedError, check_policy
from infra_local.transform import RequestFailedError, StoppedError, TransformJob, read_job, run_job

JOB = TransformJob(source=("b", "in/"), target=("b", "out"), by_line=True, join_lines=True, at_once=3, retries_max=2)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(slots=True)
class Objects:
    """S3 in memory, one bucket."""

    held: dict[str, bytes] = field(default_factory=dict)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """The keys below a prefix."""
        del bucket
        return sorted(key for key in self.held if key.startswith(prefix))

    def read(self, bucket: str, key: str) -> bytes:
        """An object."""
        del bucket
        return self.held[key]

    def write(self, bucket: str, key: str, body: bytes) -> None:
        """Keep an object."""
        del bucket
        self.held[key] = body


def upper(body: bytes, _content_type: str, _accept: str) -> bytes:
    """A model."""
    return body.upper()


def run(job: TransformJob, objects: Objects, ask: Callable[[bytes, str, str], bytes] = upper) -> str:
    """A job that nobody stops."""
    return run_job(job, objects=objects, ask=ask, stopped=lambda: False)


@given(st.lists(st.text("abc", max_size=4), max_size=30), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_each_line_is_a_request_and_its_answer_keeps_its_place(texts: list[str], end: str, closed: bool) -> None:  # noqa: FBT001 - hypothesis
    """Whatever ends the lines, and whether the last one is ended; empty lines are none."""
    body = end.join(texts) + (end if closed else "")
    objects = Objects({"in/one": body.encode()})
    assert run(JOB, objects) == ""
    assert objects.held["out/one.out"].decode() == "".join(f"{text.upper()}\n" for text in texts if text)


def test_a_whole_object_may_be_one_request() -> None:
    """Without SplitType and AssembleWith, nothing is cut and nothing added; folders below the prefix stay."""
    objects = Objects({"in/a/one": b"x\ny"})
    assert run(replace(JOB, by_line=False, join_lines=False), objects) == ""
    assert objects.held["out/a/one.out"] == b"X\nY"


def test_a_request_is_tried_again_as_often_as_declared() -> None:
    """Two retries mean three tries; what fails then fails its file, and no other."""
    tries: dict[bytes, int] = {}
    guard = threading.Lock()

    def ask(body: bytes, _content_type: str, _accept: str) -> bytes:
        with guard:
            tries[body] = tries.get(body, 0) + 1
        if body == b"never" or (body == b"late" and tries[body] < 3):
            raise RequestFailedError("the container answered 500")
        return body

    objects = Objects({"in/a": b"never\n", "in/b": b"late\n"})
    assert run(JOB, objects, ask) == "a: the container answered 500"
    assert tries == {b"never": 3, b"late": 3}
    assert "out/a.out" not in objects.held
    assert objects.held["out/b.out"] == b"late\n"


def test_what_is_too_large_or_not_there_fails_the_job() -> None:
    """MaxPayloadInMB bounds each request; a prefix without objects is a mistake."""
    assert "MaxPayloadInMB" in run(replace(JOB, payload_max_bytes=3), Objects({"in/a": b"four"}))
    assert "No S3 objects" in run(JOB, Objects())


def test_a_job_ends_when_it_is_stopped() -> None:
    """No further request is sent."""
    with pytest.raises(StoppedError):
        run_job(JOB, objects=Objects({"in/a": b"x"}), ask=upper, stopped=lambda: True)


def asked(**changed: Any) -> dict[str, Any]:
    """The members of a request for a job."""
    place = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in/"}}
    members: dict[str, Any] = {
        "TransformInput": {"DataSource": place, "SplitType": "Line", "ContentType": "application/json"},
        "TransformOutput": {"S3OutputPath": "s3://b/out/x", "AssembleWith": "Line"},
    }
    return {**members, **changed}


def test_a_job_is_read_as_sagemaker_reads_it() -> None:
    """Places, defaults, and the bound on the payload of all requests together."""
    job = read_job(asked(MaxConcurrentTransforms=4, ModelClientConfig={"InvocationsMaxRetries": 0}))
    assert (job.source, job.target, job.by_line, job.join_lines) == (("b", "in/"), ("b", "out/x"), True, True)
    assert (job.at_once, job.payload_max_bytes, job.retries_max) == (4, 6 << 20, 0)
    for wrong in ({"MaxConcurrentTransforms": 17}, {"MaxPayloadInMB": 101}, {"BatchStrategy": "MultiRecord"}):
        with pytest.raises(ValueError, match=r"MB|known"):
            read_job(asked(**wrong))


def form(*conditions: Any, expires: datetime = NOW + timedelta(minutes=1), **fields: str) -> dict[str, str]:
    """A presigned form's fields."""
    policy = {"expiration": expires.isoformat(), "conditions": list(conditions)}
    return {"policy": base64.b64encode(json.dumps(policy).encode()).decode(), "bucket": "b", **fields}


@pytest.mark.parametrize(
    ("fields", "size", "code"),
    [
        (form({"key": "k"}, key="k"), 1, None),
        (form(["eq", "$key", "k"], ["starts-with", "$type", "text/"], key="k", type="text/csv"), 1, None),
        ({"key": "k", "bucket": "b"}, 1, None),
        (form({"key": "k"}, key="other"), 1, "AccessDenied"),
        (form({"key": "k"}), 1, "AccessDenied"),
        (form({"key": "k"}, key="k", acl="public-read"), 1, "AccessDenied"),
        (form({"key": "k"}, key="k", expires=NOW - timedelta(seconds=1)), 1, "AccessDenied"),
        (form({"key": "k"}, ["content-length-range", 1, 3], key="k"), 4, "EntityTooLarge"),
        (form({"key": "k"}, ["content-length-range", 1, 3], key="k"), 0, "EntityTooSmall"),
        (form(["near", "$key", "k"], key="k"), 1, "InvalidPolicyDocument"),
        ({"policy": "%%%", "key": "k"}, 1, "InvalidPolicyDocument"),
    ],
)
def test_a_form_is_held_to_its_policy(fields: dict[str, str], size: int, code: str | None) -> None:
    """Every field needs a condition that it meets; the file, its size; the form, its time."""
    if code is None:
        check_policy(fields, size=size, now=NOW)
        return
    with pytest.raises(PolicyRefusedError) as refused:
        check_policy(fields, size=size, now=NOW)
    assert refused.value.code == code
