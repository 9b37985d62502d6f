"""What failure objects of asynchronous endpoints say, in whatever form they come."""

import json

import pytest

from headrace import errors
from headrace_aws.sagemaker_async import failure_of_object

OWN = json.dumps({"error": "the image is damaged", "code": "image_corrupt"})
WORDS = 'Received {side} error ({status}) from v1 with message "{message}". See the log group for more.'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps({"OriginalStatusCode": 500, "OriginalMessage": "x"}), errors.TargetFaulted),
        (json.dumps({"OriginalStatusCode": 400, "OriginalMessage": OWN}), errors.InvalidRequest),
        (WORDS.format(side="server", status=500, message="boom"), errors.TargetFaulted),
        (WORDS.format(side="client", status=413, message="big"), errors.PayloadTooLarge),
        (
            WORDS.format(side="server", status=503, message='{"error": "x", "code": "overloaded"}'),
            errors.TargetSaturated,
        ),
        ("Received server error (503) from v1", errors.TargetUnavailable),
        ("Your invocation timed out while waiting for a response", errors.AttemptTimedOut),
        ("The request expired", errors.AttemptTimedOut),
        ("Something else", errors.TargetFaulted),
        ("[1]", errors.TargetFaulted),
        ("", errors.TargetFaulted),
    ],
)
def test_each_failure_has_its_place(text: str, expected: type[errors.HeadraceError]) -> None:
    """The error's JSON or SageMaker's words decide; what is neither is a fault of the program."""
    assert type(failure_of_object(text.encode())) is expected


def test_a_models_own_refusal_keeps_its_code() -> None:
    """What our serving program says about an input reaches the caller in either form."""
    for text in (json.dumps({"OriginalStatusCode": 400, "OriginalMessage": OWN}), _words(OWN)):
        refusal = failure_of_object(text.encode())
        assert (refusal.code, refusal.message) == ("image_corrupt", "The image is damaged.")


@pytest.mark.parametrize("text", [b"\xff\xfe secret", b'{"secret": 1}', b"secret timed out"])
def test_nothing_of_a_failure_is_quoted(text: bytes) -> None:
    """Another server's words may hold the input."""
    assert "secret" not in failure_of_object(text).message


def _words(message: str) -> str:
    return WORDS.format(side="client", status=400, message=message)
