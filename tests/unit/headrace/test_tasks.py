"""Task contracts: what is asked for, and which answers count as answers."""

import math
from typing import Any

import pytest

from headrace.catalog import Endpoint
from headrace.errors import InvalidAnswer, InvalidRequest, PayloadTooLarge, UnsupportedMedia
from headrace.inference import InferenceResponse, Tensor
from headrace.oip import bytes_elements
from headrace.tasks import object_detection, text_classification

JPEG = b"\xff\xd8\xff\xe0 picture"


def classified(probabilities: list[Any], labels: list[str], columns: int = 3) -> InferenceResponse:
    """A classifier's answer."""
    return InferenceResponse(
        outputs=(
            Tensor("label", "BYTES", (len(labels),), data=labels),
            Tensor("probabilities", "FP32", (len(probabilities) // columns, columns), data=probabilities),
        )
    )


def test_reads_classifications(sentiment: Endpoint) -> None:
    """Columns get the declared labels."""
    (answer,) = text_classification.read(classified([0.1, 0.2, 0.7], ["positive"]), endpoint=sentiment, items=1)
    assert (answer.label, answer.score) == ("positive", 0.7)
    assert answer.scores == {"negative": 0.1, "neutral": 0.2, "positive": 0.7}


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        ([0.1, 0.2], ["positive"]),
        ([0.1, 0.2, 0.7, 0.1, 0.2, 0.7], ["positive", "positive"]),
        ([0.1, 0.2, 0.2], ["positive"]),
        ([-0.5, 0.8, 0.7], ["neutral"]),
        ([math.nan, 0.5, 0.5], ["neutral"]),
        ([0.1, 0.2, 0.7], ["negative"]),
        ([0.1, 0.2, 0.7], ["ecstatic"]),
        ([0.1, 0.2, 0.7], []),
    ],
)
def test_refuses_what_is_no_distribution(probabilities: list[float], labels: list[str], sentiment: Endpoint) -> None:
    """Wrong counts, sums, ranges and labels are silent bad answers; here they are not silent."""
    columns = 2 if len(probabilities) == 2 else 3
    with pytest.raises(InvalidAnswer):
        text_classification.read(classified(probabilities, labels, columns), endpoint=sentiment, items=1)


@pytest.mark.parametrize(
    ("text", "code"), [("", "empty_text"), (" \t\n", "empty_text"), ("x" * 51, "text_too_long"), ("x" * 50, None)]
)
def test_texts_have_limits(text: str, code: str | None, sentiment: Endpoint) -> None:
    """Empty and overlong texts are refused with their index; the longest allowed one is not."""
    request = text_classification.request_for(["fine", text])
    if code is None:
        text_classification.check_texts(request.inputs[0], limits=sentiment.limits, path="input")
        return
    with pytest.raises(InvalidRequest) as refusal:
        text_classification.check_texts(request.inputs[0], limits=sentiment.limits, path="input")
    assert (refusal.value.code, refusal.value.field) == (code, "input[1]")


def test_text_must_be_utf8(sentiment: Endpoint) -> None:
    """Raw bytes that are no UTF-8 are refused before an endpoint sees them."""
    tensor = Tensor("text", "BYTES", (1,), raw=b"\x01\x00\x00\x00\xff")
    with pytest.raises(InvalidRequest, match="UTF-8"):
        text_classification.check_texts(tensor, limits=sentiment.limits, path="inputs[0].data")


def detected(
    boxes: list[list[float]], scores: list[float], labels: list[str], size: list[int] | None = None
) -> InferenceResponse:
    """A detector's answer in an image of 100 by 50."""
    return InferenceResponse(
        outputs=(
            Tensor("boxes", "FP32", (len(boxes), 4), data=[value for box in boxes for value in box]),
            Tensor("scores", "FP32", (len(scores),), data=list(scores)),
            Tensor("labels", "BYTES", (len(labels),), data=list(labels)),
            Tensor("size", "INT32", (2,), data=[100, 50] if size is None else size),
        )
    )


def test_reads_detections() -> None:
    """Boxes, scores and labels are joined; an image without objects is a good answer."""
    found = object_detection.read(detected([[0, 0, 100, 50]], [0.9], ["dog"]))
    assert found.objects == [object_detection.Detection("dog", 0.9, (0, 0, 100, 50))]
    assert object_detection.read(detected([], [], [])).objects == []


@pytest.mark.parametrize(
    "answer",
    [
        detected([[0, 0, 9, 9]], [0.9, 0.8], ["dog"]),
        detected([[0, 0, 9, 9]], [0.9], []),
        detected([[9, 0, 0, 9]], [0.9], ["dog"]),
        detected([[0, 0, 109, 9]], [0.9], ["dog"]),
        detected([[-9, 0, 9, 9]], [0.9], ["dog"]),
        detected([[0, 0, 9, math.inf]], [0.9], ["dog"]),
        detected([[0, 0, 9, 9]], [1.9], ["dog"]),
        detected([[0, 0, 9, 9]], [math.nan], ["dog"]),
        detected([], [], [], size=[0, 50]),
    ],
)
def test_refuses_what_is_no_detection(answer: InferenceResponse) -> None:
    """Counts that disagree and boxes or scores that cannot be are invalid answers."""
    with pytest.raises(InvalidAnswer):
        object_detection.read(answer)


def test_images_have_limits(detection: Endpoint) -> None:
    """Nothing, too much, and what is neither JPEG nor PNG are refused at the door."""
    limits = detection.limits
    object_detection.check_image(JPEG, limits=limits, path="image")
    for image, refusal in (
        (b"", InvalidRequest),
        (JPEG + b"x" * 1_000_000, PayloadTooLarge),
        (b"GIF89a", UnsupportedMedia),
    ):
        with pytest.raises(refusal):
            object_detection.check_image(image, limits=limits, path="image")


def test_an_image_travels_raw() -> None:
    """The request carries the image's own bytes and the caller's options."""
    request = object_detection.request_for(JPEG, threshold=0.5, max_detections=7)
    assert bytes_elements(request.inputs[0]) == [JPEG]
    assert request.parameters == {"threshold": 0.5, "max_detections": 7}


def test_an_image_in_json_is_base64() -> None:
    """A JSON tensor says so in its parameters; what is not base64 is refused."""
    tensor = Tensor("image", "BYTES", (1,), data=["/9j/4A=="], parameters={"content_type": "base64"})
    assert object_detection.wire_image(tensor, path="x").startswith(b"\xff\xd8\xff")
    with pytest.raises(InvalidRequest):
        object_detection.wire_image(
            Tensor("image", "BYTES", (1,), data=["*"], parameters={"content_type": "base64"}), path="x"
        )
