"""Text classification: texts in; for each the best label and the probability of every label."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.catalog import Endpoint, Limits
from headrace.errors import InvalidAnswer, InvalidRequest
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.oip import bytes_elements
from headrace.tensors import BYTES

PROBABILITY_SUM_TOLERANCE = 0.01
"""Room for half-precision arithmetic; an answer beyond it is not a distribution."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one text. `scores` are in the order of the declared labels and sum to 1."""

    label: str
    score: float
    scores: dict[str, float]


def request_for(texts: list[str]) -> InferenceRequest:
    """The tensors that ask for these texts."""
    return InferenceRequest(inputs=(Tensor("text", BYTES, (len(texts),), data=list(texts)),))


def check_texts(tensor: Tensor, *, limits: Limits, path: str) -> None:
    """Hold texts against their limits.

    Raises:
        InvalidRequest: one is empty, too long or not UTF-8; the field says which.
    """
    for index, element in enumerate(bytes_elements(tensor)):
        field = f"{path}[{index}]"
        try:
            text = element.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("Text must be UTF-8.", code="invalid_utf8", field=field) from None
        if not text.strip():
            raise InvalidRequest("Text must not be empty.", code="empty_text", field=field)
        if limits.max_text_chars is not None and len(text) > limits.max_text_chars:
            raise InvalidRequest(
                f"Text may have at most {limits.max_text_chars} characters.", code="text_too_long", field=field
            )


def read(response: InferenceResponse, *, endpoint: Endpoint, items: int) -> list[Classification]:
    """The answers in a response, one per text.

    Raises:
        InvalidAnswer: the tensors are not distributions over the declared labels, one row per text.
    """
    labels, columns = endpoint.labels, len(endpoint.labels)
    probabilities = response.output("probabilities")
    named = response.output("label")
    if probabilities.shape != (items, columns) or named.shape != (items,) or probabilities.data is None:
        raise InvalidAnswer("The answer does not have one row per text and one column per label.")
    answers: list[Classification] = []
    for index, label in enumerate(bytes_elements(named)):
        row = probabilities.data[index * columns : (index + 1) * columns]
        if not all(math.isfinite(p) and 0 <= p <= 1 + PROBABILITY_SUM_TOLERANCE for p in row):
            raise InvalidAnswer("A probability is outside 0 to 1.")
        if abs(sum(row) - 1) > PROBABILITY_SUM_TOLERANCE:
            raise InvalidAnswer("The probabilities of a text do not sum to 1.")
        best = max(range(columns), key=row.__getitem__)
        if label.decode(errors="replace") not in labels or row[labels.index(label.decode())] < row[best]:
            raise InvalidAnswer("The label is not the most probable one.")
        answers.append(Classification(label.decode(), row[best], dict(zip(labels, row, strict=True))))
    return answers
