"""all-MiniLM-L6-v2 as ONNX nodes: safetensors in, a sentence embedding out, with no torch on the way.

The architecture is BERT (Devlin et al. 2018) with 6 layers of 384; names of the weights are those of Hugging Face's
BertModel. Pooling is the model's own: the mean over real tokens, scaled to length 1 (Reimers and Gurevych 2019).
"""

from dataclasses import dataclass

import numpy as np

from endpoints.building.graph import Graph

LAYERS = 6
HIDDEN = 384
HEADS = 12
HEAD_SIZE = HIDDEN // HEADS
POSITIONS_MAX = 512  # rows of the position table: the longest text the encoder can see, in tokens
NORM_EPSILON = 1e-12
MASKED = np.float32(-1e9)  # exp of it is 0 in every precision: padding takes no attention at all
LENGTH_MIN = np.float32(1e-9)  # keeps the division by a vector's length finite


@dataclass(frozen=True, slots=True)
class EncoderInputs:
    """Names of the tensors that the encoder reads.

    Attributes:
        input_ids: int64 [batch, sequence].
        mask: float32 [batch, sequence], 1 for a token and 0 for padding.
    """

    input_ids: str
    mask: str


def add_encoder(graph: Graph, weights: dict[str, np.ndarray], *, inputs: EncoderInputs) -> str:
    """Adds the encoder and its pooling to ``graph``.

    Args:
        graph: The graph to add to.
        weights: Tensors of model.safetensors by name, float32.
        inputs: What to read.

    Returns:
        The name of the sentence embedding, float32 [batch, 384] of length 1.
    """
    hidden = _embed(graph, weights, inputs)
    bias = graph.op("Mul", graph.op("Sub", graph.constant(np.float32(1)), inputs.mask), graph.constant(MASKED))
    bias = graph.op("Unsqueeze", bias, graph.constant(np.array([1, 2], np.int64)))  # [batch, 1, 1, sequence]
    for layer in range(LAYERS):
        hidden = _layer(graph, weights, f"encoder.layer.{layer}", hidden=hidden, bias=bias)
    return _pool(graph, hidden, inputs.mask)


def _embed(graph: Graph, weights: dict[str, np.ndarray], inputs: EncoderInputs) -> str:
    words = graph.op("Gather", graph.constant(weights["embeddings.word_embeddings.weight"]), inputs.input_ids)
    # Positions by Slice, not by Range and Gather: that pattern trips a fusion of ONNX Runtime 1.31.
    # The segment is always 0, so its row is part of the table.
    table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.slice(graph.op("Shape", inputs.input_ids), axis=0, start=1, stop=2)
    zero, first = graph.constant(np.array([0], np.int64)), graph.constant(np.array([0], np.int64))
    positions = graph.op("Slice", graph.constant(table), zero, length, first)
    return _norm(graph, weights, "embeddings.LayerNorm", graph.op("Add", words, positions))


def _layer(graph: Graph, weights: dict[str, np.ndarray], prefix: str, *, hidden: str, bias: str) -> str:
    attended = _attention(graph, weights, f"{prefix}.attention.self", hidden=hidden, bias=bias)
    attended = _dense(graph, weights, f"{prefix}.attention.output.dense", attended)
    hidden = _norm(graph, weights, f"{prefix}.attention.output.LayerNorm", graph.op("Add", attended, hidden))
    inner = _gelu(graph, _dense(graph, weights, f"{prefix}.intermediate.dense", hidden))
    outer = _dense(graph, weights, f"{prefix}.output.dense", inner)
    return _norm(graph, weights, f"{prefix}.output.LayerNorm", graph.op("Add", outer, hidden))


def _attention(graph: Graph, weights: dict[str, np.ndarray], prefix: str, *, hidden: str, bias: str) -> str:
    """Scaled dot-product attention over 12 heads; query, key and value come from one matrix product."""
    scale = np.float32(HEAD_SIZE**-0.5)  # folded into the query's weights: one node less for each layer
    parts = ("query", "key", "value")
    kernels = [weights[f"{prefix}.{part}.weight"].T for part in parts]
    offsets = [weights[f"{prefix}.{part}.bias"] for part in parts]
    kernels[0], offsets[0] = kernels[0] * scale, offsets[0] * scale
    joined = graph.op("MatMul", hidden, graph.constant(np.concatenate(kernels, axis=1)))
    joined = graph.op("Add", joined, graph.constant(np.concatenate(offsets)))
    split = graph.constant(np.array([HIDDEN] * 3, np.int64))
    query, key, value = (
        graph.reshape(part, 0, 0, HEADS, HEAD_SIZE) for part in graph.ops("Split", joined, split, outputs=3, axis=-1)
    )
    query = graph.op("Transpose", query, perm=[0, 2, 1, 3])
    key = graph.op("Transpose", key, perm=[0, 2, 3, 1])
    value = graph.op("Transpose", value, perm=[0, 2, 1, 3])
    scores = graph.op("Softmax", graph.op("Add", graph.op("MatMul", query, key), bias), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", scores, value), perm=[0, 2, 1, 3])
    return graph.reshape(mixed, 0, 0, HIDDEN)


def _dense(graph: Graph, weights: dict[str, np.ndarray], prefix: str, tensor: str) -> str:
    product = graph.op("MatMul", tensor, graph.constant(weights[f"{prefix}.weight"].T))
    return graph.op("Add", product, graph.constant(weights[f"{prefix}.bias"]))


def _norm(graph: Graph, weights: dict[str, np.ndarray], prefix: str, tensor: str) -> str:
    scale, offset = graph.constant(weights[f"{prefix}.weight"]), graph.constant(weights[f"{prefix}.bias"])
    return graph.op("LayerNormalization", tensor, scale, offset, axis=-1, epsilon=NORM_EPSILON)


def _gelu(graph: Graph, tensor: str) -> str:
    """The Gaussian error linear unit, in the shape that ONNX Runtime fuses into one kernel (opset 17 has no Gelu)."""
    error = graph.op("Erf", graph.op("Div", tensor, graph.constant(np.float32(2**0.5))))
    shifted = graph.op("Add", error, graph.constant(np.float32(1)))
    return graph.op("Mul", graph.op("Mul", tensor, shifted), graph.constant(np.float32(0.5)))


def _pool(graph: Graph, hidden: str, mask: str) -> str:
    column = graph.op("Unsqueeze", mask, graph.constant(np.array([2], np.int64)))
    axis = graph.constant(np.array([1], np.int64))
    total = graph.op("ReduceSum", graph.op("Mul", hidden, column), axis, keepdims=0)
    # The mean is the sum over a count, and the scaling to length 1 cancels the count: the sum alone is scaled.
    return scale_to_length_one(graph, total)


def scale_to_length_one(graph: Graph, tensor: str) -> str:
    """Divides each row by its Euclidean length."""
    length = graph.op("ReduceL2", tensor, axes=[-1], keepdims=1)
    return graph.op("Div", tensor, graph.op("Max", length, graph.constant(LENGTH_MIN)))
