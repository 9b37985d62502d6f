"""Sentiment's training data and its bag of word pieces."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

from endpoints.building.graph import Graph
from endpoints.sentiment import bag, corpus, rules
from endpoints.sentiment.model import pad

CSV = """sentiment,confidence,text
negative,0.7,Bad  flight
positive,1,GREAT crew
negative,1,bad flight
neutral,0.64,unsure
neutral,,blank
neutral,0.65,Gate B4
"""


def test_only_sure_rows_and_each_text_once() -> None:
    """Unsure rows, blank confidences and copies that differ in case or spacing are left out; the first label stays."""
    tweets = corpus.read_tweets(CSV.encode())
    assert tweets.texts == ("Bad  flight", "Gate B4", "GREAT crew")
    assert tweets.labels.tolist() == [0, 1, 2]


def test_broken_encoding_is_read() -> None:
    """Bytes that are not UTF-8 become replacement characters instead of an error."""
    tweets = corpus.read_tweets(b"sentiment,confidence,text\nnegative,1,caf\xe9 closed\n")
    assert tweets.texts == ("caf\ufffd closed",)


def test_the_split_is_disjoint_and_stable() -> None:
    """Training and test rows share nothing, make up everything, and are the same at every call."""
    tweets = corpus.Tweets(tuple(f"text {row}" for row in range(2_000)), np.arange(2_000) % 3)
    train, test = corpus.split(tweets)
    assert len(test.texts) == corpus.TEST_ROWS
    assert set(train.texts) | set(test.texts) == set(tweets.texts)
    assert not set(train.texts) & set(test.texts)
    assert corpus.split(tweets)[1].texts == test.texts


def test_near_copies_are_found() -> None:
    """A retweet with another link counts as a twin of the original."""
    train = corpus.Tweets(("RT @a: great phone! http://t.co/x",), np.array([2]))
    test = corpus.Tweets(("great phone http://t.co/y", "another phone"), np.array([2, 1]))
    assert corpus.unlike(test, train).tolist() == [False, True]


def session_of(fitted: bag.Bag, path: Path) -> ort.InferenceSession:
    """The bag as a graph of its own."""
    graph = Graph("bag")
    ids = graph.input("input_ids", np.int64, ("batch", "sequence"))
    mask = graph.op("Cast", graph.input("attention_mask", np.int64, ("batch", "sequence")), to=TensorProto.FLOAT)
    graph.output(bag.add_bag(graph, fitted, input_ids=ids, mask=mask), "p", np.float32, ("batch", 3))
    graph.save(path)
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_bag_in_the_graph_is_the_bag_that_was_fitted(tmp_path: Path) -> None:
    """The ONNX nodes give what the sum over table rows gives, padding changes nothing, and an empty bag answers."""
    random = np.random.default_rng(3)
    encoded = [[101, *random.integers(1000, 1100, random.integers(1, 12)).tolist(), 102] for _ in range(60)]
    fitted = bag.fit(encoded, np.arange(60) % 3)
    session = session_of(fitted, tmp_path / "bag.onnx")
    together = session.run(None, pad(encoded))[0]
    for row, ids_of_row in enumerate(encoded):
        total = fitted.table[bag.rows_of(ids_of_row)].astype(np.float64).sum(axis=0)
        logits = total[:-1] / np.sqrt(total[-1]) + fitted.intercept
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(together[row], expected, atol=1e-5)
        np.testing.assert_allclose(session.run(None, pad([ids_of_row]))[0][0], together[row], atol=1e-6)
    assert np.isfinite(session.run(None, pad([[101, 102]]))[0]).all()


def test_rules_agree_with_their_limits() -> None:
    """VADER's praise, complaint and plain statement get the three labels, and each row's probabilities sum to 1."""
    answer = rules.answer({"text": ["I love it, wonderful!", "Horrible, I hate it.", "The gate is B4."]}, {})
    assert answer["label"] == ["positive", "negative", "neutral"]
    rows = np.array(answer["probabilities"]).reshape(3, 3)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    assert rows.argmax(axis=1).tolist() == [2, 0, 1]
