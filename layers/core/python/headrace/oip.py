"""The Open Inference Protocol as bytes: reading what callers and endpoints send, writing what they receive.

Two encodings: plain JSON, and Triton's binary extension, where a JSON head is followed by the raw tensors it
announces. The head's length travels in `Inference-Header-Content-Length`, or, through SageMaker, which drops unknown
headers, as a parameter of the content type.
"""

from __future__ import annotations

import json
import re
from typing import Any

from headrace import strict_json
from headrace.errors import InvalidAnswer, InvalidRequest
from headrace.inference import (
    DIMENSIONS_MAX,
    NAME_MAX_CHARS,
    TENSORS_MAX,
    InferenceRequest,
    InferenceResponse,
    Tensor,
    check_elements,
)
from headrace.tensors import BYTES, DATATYPES, element_count

JSON_TYPE = "application/json"
BINARY_TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="
HEAD_LENGTH_HEADER = "inference-header-content-length"

_BINARY_TYPE = re.compile(r"application/vnd\.sagemaker-triton\.binary\+json\s*;\s*json-header-size=([0-9]{1,8})\s*")
_DIMENSION_MAX = 1 << 40


def read_request(body: bytes, *, head_bytes: int | None, bytes_max: int) -> InferenceRequest:
    """The request in `body`.

    Args:
        body: JSON, or a JSON head and the raw tensors behind it.
        head_bytes: the length of the head when there is one.
        bytes_max: the bound on the whole.

    Raises:
        PayloadTooLarge: the body exceeds the bound.
        InvalidRequest: it is not a request; the field says where.
    """
    if head_bytes is not None and not 0 <= head_bytes <= len(body):
        raise InvalidRequest("The binary head is longer than the body.", code="wrong_head_length")
    if head_bytes is None:
        document, tail = strict_json.parse(body, bytes_max=bytes_max), b""
    else:
        strict_json.check_size(body, bytes_max=bytes_max)
        document, tail = strict_json.parse(body[:head_bytes], bytes_max=bytes_max), body[head_bytes:]
    document = _object(document, "the body")
    rows = document.get("inputs")
    if not isinstance(rows, list) or not 1 <= len(rows) <= TENSORS_MAX:
        raise InvalidRequest(f"inputs must list 1 to {TENSORS_MAX} tensors.", code="wrong_inputs", field="inputs")
    inputs, used = _tensors(rows, tail, path="inputs")
    if used != len(tail):
        raise InvalidRequest("Raw data is left over behind the last tensor.", code="wrong_data_size", field="inputs")
    outputs = document.get("outputs", [])
    if not isinstance(outputs, list) or len(outputs) > TENSORS_MAX or not all(isinstance(o, dict) for o in outputs):
        raise InvalidRequest("outputs must list objects with a name.", code="wrong_outputs", field="outputs")
    if not all(isinstance(o.get("name"), str) and isinstance(o.get("parameters", {}), dict) for o in outputs):
        raise InvalidRequest(
            "Each output needs a name, and parameters as an object.", code="wrong_outputs", field="outputs"
        )
    request_id = document.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > NAME_MAX_CHARS:
        raise InvalidRequest(
            f"id must be a string of at most {NAME_MAX_CHARS} characters.", code="wrong_id", field="id"
        )
    parameters = _object(document.get("parameters", {}), "parameters")
    return InferenceRequest(inputs=inputs, outputs=tuple(outputs), parameters=parameters, id=request_id)


def write_request(request: InferenceRequest, *, binary_output: bool = False) -> tuple[str, bytes]:
    """Content type and body for an endpoint: binary as soon as one tensor is raw or raw outputs are wanted."""
    head: dict[str, Any] = {"inputs": [_head(tensor) for tensor in request.inputs]}
    if request.outputs:
        head["outputs"] = list(request.outputs)
    if request.parameters or binary_output:
        head["parameters"] = {**request.parameters, **({"binary_data_output": True} if binary_output else {})}
    if request.id:
        head["id"] = request.id
    text = _dump(head)
    if not request.has_raw and not binary_output:
        return JSON_TYPE, text
    return f"{BINARY_TYPE}{len(text)}", b"".join((text, *(tensor.raw or b"" for tensor in request.inputs)))


def read_response(content_type: str, body: bytes) -> InferenceResponse:
    """What an endpoint answered.

    Raises:
        InvalidAnswer: it is not a response of the protocol.
    """
    match = _BINARY_TYPE.fullmatch(content_type)
    head_bytes = int(match[1]) if match else len(body)
    try:
        document = json.loads(body[:head_bytes], parse_constant=_refuse_constant)
        tensors, used = _tensors(document["outputs"], body[head_bytes:], path="outputs")
        if head_bytes + used != len(body):
            raise InvalidAnswer("The endpoint's answer has a wrong length.")
        version, parameters = document.get("model_version", ""), document.get("parameters", {})
    except InvalidRequest as error:
        raise InvalidAnswer(f"The endpoint's answer is malformed at {error.field}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidAnswer("The endpoint's answer is not of the protocol.") from None
    return InferenceResponse(
        outputs=tensors, model_version=str(version), parameters=parameters if isinstance(parameters, dict) else {}
    )


def head_length(content_type: str) -> str | None:
    """The length of the JSON head that a content type announces, as text, or None."""
    match = _BINARY_TYPE.fullmatch(content_type.strip())
    return None if match is None else match[1]


def write_response(
    response: InferenceResponse, *, model_name: str, model_version: str, request_id: str
) -> tuple[int | None, bytes]:
    """Length of the head when raw tensors follow it (else None), and the body for the caller."""
    head: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request_id:
        head["id"] = request_id
    if response.parameters:
        head["parameters"] = response.parameters
    head["outputs"] = [_head(tensor) for tensor in response.outputs]
    text = _dump(head)
    raw = [tensor.raw for tensor in response.outputs if tensor.raw is not None]
    return (len(text), b"".join((text, *raw))) if raw else (None, text)


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _head(tensor: Tensor) -> dict[str, Any]:
    head: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    parameters = {key: value for key, value in tensor.parameters.items() if key != "binary_data_size"}
    if tensor.raw is not None:
        parameters["binary_data_size"] = len(tensor.raw)
    else:
        head["data"] = tensor.data
    if parameters:
        head["parameters"] = parameters
    return head


def _tensors(rows: list[Any], tail: bytes, *, path: str) -> tuple[tuple[Tensor, ...], int]:
    tensors: list[Tensor] = []
    position = 0
    for index, row in enumerate(rows):
        tensor = _tensor(_object(row, f"{path}[{index}]"), tail, position, path=f"{path}[{index}]")
        position += len(tensor.raw or b"")
        check_elements(tensor, path=f"{path}[{index}]")
        tensors.append(tensor)
    return tuple(tensors), position


def _tensor(row: dict[str, Any], tail: bytes, position: int, *, path: str) -> Tensor:
    name, datatype, shape = row.get("name"), row.get("datatype"), row.get("shape")
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX_CHARS:
        raise InvalidRequest("A tensor needs a name.", code="wrong_name", field=f"{path}.name")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidRequest(
            f"datatype must be one of {', '.join(sorted(DATATYPES))}.", code="wrong_datatype", field=f"{path}.datatype"
        )
    if (
        not isinstance(shape, list)
        or len(shape) > DIMENSIONS_MAX
        or not all(type(size) is int and 0 <= size <= _DIMENSION_MAX for size in shape)
    ):
        raise InvalidRequest(
            f"shape must list at most {DIMENSIONS_MAX} sizes from 0.", code="wrong_shape", field=f"{path}.shape"
        )
    parameters = _object(row.get("parameters", {}), f"{path}.parameters")
    size = parameters.get("binary_data_size")
    if size is None:
        data = row.get("data")
        if not isinstance(data, list):
            raise InvalidRequest("A tensor needs data as an array.", code="wrong_data", field=f"{path}.data")
        return Tensor(name, datatype, tuple(shape), data=_flatten(data, len(shape)), parameters=parameters)
    if type(size) is not int or not 0 <= size <= len(tail) - position:
        raise InvalidRequest(
            "binary_data_size must not exceed the bytes behind the head.",
            code="wrong_data_size",
            field=f"{path}.parameters.binary_data_size",
        )
    return Tensor(name, datatype, tuple(shape), raw=tail[position : position + size], parameters=parameters)


def _flatten(data: list[Any], rank: int) -> list[Any]:
    """The protocol lets data be flat or nested to its rank."""
    for _ in range(rank - 1):
        if not data or type(data[0]) is not list:
            break
        if not all(type(part) is list for part in data):
            break
        data = [element for part in data for element in part]
    return data


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path} must be a JSON object.", code="wrong_type", field=path)
    return value


def _refuse_constant(_: str) -> float:
    raise ValueError("not finite")


def bytes_elements(tensor: Tensor) -> list[bytes]:
    """The elements of a BYTES tensor, however it travelled."""
    if tensor.datatype != BYTES or tensor.raw is None:
        return [element.encode() for element in tensor.data or []]
    elements, position = [], 0
    for _ in range(element_count(tensor.shape)):
        size = int.from_bytes(tensor.raw[position : position + 4], "little")
        elements.append(tensor.raw[position + 4 : position + 4 + size])
        position += 4 + size
    return elements


def raw_bytes(elements: list[bytes]) -> bytes:
    """A BYTES tensor in the binary extension: 4-byte little-endian length before each element."""
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)
