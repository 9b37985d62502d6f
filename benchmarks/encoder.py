"""A text encoder of MiniLM-L6's shape: 6 layers, width 384, 12 heads, feed-forward 1536, vocabulary 30,522, 32 tokens.

Masked mean pooling at the end. Source of the shape: the published configuration of sentence-transformers'
all-MiniLM-L6; of the structure: BERT (arXiv 1810.04805). 90 MB, 0.68 GFLOP a row.
"""

from __future__ import annotations

import numpy as np

from benchmarks.graph import Graph

LAYERS = 6
WIDTH = 384
HEADS = 12
FEED_FORWARD = 1536
VOCABULARY = 30_522
POSITIONS = 512
SEQUENCE = 32
_MASKED = -10_000.0


def encoder(*, seed: int) -> bytes:
    """The model with random weights: token ids and mask [rows, 32] in, one vector [rows, 384] out."""
    graph = Graph(seed=seed)
    mask = graph.add("Cast", "attention_mask", to=1)
    hidden = _embedded(graph)
    # [rows, 1, 1, tokens]: 0 where a token is, a large negative number where padding is.
    lifted = graph.add("Unsqueeze", mask, graph.integers(1, 2))
    absent = graph.add("Sub", graph.constant(np.array(1, dtype=np.float32)), lifted)
    bias = graph.add("Mul", absent, graph.constant(np.array(_MASKED, dtype=np.float32)))
    for _ in range(LAYERS):
        hidden = _layer(graph, hidden, bias)
    graph.rename(_pooled(graph, hidden, mask), "embedding")
    return graph.model(
        inputs=[("input_ids", "INT64", ["rows", SEQUENCE]), ("attention_mask", "INT64", ["rows", SEQUENCE])],
        outputs=[("embedding", "FP32", ["rows", WIDTH])],
    )


def _embedded(graph: Graph) -> str:
    words = graph.add("Gather", graph.weights(VOCABULARY, WIDTH), "input_ids", axis=0)
    # A slice of the table, not a range and a gather: ONNX Runtime 1.31's fusion of the latter fails on loading.
    places = graph.add(
        "Slice", graph.weights(POSITIONS, WIDTH), graph.integers(0), graph.integers(SEQUENCE), graph.integers(0)
    )
    kinds = graph.weights(WIDTH)
    return graph.normalised(graph.add("Add", graph.add("Add", words, places), kinds), WIDTH)


def _layer(graph: Graph, hidden: str, bias: str) -> str:
    attended = graph.linear(_attention(graph, hidden, bias), WIDTH, WIDTH)
    hidden = graph.normalised(graph.add("Add", attended, hidden), WIDTH)
    inner = graph.add("Gelu", graph.linear(hidden, WIDTH, FEED_FORWARD))
    return graph.normalised(graph.add("Add", graph.linear(inner, FEED_FORWARD, WIDTH), hidden), WIDTH)


def _attention(graph: Graph, hidden: str, bias: str) -> str:
    size = WIDTH // HEADS
    query, key, value = (_heads(graph, graph.linear(hidden, WIDTH, WIDTH), permutation) for permutation in _ORDERS)
    scaled = graph.add("Mul", graph.add("MatMul", query, key), graph.constant(np.array(size**-0.5, dtype=np.float32)))
    shares = graph.add("Softmax", graph.add("Add", scaled, bias), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    return graph.add("Reshape", mixed, graph.integers(0, 0, WIDTH))


_ORDERS = ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
"""How query, key (transposed for the product) and value are laid out by heads."""


def _heads(graph: Graph, source: str, permutation: tuple[int, ...]) -> str:
    split = graph.add("Reshape", source, graph.integers(0, 0, HEADS, WIDTH // HEADS))
    return graph.add("Transpose", split, perm=list(permutation))


def _pooled(graph: Graph, hidden: str, mask: str) -> str:
    weights = graph.add("Unsqueeze", mask, graph.integers(2))
    total = graph.add("ReduceSum", graph.add("Mul", hidden, weights), graph.integers(1), keepdims=0)
    count = graph.add("ReduceSum", mask, graph.integers(1), keepdims=1)
    return graph.add("Div", total, count)
