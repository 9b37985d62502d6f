"""How sure a model was of an answer, where its task says so: one number per request, from 0 to 1."""

from __future__ import annotations

from typing import Any

from headrace.inference import InferenceResponse, plain
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION
from headrace.tasks.object_detection import Detections
from headrace.tasks.text_classification import Classification


def confidence(task: str, answer: Any) -> float | None:
    """How sure the model was; None where the task's answer does not tell.

    Text classification: the score of the best label, the mean over the texts of one request. Object detection: the
    highest score, and 0 where nothing was found. Tensors whose meaning nobody declared: None.

    Args:
        task: the endpoint's.
        answer: what a route made of the response (classifications, detections), or the response itself, of which an
            output that was not asked for may be missing.
    """
    if isinstance(answer, InferenceResponse):
        return _of_tensors(task, answer)
    if isinstance(answer, Detections):
        return _bounded(max((found.score for found in answer.objects), default=0.0))
    if isinstance(answer, list) and answer and all(isinstance(each, Classification) for each in answer):
        return _bounded(sum(each.score for each in answer) / len(answer))
    return None


def _of_tensors(task: str, response: InferenceResponse) -> float | None:
    tensors = {tensor.name: tensor for tensor in plain(response).outputs}
    if task == OBJECT_DETECTION and "scores" in tensors:
        return _bounded(max(tensors["scores"].data or (), default=0.0))
    if task == TEXT_CLASSIFICATION and "probabilities" in tensors:
        rows = tensors["probabilities"]
        count, columns = (*rows.shape, 0, 0)[:2]
        if rows.data is None or len(rows.shape) != len(("texts", "labels")) or not count or not columns:
            return None
        best = [max(rows.data[at * columns : (at + 1) * columns]) for at in range(count)]
        return _bounded(sum(best) / count)
    return None


def _bounded(score: float) -> float:
    """Half-precision arithmetic may leave a score a hair above 1."""
    return max(0.0, min(1.0, score))
