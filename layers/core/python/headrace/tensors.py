"""Tensors by name, datatype and shape, as the Open Inference Protocol speaks of them.

Source: Open Inference Protocol, REST, "Tensor Data Types" (kserve/open-inference-protocol).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BYTES = "BYTES"
DATATYPE_SIZES: dict[str, int] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Bytes per element; BYTES elements carry their own length."""

DATATYPES = frozenset({*DATATYPE_SIZES, BYTES})
FREE = -1
"""A dimension that the caller chooses."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor of a signature. `shape` has `FREE` where the caller chooses."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether `shape` has this rank and agrees wherever the dimension is fixed."""
        return len(shape) == len(self.shape) and all(
            want in (FREE, have) for want, have in zip(self.shape, shape, strict=True)
        )


def element_count(shape: tuple[int, ...]) -> int:
    """Number of elements of a concrete shape; a scalar has one."""
    return math.prod(shape)
