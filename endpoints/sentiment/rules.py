"""The last rung of sentiment's ladder: VADER's word list and rules, when no model can answer.

VADER (Hutto and Gilbert 2014) gives a compound score from -1 to 1. Its authors call a text positive from 0.05 and
negative from -0.05. The probabilities here are made to agree with those two limits and to sharpen with the score; they
are not calibrated, and on complaints VADER is worse than always saying "negative": its answers are marked as degraded.
"""

import functools
import math
from typing import Any

LABELS = ("negative", "neutral", "positive")
COMPOUND_LIMIT = 0.05
STEEPNESS = 4.0  # at a score of ±1 the likeliest class has about 0.98


def answer(tensors: dict[str, list[Any]], parameters: dict[str, Any]) -> dict[str, list[Any]]:
    """Judges texts by rules alone.

    Args:
        tensors: ``text``, a list of strings.
        parameters: None are read.

    Returns:
        ``label``, a list of strings, and ``probabilities``, a list of rows: one a text, in the order of ``LABELS``.
        The nesting of a list is its tensor's shape.
    """
    del parameters
    rows = [_probabilities(_analyser().polarity_scores(text)["compound"]) for text in tensors["text"]]
    return {
        "label": [LABELS[row.index(max(row))] for row in rows],
        "probabilities": rows,
    }


def _probabilities(compound: float) -> list[float]:
    """A softmax over (-score, limit, score): neutral is likeliest exactly while the score is between the two limits."""
    weights = [math.exp(STEEPNESS * value) for value in (-compound, COMPOUND_LIMIT, compound)]
    return [weight / sum(weights) for weight in weights]


@functools.cache
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # noqa: PLC0415 - slow to import

    return SentimentIntensityAnalyzer()
