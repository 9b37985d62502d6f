"""Whether two answers say the same, and how sure an answer is: facts that hold for any answer."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference import InferenceResponse, Tensor
from headrace.oip import raw_bytes
from headrace.rollouts.agreement import AGREEMENT_MIN, agreement
from headrace.rollouts.sureness import confidence
from headrace.tasks.contracts import OBJECT_DETECTION, TABULAR_SCORING, TEXT_CLASSIFICATION
from headrace.tasks.object_detection import Detection, Detections
from headrace.tasks.text_classification import Classification

LABELS = st.sampled_from(["cat", "dog", "ø"])
COORDINATE = st.integers(0, 12).map(float)


def detected(objects: list[tuple[str, tuple[float, ...], float]], *, raw: bool = False) -> InferenceResponse:
    """A detector's answer: label, box and score of each object."""
    boxes = [value for _, box, _ in objects for value in box]
    scores = [score for *_, score in objects]
    labels = [label for label, *_ in objects]
    count = len(objects)
    if raw:
        return InferenceResponse(
            (
                Tensor("boxes", "FP32", (count, 4), raw=struct.pack(f"<{4 * count}f", *boxes)),
                Tensor("scores", "FP32", (count,), raw=struct.pack(f"<{count}f", *scores)),
                Tensor("labels", "BYTES", (count,), raw=raw_bytes([label.encode() for label in labels])),
                Tensor("size", "INT32", (2,), raw=struct.pack("<2i", 640, 480)),
            )
        )
    return InferenceResponse(
        (
            Tensor("boxes", "FP32", (count, 4), data=boxes),
            Tensor("scores", "FP32", (count,), data=scores),
            Tensor("labels", "BYTES", (count,), data=labels),
            Tensor("size", "INT32", (2,), data=[640, 480]),
        )
    )


def classified(labels: list[str], *, raw: bool = False) -> InferenceResponse:
    """A classifier's answer of which only the labels matter."""
    if raw:
        return InferenceResponse(
            (Tensor("label", "BYTES", (len(labels),), raw=raw_bytes([label.encode() for label in labels])),)
        )
    return InferenceResponse((Tensor("label", "BYTES", (len(labels),), data=labels),))


def numbers(values: list[Any], datatype: str = "FP32", name: str = "y") -> InferenceResponse:
    """An answer of one tensor."""
    return InferenceResponse((Tensor(name, datatype, (len(values),), data=values),))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[str, tuple[float, ...], float]:
    """An object somewhere in a small picture, so that overlaps, and equal ones, are common."""
    x, y, width, height = (draw(COORDINATE) for _ in range(4))
    return draw(LABELS), (x, y, x + width, y + height), draw(st.floats(0, 1, width=32))


ANSWERS = {
    OBJECT_DETECTION: st.lists(boxes(), max_size=6).flatmap(
        lambda objects: st.booleans().map(lambda raw: detected(objects, raw=raw))
    ),
    TEXT_CLASSIFICATION: st.lists(LABELS, max_size=5).flatmap(
        lambda labels: st.booleans().map(lambda raw: classified(labels, raw=raw))
    ),
    TABULAR_SCORING: st.one_of(
        st.lists(st.one_of(st.floats(), st.integers(-5, 5)), max_size=5).map(numbers),
        st.lists(st.integers(-3, 3), max_size=5).map(lambda values: numbers(values, "INT64")),
        st.lists(LABELS, max_size=5).map(lambda values: numbers(values, "BYTES")),
        st.lists(st.floats(width=16), max_size=5).map(
            lambda values: InferenceResponse(
                (Tensor("y", "FP16", (len(values),), raw=struct.pack(f"<{len(values)}e", *values)),)
            )
        ),
        st.lists(st.integers(0, 65_535), max_size=5).map(
            lambda values: InferenceResponse(
                (Tensor("y", "BF16", (len(values),), raw=struct.pack(f"<{len(values)}H", *values)),)
            )
        ),
    ),
}


@pytest.mark.parametrize("task", ANSWERS)
@given(data=st.data())
def test_agreement_is_symmetric_bounded_and_whole_for_the_same(task: str, data: st.DataObject) -> None:
    """It does not matter which version is the control, and an answer agrees with itself."""
    one, other = data.draw(ANSWERS[task]), data.draw(ANSWERS[task])
    found = agreement(task, one, other)
    assert 0.0 <= found <= 1.0
    assert found == agreement(task, other, one)
    assert agreement(task, one, one) == 1.0


@given(st.lists(boxes(), max_size=6))
def test_how_an_answer_travelled_does_not_matter(objects: list[tuple[str, tuple[float, ...], float]]) -> None:
    """Raw tensors and lists of the same values are the same answer."""
    assert agreement(OBJECT_DETECTION, detected(objects), detected(objects, raw=True)) == 1.0
    found = confidence(OBJECT_DETECTION, detected(objects))
    assert found == confidence(OBJECT_DETECTION, detected(objects, raw=True))


def test_boxes_are_matched_by_overlap_and_label() -> None:
    """F1: a box that moved a little is the same, one with another label or none at all is not."""
    cat, dog = ("cat", (0, 0, 10, 10), 0.9), ("dog", (20, 20, 30, 30), 0.8)
    moved = ("cat", (1, 0, 11, 10), 0.5)
    assert agreement(OBJECT_DETECTION, detected([cat, dog]), detected([dog, moved])) == 1.0
    assert agreement(OBJECT_DETECTION, detected([cat, dog]), detected([cat])) == pytest.approx(2 / 3)
    assert agreement(OBJECT_DETECTION, detected([cat]), detected([("dog", (0, 0, 10, 10), 0.9)])) == 0.0
    assert agreement(OBJECT_DETECTION, detected([cat]), detected([])) == 0.0
    assert agreement(OBJECT_DETECTION, detected([]), detected([])) == 1.0
    assert agreement(OBJECT_DETECTION, detected([cat]), detected([cat, cat])) == pytest.approx(2 / 3)


def test_labels_are_compared_text_by_text() -> None:
    """The share of texts with the same label."""
    assert agreement(TEXT_CLASSIFICATION, classified(["cat", "dog"]), classified(["cat", "cat"])) == 0.5
    assert agreement(TEXT_CLASSIFICATION, classified(["cat"]), classified(["cat", "cat"])) == 0.5


def test_tensors_are_compared_element_by_element() -> None:
    """Floats within a tolerance, all else exactly; another shape or datatype agrees nowhere."""
    assert agreement(TABULAR_SCORING, numbers([1.0, 2.0]), numbers([1.001, 3.0])) == 0.5
    assert agreement(TABULAR_SCORING, numbers([1, 2], "INT64"), numbers([1, 3], "INT64")) == 0.5
    assert agreement(TABULAR_SCORING, numbers([1.0]), numbers([1.0], "FP64")) == 0.0
    assert agreement(TABULAR_SCORING, numbers([1.0]), numbers([1.0], name="z")) == 0.0
    assert agreement(TABULAR_SCORING, numbers([1.0, 1.0]), numbers([1.0])) == 0.0


def test_an_answer_without_its_labels_is_compared_by_what_it_has() -> None:
    """A caller may ask for some outputs only."""
    some = InferenceResponse((Tensor("probabilities", "FP32", (1, 2), data=[0.25, 0.75]),))
    other = InferenceResponse((Tensor("probabilities", "FP32", (1, 2), data=[0.75, 0.25]),))
    assert agreement(TEXT_CLASSIFICATION, some, some) == 1.0
    assert agreement(TEXT_CLASSIFICATION, some, other) < AGREEMENT_MIN


def test_confidence_of_classifications() -> None:
    """The best label's score, the mean of the texts, whichever form the answer has."""
    values = [Classification("cat", 0.75, {}), Classification("dog", 0.5, {})]
    tensors = InferenceResponse((Tensor("probabilities", "FP32", (2, 2), data=[0.75, 0.25, 0.5, 0.5]),))
    assert confidence(TEXT_CLASSIFICATION, values) == confidence(TEXT_CLASSIFICATION, tensors) == 0.625
    assert confidence(TEXT_CLASSIFICATION, classified(["cat"])) is None
    assert confidence(TEXT_CLASSIFICATION, []) is None


def test_confidence_of_detections() -> None:
    """The highest score; an empty picture is the least sure answer there is."""
    found = Detections(1, 1, [Detection("cat", 0.25, (0, 0, 1, 1)), Detection("dog", 0.5, (0, 0, 1, 1))])
    assert confidence(OBJECT_DETECTION, found) == 0.5
    assert confidence(OBJECT_DETECTION, Detections(1, 1, [])) == 0.0
    assert confidence(OBJECT_DETECTION, detected([])) == 0.0


@given(ANSWERS[TABULAR_SCORING])
def test_tensors_without_a_meaning_are_not_sure_of_anything(answer: InferenceResponse) -> None:
    """Nobody declared which of their numbers is a confidence."""
    assert confidence(TABULAR_SCORING, answer) is None
