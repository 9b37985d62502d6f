"""Whether two versions said the same to one input: a number from 0 to 1, the same whichever of them is named first."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from headrace.inference import InferenceResponse, Tensor
from headrace.oip import bytes_elements
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION
from headrace.tensors import BYTES, element_count

AGREEMENT_MIN = 0.5
"""Below this two answers count as different (`disagreed`)."""
IOU_MIN = 0.5
"""Two boxes that overlap so much show one object (intersection over union; PASCAL VOC, Everingham et al. 2010)."""
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 0.01, 0.001
"""Numbers of tensors without a declared meaning that differ by no more are the same."""
_FORMATS = {
    "BOOL": "?",
    "INT8": "b",
    "UINT8": "B",
    "INT16": "h",
    "UINT16": "H",
    "INT32": "i",
    "UINT32": "I",
    "INT64": "q",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}

Box = Sequence[float]


def agreement(task: str, control: InferenceResponse, canary: InferenceResponse) -> float:
    """How far two answers to one input agree; symmetric, and 1 for an answer and itself.

    Text classification: the share of texts that got the same label. Object detection: the F1 of boxes with the same
    label, matched from the greatest overlap down (`IOU_MIN`); 1 where neither found anything. Other tensors, and
    answers of which the needed outputs were not asked for: the share of elements that are the same.

    Args:
        task: the endpoint's.
        control: an answer that holds by itself, its tensors as lists or raw.
        canary: another.
    """
    if task == TEXT_CLASSIFICATION and (labels := _both(control, canary, "label")):
        one, other = (bytes_elements(tensor) for tensor in labels)
        return _share(sum(a == b for a, b in zip(one, other, strict=False)), max(len(one), len(other)))
    if task == OBJECT_DETECTION:
        boxes, names = _both(control, canary, "boxes"), _both(control, canary, "labels")
        if boxes and names:
            ones, others = (
                list(zip(bytes_elements(name), _rows(box), strict=False))
                for name, box in zip(names, boxes, strict=True)
            )
            return _share(2 * _matches(ones, others), len(ones) + len(others))
    return _same_elements(control, canary)


def _both(one: InferenceResponse, other: InferenceResponse, name: str) -> tuple[Tensor, Tensor] | None:
    found = [tensor for response in (one, other) for tensor in response.outputs if tensor.name == name]
    return (found[0], found[1]) if len(found) == len(("one", "other")) else None


def _rows(boxes: Tensor) -> list[Box]:
    values = _elements(boxes)
    return [values[at : at + 4] for at in range(0, len(values), 4)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _matches(ones: Sequence[tuple[bytes, Box]], others: Sequence[tuple[bytes, Box]]) -> int:
    """How many objects both found. Equal overlaps are taken in an order that does not change when arms are swapped."""
    pairs = [
        (-overlap, i + j, abs(i - j), i, j)
        for i, (label, box) in enumerate(ones)
        for j, (name, there) in enumerate(others)
        if label == name and (overlap := _iou(box, there)) >= IOU_MIN
    ]
    taken, matched = set[int](), set[int]()
    for *_, i, j in sorted(pairs):
        if i not in taken and j not in matched:
            taken.add(i)
            matched.add(j)
    return len(taken)


def _iou(one: Box, other: Box) -> float:
    if tuple(one) == tuple(other):
        return 1.0  # a box without area, too, is the same as itself
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(one) + _area(other) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _same_elements(one: InferenceResponse, other: InferenceResponse) -> float:
    left, right = ({tensor.name: tensor for tensor in response.outputs} for response in (one, other))
    same = whole = 0
    for name in {*left, *right}:
        a, b = left.get(name), right.get(name)
        whole += max(1, *(element_count(tensor.shape) for tensor in (a, b) if tensor is not None), 0)
        if a is None or b is None or a.datatype != b.datatype or a.shape != b.shape:
            continue
        if not element_count(a.shape):
            same += 1  # nothing, and the same nothing
            continue
        same += sum(map(_close, _elements(a), _elements(b)))
    return _share(same, whole)


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        both_no_number = math.isnan(one) and math.isnan(other)
        return both_no_number or math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return bool(one == other)


def _elements(tensor: Tensor) -> Sequence[Any]:
    if tensor.datatype == BYTES:
        return bytes_elements(tensor)
    floating = tensor.datatype.startswith(("FP", "BF"))
    if tensor.raw is None:
        # JSON writes 1.0 as 1 where it pleases: what the datatype says counts.
        return [float(value) for value in tensor.data or ()] if floating else tensor.data or []
    if tensor.datatype == "BF16":  # the upper half of an FP32
        halves = struct.unpack(f"<{len(tensor.raw) // 2}H", tensor.raw)
        return struct.unpack(f"<{len(halves)}f", b"".join(struct.pack("<I", half << 16) for half in halves))
    return struct.unpack(f"<{element_count(tensor.shape)}{_FORMATS[tensor.datatype]}", tensor.raw)
