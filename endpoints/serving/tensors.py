"""Decides whether a body is a well-formed inference request for this model, and turns it into numpy.

Everything is checked here, before anything is queued: names, datatypes, shapes, element counts, ranges. Messages
carry the field's path and what was expected of it, never a value of the caller's.

Source: Open Inference Protocol v2 (REST); the binary tensor data extension is Triton's
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import binascii
import math
import struct
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from endpoints.serving.datatypes import DATATYPES, Datatype, bf16_to_float32, float32_to_bf16, unpack_bytes
from endpoints.serving.errors import BadInput
from endpoints.serving.strict_json import count_keys, load_object, refuse_duplicates

DIMENSION_MAX = 2**31 - 1
ID_CHARS_MAX = 1_024
_REFUSED_PARAMETERS = ("shared_memory_region", "classification")
_INPUT_KEYS = frozenset(("name", "datatype", "shape", "data", "parameters"))
_REQUEST_KEYS = frozenset(("id", "inputs", "outputs", "parameters"))


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a model.

    Attributes:
        name: Tensor name.
        datatype: Its datatype.
        shape: Its shape; -1 where any size goes.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's public inputs and outputs.

    Attributes:
        inputs: Inputs by name, in order.
        outputs: Outputs by name, in order.
        as_json: All outputs, in the form of `InferenceRequest.outputs`: what a request that chooses nothing gets.
        as_raw: The same with every output as raw bytes.
    """

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    as_json: tuple[tuple[Port, bool], ...]
    as_raw: tuple[tuple[Port, bool], ...]

    @staticmethod
    def of(
        *, inputs: tuple[tuple[str, str, tuple[int, ...]], ...], outputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    ) -> Signature:
        """Build a signature from (name, datatype, shape) triples.

        Raises:
            KeyError: A datatype is unknown.
        """
        results = {name: Port(name, DATATYPES[kind], tuple(shape)) for name, kind, shape in outputs}
        return Signature(
            inputs={name: Port(name, DATATYPES[kind], tuple(shape)) for name, kind, shape in inputs},
            outputs=results,
            as_json=tuple((port, False) for port in results.values()),
            as_raw=tuple((port, True) for port in results.values()),
        )


class InferenceRequest:
    """A decoded request; a plain slotted class because one is made per request on the data path.

    Attributes:
        id: The caller's id to echo, or None.
        tensors: Input arrays by name; BYTES as object arrays of bytes.
        parameters: The request's parameters.
        outputs: Wanted outputs in order, each with whether it goes out as raw bytes.
    """

    __slots__ = ("id", "outputs", "parameters", "tensors")

    def __init__(
        self,
        id: str | None,  # noqa: A002 - the protocol's word
        tensors: dict[str, np.ndarray],
        parameters: dict[str, Any],
        outputs: tuple[tuple[Port, bool], ...],
    ) -> None:
        self.id = id
        self.tensors = tensors
        self.parameters = parameters
        self.outputs = outputs


def decode_request(body: bytes, *, signature: Signature, json_bytes: int | None = None) -> InferenceRequest:
    """Decode a request body.

    Args:
        body: The whole body, decompressed.
        signature: What the model takes.
        json_bytes: Length of the JSON part when raw tensors follow it (the binary extension), else None.

    Returns:
        The request, every tensor of the declared datatype and an allowed shape.

    Raises:
        BadInput: With the path of the first wrong field.
    """
    text = body
    tail: memoryview | None = None
    if json_bytes is not None:
        if not 0 < json_bytes <= len(body):
            raise BadInput(
                "The JSON header length must be between 1 and the body's length.", code="invalid_header_length"
            )
        text = body[:json_bytes]
        tail = memoryview(body)[json_bytes:]
    document = load_object(text)
    keys = len(document)
    entries = document.get("inputs")
    if type(entries) is not list or not entries:
        raise BadInput("inputs: must be a non-empty list of tensors.", code="missing_inputs")
    # Letters that no usual request holds: most bodies need no look for true and false among their numbers.
    booleans = b"r" in text or b"l" in text
    tensors: dict[str, np.ndarray] = {}
    for index, entry in enumerate(entries):
        if type(entry) is not dict:
            raise BadInput(f"inputs[{index}]: must be an object.")
        keys += len(entry)
        parameters = entry.get("parameters")
        if parameters is not None:
            keys += _check_parameters(parameters, path=f"inputs[{index}].parameters")
        if parameters is not None or len(entry) != 4:  # noqa: PLR2004 - name, datatype, shape, data: the usual input
            keys += sum(count_keys(value) for key, value in entry.items() if key not in _INPUT_KEYS)
        port = _port(entry, index=index, signature=signature, taken=tensors)
        shape = _shape(entry.get("shape"), port=port, index=index)
        if parameters and "binary_data_size" in parameters:
            tensors[port.name], tail = _raw(
                tail, size=parameters["binary_data_size"], has_data="data" in entry, port=port, shape=shape, index=index
            )
        else:
            base64 = parameters is not None and parameters.get("content_type") == "base64"
            tensors[port.name] = _data(
                entry.get("data"), port=port, shape=shape, index=index, booleans=booleans, base64=base64
            )
    if len(tensors) != len(signature.inputs):
        missing = ", ".join(name for name in signature.inputs if name not in tensors)
        raise BadInput(f"inputs: missing {missing}.", code="missing_inputs")
    if tail:
        raise BadInput("The body is longer than its inputs' binary_data_size add up to.", code="invalid_binary_size")
    parameters = document.get("parameters")
    if parameters is not None:
        keys += _check_parameters(parameters, path="parameters")
    request_id = document.get("id")
    if request_id is not None and (type(request_id) is not str or len(request_id) > ID_CHARS_MAX):
        raise BadInput(f"id: must be a string of at most {ID_CHARS_MAX} characters.")
    wanted = document.get("outputs")
    outputs = signature.as_json
    if wanted is not None or parameters:
        outputs, output_keys = _outputs(wanted, parameters=parameters or {}, signature=signature)
        keys += output_keys
    if not document.keys() <= _REQUEST_KEYS:
        keys += sum(count_keys(value) for key, value in document.items() if key not in _REQUEST_KEYS)
    refuse_duplicates(text, keys=keys)
    return InferenceRequest(request_id, tensors, parameters or {}, outputs)


def _check_parameters(parameters: object, *, path: str) -> int:
    if type(parameters) is not dict:
        raise BadInput(f"{path}: must be an object.")
    for key, value in parameters.items():
        if type(value) in (dict, list):
            raise BadInput(f"{path}: values must be strings, numbers or booleans.")
        if key in _REFUSED_PARAMETERS:
            raise BadInput(
                f"{path}.{key}: this extension is not supported; leave it out.", code="unsupported_extension"
            )
    return len(parameters)


def _port(entry: dict[str, Any], *, index: int, signature: Signature, taken: dict[str, np.ndarray]) -> Port:
    name = entry.get("name")
    port = signature.inputs.get(name) if type(name) is str else None
    if port is None:
        names = ", ".join(signature.inputs)
        raise BadInput(f"inputs[{index}].name: must be one of: {names}.", code="unknown_input")
    if name in taken:
        raise BadInput(f"inputs[{index}].name: this input was already given.", code="duplicate_input")
    if entry.get("datatype") != port.datatype.name:
        raise BadInput(f"inputs[{index}].datatype: must be {port.datatype.name}.", code="wrong_datatype")
    return port


def _shape(shape: object, *, port: Port, index: int) -> tuple[int, ...]:
    wanted = port.shape
    if type(shape) is list and len(shape) == len(wanted):
        for size, want in zip(shape, wanted):  # noqa: B905 - equal lengths, and `strict` costs on the data path
            if type(size) is not int or (size != want and (want >= 0 or not 0 < size <= DIMENSION_MAX)) or size <= 0:
                break
        else:
            return tuple(shape)
    text = ", ".join("any" if size < 0 else str(size) for size in wanted)
    raise BadInput(f"inputs[{index}].shape: must be [{text}], every size at least 1.", code="wrong_shape")


def _data(data: object, *, port: Port, shape: tuple[int, ...], index: int, booleans: bool, base64: bool) -> np.ndarray:
    path = f"inputs[{index}].data"
    if type(data) is not list:
        raise BadInput(f"{path}: must be a list.", code="missing_data")
    if data and type(data[0]) is list:
        data = _flatten(data, shape=shape, path=path)
    count = math.prod(shape)
    if len(data) != count:
        raise BadInput(f"{path}: must hold {count} elements, holds {len(data)}.", code="wrong_element_count")
    kind = port.datatype
    if kind.pack:
        if booleans and bool in set(map(type, data)):
            raise BadInput(f"{path}: must hold numbers for {kind.name}.", code="wrong_element_type")
        try:
            # struct checks type and range of every element in C, and refuses what numpy would quietly convert.
            raw = struct.pack(f"<{count}{kind.pack}", *data)
        except (struct.error, OverflowError):
            raise BadInput(
                f"{path}: must hold numbers within the range of {kind.name}.", code="wrong_element_type"
            ) from None
        array = np.frombuffer(raw, dtype=kind.dtype).reshape(shape)
        return array if kind.name != "BF16" else bf16_to_float32(memoryview(float32_to_bf16(array))).reshape(shape)
    if kind.name == "BOOL":
        if set(map(type, data)) != {bool}:
            raise BadInput(f"{path}: must hold true and false for BOOL.", code="wrong_element_type")
        return np.array(data, dtype=kind.dtype).reshape(shape)
    if set(map(type, data)) != {str}:
        raise BadInput(f"{path}: must hold strings for BYTES.", code="wrong_element_type")
    try:
        items = [binascii.a2b_base64(item, strict_mode=True) if base64 else item.encode() for item in data]
    except (binascii.Error, ValueError):
        raise BadInput(f"{path}: must hold base64 strings.", code="invalid_base64") from None
    return _objects(items, shape=shape)


def _flatten(data: list[Any], *, shape: tuple[int, ...], path: str) -> list[Any]:
    """Turn data nested as its shape says into a flat list, checking every level's lengths."""
    level = data
    if not shape or len(level) != shape[0]:
        raise BadInput(f"{path}: nesting must follow the shape.", code="wrong_element_count")
    for size in shape[1:]:
        if any(type(row) is not list or len(row) != size for row in level):
            raise BadInput(f"{path}: nesting must follow the shape.", code="wrong_element_count")
        level = list(chain.from_iterable(level))
    return level


def _raw(
    tail: memoryview | None, *, size: object, has_data: bool, port: Port, shape: tuple[int, ...], index: int
) -> tuple[np.ndarray, memoryview]:
    """Take one raw tensor off the front of the body's binary part."""
    path = f"inputs[{index}].parameters.binary_data_size"
    kind = port.datatype
    count = math.prod(shape)
    if tail is None or has_data:
        raise BadInput(
            f"{path}: needs the binary extension's JSON header length, and no data field.", code="invalid_binary_size"
        )
    if type(size) is not int or not 0 <= size <= len(tail) or (kind.wire_bytes and size != count * kind.wire_bytes):
        raise BadInput(f"{path}: does not fit the shape, the datatype or the body.", code="invalid_binary_size")
    raw, rest = tail[:size], tail[size:]
    if kind.name == "BYTES":
        try:
            return _objects(unpack_bytes(raw, count=count), shape=shape), rest
        except ValueError:
            raise BadInput(
                f"inputs[{index}]: its raw bytes are not {count} length-prefixed elements.", code="invalid_binary_size"
            ) from None
    if kind.name == "BF16":
        return bf16_to_float32(raw).reshape(shape), rest
    if kind.name == "BOOL" and np.frombuffer(raw, dtype=np.uint8).max(initial=0) > 1:
        raise BadInput(f"inputs[{index}]: raw BOOL elements must be 0 or 1.", code="wrong_element_type")
    array = np.frombuffer(raw, dtype=kind.dtype).reshape(shape)
    # Raw tensors follow JSON of any length; ONNX Runtime wants them aligned.
    return (array if array.flags.aligned else array.copy()), rest


def _objects(items: list[bytes], *, shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _outputs(
    wanted: object, *, parameters: dict[str, Any], signature: Signature
) -> tuple[tuple[tuple[Port, bool], ...], int]:
    binary_default = parameters.get("binary_data_output", False)
    if type(binary_default) is not bool:
        raise BadInput("parameters.binary_data_output: must be true or false.")
    if wanted is None or wanted == []:
        return signature.as_raw if binary_default else signature.as_json, 0
    if type(wanted) is not list:
        raise BadInput("outputs: must be a list.")
    keys = 0
    chosen: dict[str, tuple[Port, bool]] = {}
    for index, entry in enumerate(wanted):
        name = entry.get("name") if type(entry) is dict else None
        port = signature.outputs.get(name) if type(name) is str else None
        if port is None or name in chosen:
            names = ", ".join(signature.outputs)
            raise BadInput(f"outputs[{index}].name: must be one of: {names}; each once.", code="unknown_output")
        own = entry.get("parameters")
        keys += count_keys(entry)
        if own is not None:
            _check_parameters(own, path=f"outputs[{index}].parameters")
        binary = (own or {}).get("binary_data", binary_default)
        if type(binary) is not bool:
            raise BadInput(f"outputs[{index}].parameters.binary_data: must be true or false.")
        chosen[port.name] = (port, binary)
    return tuple(chosen.values()), keys
