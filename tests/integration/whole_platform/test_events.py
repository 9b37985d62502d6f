"""Every recorded event through the real function, in the real runtime, over the real models."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.whole_platform.conftest import ROOT, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(240)]

EVENTS = ROOT / "events"
PREDICT_STATUSES = {
    "classify": 200,
    "classify-batch": 200,
    "classify-pinned": 200,
    "classify-duplicate-key": 400,
    "classify-forbidden": 403,
    "classify-unknown-model": 404,
    "detect-corrupt-image": 400,
    "detect-wrong-type": 415,
    "list-models": 200,
    "route": 200,
    "infer": 200,
    "model-metadata": 200,
    "healthz": 200,
    "openapi": 200,
    "no-identity": 401,
    "no-such-path": 404,
}
AUTHORIZER_REFUSES = {
    *("no-key", "unknown-key", "malformed-key"),
    *("unsigned-token", "unknown-issuer-token", "huge-token"),
}
JOB_RUN_LEAVES = {
    "unknown-job": [],
    "not-ours": ["059f36b4-87a3-44ab-83d2-661970000002"],
    "mixed-batch": ["059f36b4-87a3-44ab-83d2-661970000004"],
}
"""By event, the messages that are to be delivered again: a job that is not known any more is no reason."""
FALLBACK_KEYS = {"cpu": "body", "rules": "body", "malformed-request": "refused"}


def test_every_event_has_its_expectation() -> None:
    """An event that no test knows would rot; here it fails."""
    names = {path.relative_to(EVENTS).with_suffix("").as_posix() for path in EVENTS.rglob("*.json")}
    known = {f"predict/{name}" for name in PREDICT_STATUSES} | {f"authorizer/{name}" for name in AUTHORIZER_REFUSES}
    known |= {f"job_run/{name}" for name in JOB_RUN_LEAVES}
    assert names == known | {f"fallback/{name}" for name in FALLBACK_KEYS}


def invoke(platform: Platform, event: Path) -> tuple[bool, Any]:
    """Whether the function failed, and what it answered."""
    answer = platform.client("lambda").invoke(
        FunctionName=f"headrace-local-{event.parent.name}", Payload=event.read_bytes()
    )
    return "FunctionError" in answer, json.loads(answer["Payload"].read())


@pytest.mark.parametrize(("name", "status"), PREDICT_STATUSES.items(), ids=list(PREDICT_STATUSES))
def test_predict(platform: Platform, name: str, status: int) -> None:
    """Each event gets its status, a request id, and, when it is refused, a stable code."""
    failed, answer = invoke(platform, EVENTS / "predict" / f"{name}.json")
    assert not failed, answer
    assert answer["statusCode"] == status, answer
    assert answer["headers"]["x-request-id"]
    if status >= 400:
        assert json.loads(answer["body"])["error"]["code"]


@pytest.mark.parametrize("name", sorted(AUTHORIZER_REFUSES))
def test_authorizer(platform: Platform, name: str) -> None:
    """No key, an unknown one, and tokens that nobody we know signed are refused in API Gateway's one word."""
    failed, answer = invoke(platform, EVENTS / "authorizer" / f"{name}.json")
    assert failed
    assert answer["errorMessage"] == "Unauthorized"


@pytest.mark.parametrize(("name", "key"), FALLBACK_KEYS.items(), ids=list(FALLBACK_KEYS))
def test_fallback(platform: Platform, name: str, key: str) -> None:
    """The small model and the rules answer with the task's tensors; a malformed request is the caller's to mend."""
    failed, answer = invoke(platform, EVENTS / "fallback" / f"{name}.json")
    assert not failed, answer
    assert key in answer
    if key == "body":
        outputs = {output["name"]: output for output in json.loads(base64.b64decode(answer["body"]))["outputs"]}
        assert outputs["label"]["data"][0] == "positive"
        assert outputs["probabilities"]["shape"] == [outputs["label"]["shape"][0], 3]


@pytest.mark.parametrize(("name", "left"), JOB_RUN_LEAVES.items(), ids=list(JOB_RUN_LEAVES))
def test_job_run(platform: Platform, name: str, left: list[str]) -> None:
    """Of a batch, exactly the messages that must come again are named; the function itself does not fail."""
    failed, answer = invoke(platform, EVENTS / "job_run" / f"{name}.json")
    assert not failed, answer
    assert [item["itemIdentifier"] for item in answer["batchItemFailures"]] == left
