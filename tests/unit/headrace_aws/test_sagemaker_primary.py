"""SageMaker's errors as ours: which are the caller's, which go down the ladder."""

import json
from typing import Any

import pytest
from botocore import exceptions

from headrace import errors
from headrace_aws.sagemaker_primary import translate


def response(code: str, **fields: Any) -> exceptions.ClientError:
    """A service error."""
    return exceptions.ClientError({"Error": {"Code": code, "Message": "m"}, **fields}, "InvokeEndpoint")  # type: ignore[typeddict-item]


def model_error(status: int, message: str = "") -> exceptions.ClientError:
    """What a container's own status becomes on the way."""
    return response("ModelError", OriginalStatusCode=status, OriginalMessage=message)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (response("ThrottlingException"), errors.TargetThrottled),
        (response("ServiceUnavailable"), errors.TargetUnavailable),
        (response("ModelNotReadyException"), errors.TargetUnavailable),
        (response("ValidationError"), errors.TargetUnavailable),
        (response("SomethingNew"), errors.TargetFaulted),
        (model_error(500), errors.TargetFaulted),
        (model_error(503), errors.TargetUnavailable),
        (model_error(429), errors.TargetThrottled),
        (model_error(504), errors.AttemptTimedOut),
        (model_error(404), errors.TargetFaulted),
        (model_error(400), errors.InvalidRequest),
        (model_error(413), errors.PayloadTooLarge),
        (model_error(415), errors.UnsupportedMedia),
        (exceptions.ReadTimeoutError(endpoint_url="x"), errors.AttemptTimedOut),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), errors.AttemptTimedOut),
        (exceptions.EndpointConnectionError(endpoint_url="x"), errors.TargetUnavailable),
        (exceptions.ConnectionClosedError(endpoint_url="x"), errors.TargetUnavailable),
        (exceptions.NoCredentialsError(), errors.TargetFaulted),
    ],
)
def test_each_error_has_its_place(error: Exception, expected: type[errors.HeadraceError]) -> None:
    """The kind decides what the ladder does next."""
    assert type(translate(error)) is expected


def test_a_models_own_refusal_keeps_its_code() -> None:
    """What our serving program says about an input reaches the caller."""
    body = json.dumps({"error": "The image cannot be decoded.", "code": "image_corrupt"})
    refusal = translate(model_error(400, body))
    assert (refusal.code, refusal.message) == ("image_corrupt", "The image cannot be decoded.")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "PRIVATE",
        '{"error":"PRIVATE"}',
        '"PRIVATE"',
        '{"error":["PRIVATE"],"code":1}',
        '{"error":"%s","code":"c"}' % ("PRIVATE" * 100),
    ],
)
def test_another_servers_words_are_not_passed_on(body: str) -> None:
    """Text of unknown form may quote the input, so it is replaced."""
    refusal = translate(model_error(400, body))
    assert "PRIVATE" not in refusal.message
    assert refusal.code == "input_refused"
