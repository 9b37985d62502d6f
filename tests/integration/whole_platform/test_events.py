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
    "create-file": 200,
    "list-files": 200,
    "create-batch-unknown-file": 404,
    "list-batches": 200,
    "get-unknown-batch": 404,
    "outcome-unknown-token": 400,
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
NOTIFY_LEAVES = {
    "unknown-job": [],
    "unknown-batch": [],
    "not-ours": ["059f36b4-87a3-44ab-83d2-661970000103"],
    "mixed-batch": ["059f36b4-87a3-44ab-83d2-661970000105"],
}
"""As above: what is not known any more is told to nobody."""
SHADOW_EVENTS = {"unknown-copy", "not-ours"}
"""Comparisons that cannot be made: nothing comes again."""
BATCH_START_BEGINS = {
    "csv": "failed",
    "multipart-gzip": "failed",
    "unknown-endpoint": "failed",
    "unknown-format": "failed",
    "empty": "failed",
    "outside": None,
}
"""By event, the state of the batch that its object began: this tenant was not allowed to, and a record says so."""
BATCH_STEPS = {
    "batch_plan/unknown-batch": {"method": "none", "shards_key": "", "shards": 0, "transform": None},
    "batch_score/unknown-batch": "score: UnknownTarget",
    "batch_finish/unknown-batch": "finish: UnknownTarget",
}
"""By event, what the step answers, or what it fails with."""
ROLLOUT_STEPS = {
    "unknown-rollout": "turn: UnknownTarget",
    "sweep": {"restarted": []},
    "alarm": {
        "endpoint": "detection",
        "version": "v2",
        "alarm": "headrace-local-detection/v2/errors",
        "rolled_back": False,
    },
}
"""By event, what the turn answers where nothing is rolled out, or what it fails with."""
FALLBACK_KEYS = {"cpu": "body", "rules": "body", "malformed-request": "refused"}


def test_every_event_has_its_expectation() -> None:
    """An event that no test knows would rot; here it fails."""
    names = {path.relative_to(EVENTS).with_suffix("").as_posix() for path in EVENTS.rglob("*.json")}
    known = {f"predict/{name}" for name in PREDICT_STATUSES} | {f"authorizer/{name}" for name in AUTHORIZER_REFUSES}
    known |= {f"job_run/{name}" for name in JOB_RUN_LEAVES} | {f"notify/{name}" for name in NOTIFY_LEAVES}
    known |= {f"batch_start/{name}" for name in BATCH_START_BEGINS} | set(BATCH_STEPS)
    known |= {f"shadow/{name}" for name in SHADOW_EVENTS} | {f"rollout_step/{name}" for name in ROLLOUT_STEPS}
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


@pytest.mark.parametrize(("name", "left"), NOTIFY_LEAVES.items(), ids=list(NOTIFY_LEAVES))
def test_notify(platform: Platform, name: str, left: list[str]) -> None:
    """The same of notices: only a message that is none of ours comes again, and ends in the dead letters."""
    failed, answer = invoke(platform, EVENTS / "notify" / f"{name}.json")
    assert not failed, answer
    assert [item["itemIdentifier"] for item in answer["batchItemFailures"]] == left


@pytest.mark.parametrize("name", sorted(SHADOW_EVENTS))
def test_shadow(platform: Platform, name: str) -> None:
    """A copy that is gone, and a message of another's, are let go."""
    failed, answer = invoke(platform, EVENTS / "shadow" / f"{name}.json")
    assert not failed, answer
    assert answer == {"batchItemFailures": []}


@pytest.mark.parametrize(("name", "expected"), ROLLOUT_STEPS.items(), ids=list(ROLLOUT_STEPS))
def test_rollout_step(platform: Platform, name: str, expected: Any) -> None:
    """A rollout that nobody knows has no turn; a sweep and an alarm find nothing to do where nothing is rolled out."""
    failed, answer = invoke(platform, EVENTS / "rollout_step" / f"{name}.json")
    assert failed is isinstance(expected, str)
    assert (answer["errorMessage"] if failed else answer) == expected


@pytest.mark.parametrize(("name", "state"), BATCH_START_BEGINS.items(), ids=list(BATCH_START_BEGINS))
def test_batch_start(platform: Platform, name: str, state: str | None) -> None:
    """An object below `incoming/` has one batch, however often its event comes; any other key has none."""
    answers = []
    for _ in range(2):
        failed, answer = invoke(platform, EVENTS / "batch_start" / f"{name}.json")
        assert not failed, answer
        answers.append(answer)
    assert answers[0] == answers[1]
    assert answers[0].get("state") == state
    assert ("batch_id" in answers[0]) is (state is not None)


@pytest.mark.parametrize(("name", "expected"), BATCH_STEPS.items(), ids=list(BATCH_STEPS))
def test_batch_steps(platform: Platform, name: str, expected: Any) -> None:
    """A batch that nobody knows has nothing to plan; to score or finish it fails, and says no more than which step."""
    failed, answer = invoke(platform, EVENTS / f"{name}.json")
    assert failed is isinstance(expected, str)
    assert (answer["errorMessage"] if failed else answer) == expected
