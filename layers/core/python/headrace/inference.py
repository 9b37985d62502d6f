"""Open Inference Protocol requests and responses as values, with the checks that both directions share.

Values stay in pure Python: the gateway moves tensors, it does not compute with them, and importing an array library
would double its cold start. A tensor holds either a flat list (from JSON) or raw little-endian bytes (from the binary
extension), never both.

Sources: kserve/open-inference-protocol `inference_rest.md`; Triton's binary tensor data extension.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.errors import InvalidAnswer, InvalidRequest
from headrace.tensors import BYTES, DATATYPE_SIZES, TensorSpec, element_count

TENSORS_MAX = 64
NAME_MAX_CHARS = 256
DIMENSIONS_MAX = 8

_FORMATS = {"FP32": "f", "FP64": "d", "INT32": "i", "INT64": "q"}
_FLOATS = frozenset({"FP32", "FP64"})
_INTEGER_BITS = {"8": 8, "16": 16, "32": 32, "64": 64}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor by value. `data` is flat, in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | None = None
    raw: bytes | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What goes to an endpoint. `outputs` are the ones asked for, as the protocol writes them; none means all."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[dict[str, Any], ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def has_raw(self) -> bool:
        """Whether any input travels in the binary extension."""
        return any(tensor.raw is not None for tensor in self.inputs)


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """What an endpoint answered."""

    outputs: tuple[Tensor, ...]
    model_version: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def output(self, name: str) -> Tensor:
        """The output called `name`.

        Raises:
            KeyError: there is none.
        """
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise KeyError(name)


def check_inputs(request: InferenceRequest, specs: tuple[TensorSpec, ...], *, items_max: int) -> None:
    """Hold a caller's tensors against the signature, before anything is queued for them.

    Raises:
        InvalidRequest: with the path of the first tensor that does not fit.
    """
    wanted = {spec.name: spec for spec in specs}
    seen: set[str] = set()
    for index, tensor in enumerate(request.inputs):
        path = f"inputs[{index}]"
        spec = wanted.get(tensor.name)
        if spec is None or tensor.name in seen:
            raise InvalidRequest(
                f"Send each of these inputs once and no other: {', '.join(wanted)}.",
                code="unexpected_input",
                field=f"{path}.name",
            )
        seen.add(tensor.name)
        if tensor.datatype != spec.datatype:
            raise InvalidRequest(
                f"The datatype must be {spec.datatype}.", code="wrong_datatype", field=f"{path}.datatype"
            )
        if not spec.admits(tensor.shape):
            raise InvalidRequest(
                f"The shape must be {list(spec.shape)}, where -1 stands for any size.",
                code="wrong_shape",
                field=f"{path}.shape",
            )
        if tensor.shape and not 1 <= tensor.shape[0] <= items_max:
            raise InvalidRequest(
                f"Send 1 to {items_max} items in one request.", code="too_many_items", field=f"{path}.shape[0]"
            )
    if missing := [name for name in wanted if name not in seen]:
        raise InvalidRequest(f"These inputs are missing: {', '.join(missing)}.", code="missing_input", field="inputs")


def check_outputs(response: InferenceResponse, specs: tuple[TensorSpec, ...], *, wanted: frozenset[str]) -> None:
    """Hold an answer's tensors against the signature. Their element counts were checked when they were read.

    Args:
        response: what a target answered.
        specs: the outputs that the task promises.
        wanted: the outputs asked for; all of them when empty.

    Raises:
        InvalidAnswer: one is missing, not promised, of another datatype or shape, or has a number that is not finite.
    """
    promised = {spec.name: spec for spec in specs if not wanted or spec.name in wanted}
    if [tensor.name for tensor in response.outputs if tensor.name not in promised]:
        raise InvalidAnswer("The answer has an output that the task does not promise.")
    for name, spec in promised.items():
        tensor = response.output(name)
        if tensor.datatype != spec.datatype or not spec.admits(tensor.shape):
            raise InvalidAnswer("An output differs from the task's signature.")
        if tensor.datatype in _FLOATS and not all(map(math.isfinite, _plain(tensor).data or ())):
            raise InvalidAnswer("An output holds what is not a number.")


def plain(response: InferenceResponse) -> InferenceResponse:
    """The same answer with its numbers as lists, so that its values can be judged.

    BYTES tensors and half-precision ones stay raw: no task's numbers come in either.
    """
    return replace(response, outputs=tuple(_plain(tensor) for tensor in response.outputs))


def _plain(tensor: Tensor) -> Tensor:
    if tensor.raw is None or tensor.datatype not in _FORMATS:
        return tensor
    values = struct.unpack(f"<{element_count(tensor.shape)}{_FORMATS[tensor.datatype]}", tensor.raw)
    return replace(tensor, data=list(values), raw=None)


def check_elements(tensor: Tensor, *, path: str) -> None:
    """Hold the elements of a tensor against its datatype and shape.

    Raises:
        InvalidRequest: the count or an element's type or range does not fit.
    """
    count = element_count(tensor.shape)
    if tensor.raw is not None:
        size = DATATYPE_SIZES.get(tensor.datatype)
        if (size is not None and len(tensor.raw) != count * size) or (
            size is None and _bytes_count(tensor.raw) != count
        ):
            raise InvalidRequest(
                "The binary data does not hold as many elements as the shape says.", code="wrong_data_size", field=path
            )
        return
    data = tensor.data or []
    if len(data) != count:
        raise InvalidRequest(
            f"The shape asks for {count} elements and data has {len(data)}.",
            code="wrong_data_size",
            field=f"{path}.data",
        )
    if not _fits(data, tensor.datatype):
        raise InvalidRequest(f"Every element must be {tensor.datatype}.", code="wrong_element", field=f"{path}.data")


def _fits(data: list[Any], datatype: str) -> bool:
    kinds = set(map(type, data))
    if datatype == BYTES:
        return kinds <= {str}
    if datatype == "BOOL":
        return kinds <= {bool}
    if datatype.startswith(("FP", "BF")):
        return kinds <= {int, float}
    if not kinds <= {int}:
        return False
    bits = _INTEGER_BITS[datatype.lstrip("UINT")]
    low, high = (0, (1 << bits) - 1) if datatype.startswith("U") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return not data or (min(data) >= low and max(data) <= high)


def _bytes_count(raw: bytes) -> int:
    """Elements of a raw BYTES tensor, each a 4-byte little-endian length and that many bytes; -1 when cut short."""
    position = count = 0
    while position < len(raw):
        if position + 4 > len(raw):
            return -1
        position += 4 + int.from_bytes(raw[position : position + 4], "little")
        count += 1
    return count if position == len(raw) else -1
