"""YOLOv3-tiny from Darknet's own files to ONNX, with the box decoding in the graph.

The file formats are those of Darknet (Redmon): ``.cfg`` names the layers in order, ``.weights`` holds a header and then
each convolution's numbers as float32. Decoding is section 2.1 of "YOLOv3: An Incremental Improvement" (Redmon and
Farhadi 2018). Only element-wise IEEE arithmetic touches the weights, so every machine makes the same bytes.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from endpoints.building.graph import Graph

HEADER_BYTES = 20  # three int32 of version and one int64 of images seen, from version 0.2 on
VARIANCE_GUARD = np.float32(1e-6)  # Darknet adds it to the square root, not under it
LEAKY_SLOPE = 0.1
BOX_NUMBERS = 5  # x, y, width, height, objectness


@dataclass(frozen=True, slots=True)
class Section:
    """One ``[kind]`` of a cfg file and its options as written."""

    kind: str
    options: dict[str, str]

    def number(self, name: str, default: int = 0) -> int:
        """The option as an integer, or ``default`` where the file leaves it out."""
        return int(self.options.get(name, default))

    def numbers(self, name: str) -> list[int]:
        """The option as a list of integers."""
        return [int(part) for part in self.options[name].split(",")]


@dataclass(slots=True)
class _Conversion:
    graph: Graph
    side_px: int
    weights: np.ndarray
    taken: int = 0
    tensors: list[str] = field(default_factory=list)  # one a layer, as [route] counts them
    shapes: list[tuple[int, int]] = field(default_factory=list)  # (channels, side) of each
    boxes: list[str] = field(default_factory=list)
    scores: list[str] = field(default_factory=list)

    def take(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        if self.taken + count > self.weights.size:
            raise ValueError("the weights file is shorter than the cfg file says")
        part = self.weights[self.taken : self.taken + count]
        self.taken += count
        return part.reshape(shape)


def read_cfg(text: str) -> list[Section]:
    """Reads a cfg file; the first section is ``[net]``."""
    sections: list[Section] = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if line.startswith("["):
            sections.append(Section(line.strip("[]"), {}))
        elif line:
            name, value = line.split("=", 1)
            sections[-1].options[name.strip()] = value.strip()
    return sections


def convert(cfg: str, weights: bytes, *, side_px: int) -> Graph:
    """Makes the ONNX graph of a Darknet detector.

    Input ``images``: float32 [batch, 3, side, side], RGB from 0 to 1. Outputs ``boxes``: float32 [batch, N, 4] as
    x_min, y_min, x_max, y_max in pixels of the square, and ``scores``: float32 [batch, N, classes], objectness times
    class probability.

    Args:
        cfg: Text of the cfg file.
        weights: The weights file.
        side_px: Side of the square that the network sees: a multiple of 32.

    Raises:
        ValueError: A layer of an unknown kind, or weights that do not fit the cfg file.
    """
    sections = read_cfg(cfg)
    graph = Graph("darknet")
    work = _Conversion(graph, side_px, np.frombuffer(weights, "<f4", offset=HEADER_BYTES).astype(np.float32))
    channels = sections[0].number("channels")
    tensor = graph.input("images", np.float32, ("batch", channels, side_px, side_px))
    shape = (channels, side_px)
    for section in sections[1:]:
        tensor, shape = _add(work, section, tensor, shape)
        work.tensors.append(tensor)
        work.shapes.append(shape)
    if work.taken != work.weights.size:
        raise ValueError("the weights file is longer than the cfg file says")
    boxes, scores = (graph.op("Concat", *parts, axis=1) for parts in (work.boxes, work.scores))
    classes = next(section.number("classes") for section in sections if section.kind == "yolo")
    graph.output(boxes, "boxes", np.float32, ("batch", "candidates", 4))
    graph.output(scores, "scores", np.float32, ("batch", "candidates", classes))
    return graph


def _add(work: _Conversion, section: Section, tensor: str, shape: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    channels, side = shape
    match section.kind:
        case "convolutional":
            return _convolve(work, section, tensor, shape)
        case "maxpool":
            size, stride = section.number("size"), section.number("stride")
            # Darknet pads at the right and the bottom, and only the pool of stride 1 needs it for even sides.
            pads = [0, 0, size - 1, size - 1] if stride == 1 else [0, 0, 0, 0]
            pooled = work.graph.op("MaxPool", tensor, kernel_shape=[size, size], strides=[stride, stride], pads=pads)
            return pooled, (channels, side // stride)
        case "upsample":
            stride = section.number("stride")
            scales = work.graph.constant(np.array([1, 1, stride, stride], np.float32))
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return work.graph.op("Resize", tensor, "", scales, **how), (channels, side * stride)
        case "route":
            layers = [index if index >= 0 else len(work.tensors) + index for index in section.numbers("layers")]
            joined = sum(work.shapes[index][0] for index in layers), work.shapes[layers[0]][1]
            if len(layers) == 1:
                return work.tensors[layers[0]], joined
            return work.graph.op("Concat", *(work.tensors[index] for index in layers), axis=1), joined
        case "yolo":
            _decode(work, section, tensor, side)
            return tensor, shape
        case kind:
            raise ValueError(f"no conversion for a [{kind}] layer")


def _convolve(work: _Conversion, section: Section, tensor: str, shape: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    channels, side = shape
    filters, size, stride = section.number("filters"), section.number("size"), section.number("stride")
    bias = work.take(filters)
    if section.number("batch_normalize"):
        scale, mean, variance = work.take(filters), work.take(filters), work.take(filters)
        factor = scale / (np.sqrt(variance) + VARIANCE_GUARD)
        kernel = work.take(filters, channels, size, size) * factor[:, None, None, None]
        bias = bias - mean * factor
    else:
        kernel = work.take(filters, channels, size, size)
    pad = size // 2 if section.number("pad") else 0
    weights = (work.graph.constant(kernel), work.graph.constant(bias))
    window = {"kernel_shape": [size, size], "strides": [stride, stride], "pads": [pad] * 4}
    out = work.graph.op("Conv", tensor, *weights, **window)
    if section.options["activation"] == "leaky":
        out = work.graph.op("LeakyRelu", out, alpha=LEAKY_SLOPE)
    return out, (filters, side // stride)


def _decode(work: _Conversion, section: Section, tensor: str, side: int) -> None:
    """Turns one head's map into boxes and scores; rows run over anchors, then cells row by row."""
    graph, classes = work.graph, section.number("classes")
    sizes = list(pairwise(section.numbers("anchors")))[::2]
    anchors = np.array([sizes[index] for index in section.numbers("mask")], np.float32)
    stride = np.float32(work.side_px // side)
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(np.float32)
    corners = np.tile(cells, (len(anchors), 1)) * stride
    halves = np.repeat(anchors, side * side, axis=0) * np.float32(0.5)

    rows = graph.reshape(tensor, 0, len(anchors), BOX_NUMBERS + classes, side * side)
    rows = graph.reshape(graph.op("Transpose", rows, perm=[0, 1, 3, 2]), 0, -1, BOX_NUMBERS + classes)
    offset = graph.op("Sigmoid", graph.slice(rows, axis=2, start=0, stop=2))
    centre = graph.op("Add", graph.op("Mul", offset, graph.constant(stride)), graph.constant(corners))
    half = graph.op("Mul", graph.op("Exp", graph.slice(rows, axis=2, start=2, stop=4)), graph.constant(halves))
    work.boxes.append(graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2))
    objectness = graph.op("Sigmoid", graph.slice(rows, axis=2, start=4, stop=5))
    likely = graph.op("Sigmoid", graph.slice(rows, axis=2, start=5))
    work.scores.append(graph.op("Mul", objectness, likely))
