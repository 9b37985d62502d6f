"""A bag of hashed word pieces, once in numpy to fit it and once as ONNX nodes to serve it.

Single pieces keep their own row; pairs of neighbours share the rest of the table by hashing (Weinberger et al. 2009).
Rows are weighted by inverse document frequency and scaled by length, as TF-IDF is, and a linear model is fitted on
them. All of it runs on ``input_ids``, so one tokenizer serves the bag and the encoder.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from onnx import TensorProto
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from endpoints.building.graph import Graph

VOCABULARY = 30_522
TABLE = 1 << 18  # rows: word pieces first, then buckets of pairs
PAIR_PRIME = 1_000_003
SPECIAL = (101, 102)  # [CLS] and [SEP] are in every text and say nothing
INVERSE_PENALTY = 10.0  # of 2, 5 and 10 the best on 1,500 rows held out of the training rows
ITERATIONS_MAX = 100
LENGTH_MIN = np.float32(1e-9)


@dataclass(frozen=True, slots=True)
class Bag:
    """A fitted bag.

    Attributes:
        table: float32 [TABLE, classes + 1]: a row's part of each class's logit, and its part of the squared length.
        intercept: float32 [classes].
    """

    table: np.ndarray
    intercept: np.ndarray


def rows_of(ids: list[int]) -> np.ndarray:
    """Table rows of one text's tokens and pairs, int64; repeats stay."""
    pieces = np.array([token for token in ids if token not in SPECIAL], np.int64)
    pairs = VOCABULARY + (pieces[:-1] * PAIR_PRIME + pieces[1:]) % (TABLE - VOCABULARY)
    return np.concatenate([pieces, pairs])


def fit(encoded: list[list[int]], labels: np.ndarray) -> Bag:
    """Fits the linear model.

    Args:
        encoded: Token ids of each text, with [CLS] and [SEP].
        labels: Class indices, int64 [texts].
    """
    rows = [rows_of(ids) for ids in encoded]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    ones = np.ones(starts[-1], np.float32)
    counts = sp.csr_matrix((ones, np.concatenate(rows), starts), shape=(len(rows), TABLE))
    counts.sum_duplicates()
    seen_in = np.bincount(counts.indices, minlength=TABLE)
    weight = (np.log((1 + len(rows)) / (1 + seen_in)) + 1).astype(np.float32)
    squares = weight**2
    length = np.maximum(np.sqrt(counts @ squares), LENGTH_MIN)
    features = sp.csr_matrix(sp.diags_array(1 / length) @ counts @ sp.diags_array(weight), dtype=np.float32)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS_MAX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # further rounds take time and gain nothing
        model.fit(features, labels)
    parts = model.coef_.T.astype(np.float32) * weight[:, None]
    return Bag(np.concatenate([parts, squares[:, None]], axis=1), model.intercept_.astype(np.float32))


def add_bag(graph: Graph, bag: Bag, *, input_ids: str, mask: str) -> str:
    """Adds the bag to ``graph``.

    Args:
        graph: The graph to add to.
        bag: What was fitted.
        input_ids: int64 [batch, sequence].
        mask: float32 [batch, sequence], 1 for a token and 0 for padding.

    Returns:
        The name of the probabilities, float32 [batch, classes].
    """
    table = graph.constant(bag.table)
    for token in SPECIAL:
        special = graph.op("Cast", graph.op("Equal", input_ids, graph.constant(np.int64(token))), to=TensorProto.FLOAT)
        mask = graph.op("Mul", mask, graph.op("Sub", graph.constant(np.float32(1)), special))
    first, second = (graph.slice(input_ids, axis=1, start=0, stop=-1), graph.slice(input_ids, axis=1, start=1))
    code = graph.op("Add", graph.op("Mul", first, graph.constant(np.int64(PAIR_PRIME))), second)
    bucket = graph.op("Mod", code, graph.constant(np.int64(TABLE - VOCABULARY)))
    pairs = graph.op("Add", bucket, graph.constant(np.int64(VOCABULARY)))
    both = graph.op("Mul", graph.slice(mask, axis=1, start=0, stop=-1), graph.slice(mask, axis=1, start=1))
    rows = graph.op("Gather", table, graph.op("Concat", input_ids, pairs, axis=1))
    real = graph.op("Unsqueeze", graph.op("Concat", mask, both, axis=1), graph.constant(np.array([2], np.int64)))
    axis = graph.constant(np.array([1], np.int64))
    total = graph.op("ReduceSum", graph.op("Mul", rows, real), axis, keepdims=0)  # [batch, classes + 1]
    length = graph.op("Sqrt", graph.slice(total, axis=1, start=-1))
    scaled = graph.op(
        "Div", graph.slice(total, axis=1, start=0, stop=-1), graph.op("Max", length, graph.constant(LENGTH_MIN))
    )
    return graph.op("Softmax", graph.op("Add", scaled, graph.constant(bag.intercept)), axis=-1)
