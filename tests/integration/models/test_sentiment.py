"""The sentiment artifacts on real sentences."""

import numpy as np
import pytest

from tests.integration.models.conftest import Load

pytestmark = pytest.mark.models

ACCURACY_TO_BEAT = 0.795  # TF-IDF of words and pairs with logistic regression, on all the training rows
SENTENCES = {
    "I love this airline, the crew was fantastic!": b"positive",
    "Thank you so much for the wonderful service!": b"positive",
    "Worst flight ever, three hours delayed and they lost my bag.": b"negative",
    "This is terrible customer service, nobody answers the phone.": b"negative",
    "Google says its driverless cars have driven 700,000 miles: http://t.co/x": b"neutral",
}
ODD = ["a", "\U0001f600", "\u200b", "word " * 2000, "\x00", "q\u0308" * 50, "ÄÖÜ 漢字 العربية"]


def texts(*items: str) -> dict[str, np.ndarray]:
    """A request of these texts."""
    return {"text": np.array([item.encode() for item in items], object)}


@pytest.mark.parametrize("version", ["v1", "lite"])
def test_real_sentences(load: Load, version: str) -> None:
    """Praise, complaint and news get the labels a reader would give them, with probabilities that sum to 1."""
    answer = load("sentiment", version).answer(texts(*SENTENCES))
    assert answer["label"].tolist() == list(SENTENCES.values())
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("version", ["v1", "lite"])
def test_the_measured_accuracy_beats_the_bar(load: Load, version: str) -> None:
    """The manifest's held-out accuracy is above that of the linear model on words, without near copies too."""
    metrics = load("sentiment", version).manifest["metrics"]
    assert metrics["n_test"] == 1_500
    assert metrics["accuracy"] > ACCURACY_TO_BEAT
    assert metrics["accuracy_without_near_copies"] > ACCURACY_TO_BEAT
    assert metrics["macro_f1"] > 0.74


@pytest.mark.parametrize("version", ["v1", "lite"])
def test_neighbours_change_nothing(load: Load, version: str) -> None:
    """A text alone and the same text beside a long one, padded and batched, have the same probabilities to 1e-4."""
    loaded = load("sentiment", version)
    items = [*SENTENCES, "delayed again and again " * 60]
    requests = [loaded.feeds(texts(item))[0] for item in items]
    together = loaded.run(loaded.model.collate(requests))["probabilities"]
    for row, feeds in enumerate(requests):
        np.testing.assert_allclose(loaded.run(feeds)["probabilities"][0], together[row], atol=1e-4)


@pytest.mark.parametrize("version", ["v1", "lite"])
def test_odd_texts_have_finite_answers(load: Load, version: str) -> None:
    """Emoji, control characters, other scripts and 2,000 words give finite probabilities."""
    answer = load("sentiment", version).answer(texts(*ODD))
    assert np.isfinite(answer["probabilities"]).all()
    assert answer["probabilities"].shape == (len(ODD), 3)
