"""SageMaker's errors as ours: which are the caller's, which go down the ladder."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from urllib3 import exceptions

from headrace import errors
from headrace.catalog import Endpoint
from headrace.declaration.compile import compile_catalog
from headrace.declaration.parse import parse_declaration
from headrace.inference import InferenceRequest
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.sagemaker_primary import SageMakerPrimary, failure_of_answer, failure_of_call
from tests.unit.headrace.declarations import DETECTION


def answered(code: str, **fields: Any) -> errors.HeadraceError:
    """What a service error becomes."""
    return failure_of_answer(code, json.dumps(fields).encode())


def model_error(status: int, message: Any = "") -> errors.HeadraceError:
    """What a container's own status becomes on the way."""
    return answered("ModelError", OriginalStatusCode=status, OriginalMessage=message)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ThrottlingException", errors.TargetThrottled),
        ("ServiceUnavailable", errors.TargetUnavailable),
        ("ModelNotReadyException:http://internal.amazon.com/coral/", errors.TargetUnavailable),
        ("ValidationError", errors.TargetUnavailable),
        ("SomethingNew", errors.TargetFaulted),
        ("", errors.TargetFaulted),
    ],
)
def test_each_service_error_has_its_place(code: str, expected: type[errors.HeadraceError]) -> None:
    """The kind decides what the ladder does next; a namespace behind the code does not matter."""
    assert type(answered(code)) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (500, errors.TargetFaulted),
        (503, errors.TargetUnavailable),
        (429, errors.TargetThrottled),
        (504, errors.AttemptTimedOut),
        (404, errors.TargetFaulted),
        (400, errors.InvalidRequest),
        (413, errors.PayloadTooLarge),
        (415, errors.UnsupportedMedia),
    ],
)
def test_each_status_of_a_model_has_its_place(status: int, expected: type[errors.HeadraceError]) -> None:
    """What the container said is the caller's to mend, or a failure of the target."""
    assert type(model_error(status)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.ReadTimeoutError(None, "x", "late"), errors.AttemptTimedOut),  # type: ignore[arg-type]
        (exceptions.ConnectTimeoutError("late"), errors.AttemptTimedOut),
        (exceptions.NewConnectionError(None, "refused"), errors.TargetUnavailable),  # type: ignore[arg-type]
        (exceptions.ProtocolError("closed"), errors.TargetUnavailable),
        (exceptions.SSLError("no"), errors.TargetUnavailable),
        (AttributeError("no credentials"), errors.TargetFaulted),
    ],
)
def test_each_failed_call_has_its_place(error: Exception, expected: type[errors.HeadraceError]) -> None:
    """A target that is late is told from one that is away."""
    assert type(failure_of_call(error)) is expected


def test_the_code_may_stand_in_the_body() -> None:
    """A proxy between us and SageMaker may drop the header."""
    assert type(failure_of_answer("", b'{"__type":"a#ThrottlingException"}')) is errors.TargetThrottled
    assert type(failure_of_answer("", b"<html>")) is errors.TargetFaulted
    assert type(failure_of_answer("", b"[]")) is errors.TargetFaulted


def test_a_models_own_refusal_keeps_its_code() -> None:
    """What our serving program says about an input reaches the caller, as a sentence."""
    body = json.dumps({"error": "the image is damaged", "code": "image_corrupt"})
    refusal = model_error(400, body)
    assert (refusal.code, refusal.message) == ("image_corrupt", "The image is damaged.")


@pytest.mark.parametrize(
    "body",
    [
        "",
        None,
        "PRIVATE",
        '{"error":"PRIVATE"}',
        '"PRIVATE"',
        '{"error":["PRIVATE"],"code":1}',
        json.dumps({"error": "PRIVATE" * 100, "code": "c"}),
    ],
)
def test_another_servers_words_are_not_passed_on(body: Any) -> None:
    """Text of unknown form may quote the input, so it is replaced."""
    refusal = model_error(400, body)
    assert "PRIVATE" not in refusal.message
    assert refusal.code == "input_refused"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "overloaded", errors.TargetSaturated),
        (503, "deadline_exceeded", errors.TargetSaturated),
        (503, "not_ready", errors.TargetUnavailable),
        (429, "overloaded", errors.TargetThrottled),
        (500, "model_failed", errors.TargetFaulted),
    ],
)
def test_a_full_endpoint_is_told_from_one_that_is_away(status: int, code: str, expected: type[Exception]) -> None:
    """Saturation is answered by asking less; only what never reached a model may be asked again."""
    assert type(model_error(status, json.dumps({"error": "x", "code": code}))) is expected


@dataclass
class Runtime:
    """Where requests end: what they said of their target is kept."""

    targets: list[dict[str, str]] = field(default_factory=list)

    def post(self, _path: object, _body: bytes, *, headers: dict[str, str], timeout_s: float) -> tuple[int, Any, bytes]:
        """An empty answer."""
        assert timeout_s
        self.targets.append({name: said for name, said in headers.items() if "target" in name or "component" in name})
        return 200, {"content-type": "application/json"}, b'{"model_name":"m","outputs":[]}'


class Primary(SageMakerPrimary):
    """The adapter before a made-up runtime."""

    _runtime = Runtime()  # type: ignore[assignment]


def _detection() -> Endpoint:
    declaration, problems = parse_declaration(DETECTION, source="endpoint.yaml")
    assert declaration is not None, problems
    return compile_catalog([declaration], {}).endpoint("detection")


def test_a_version_is_named_as_it_is_hosted() -> None:
    """A variant by the version's name, a component by its own, which is unique in the account; never both."""
    primary, endpoint = Primary(prefix="headrace-dev", calls=BoundedCalls()), _detection()
    for each in (endpoint, replace(endpoint, components=True)):
        primary.invoke(each, each.version("v2"), InferenceRequest(()), timeout_s=5.0, tier=5)
    assert Primary._runtime.targets == [
        {"x-amzn-sagemaker-target-variant": "v2"},
        {"x-amzn-sagemaker-inference-component": "headrace-dev-detection-v2"},
    ]
