"""Decides how a model's output arrays look on the wire: JSON, raw tensors, or a mixture.

A NaN or an infinity becomes `null` in JSON, which has no word for them (RFC 8259, section 6); the binary form
carries the real value. JSON is assembled from prepared bytes, since this runs once per request.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from endpoints.serving.datatypes import float32_to_bf16, pack_bytes
from endpoints.serving.errors import ModelFailed

if TYPE_CHECKING:
    from endpoints.serving.tensors import InferenceRequest, Port

_NUMPY = orjson.OPT_SERIALIZE_NUMPY


class Encoder:
    """Encodes answers of one model.

    Args:
        model: Model name on the wire.
        version: Model version on the wire.
    """

    __slots__ = ("_head", "_ports")

    def __init__(self, *, model: str, version: str) -> None:
        self._head = b'{"model_name":' + orjson.dumps(model) + b',"model_version":' + orjson.dumps(version)
        self._ports: dict[str, bytes] = {}

    def encode(self, request: InferenceRequest, outputs: dict[str, np.ndarray]) -> tuple[bytes, int | None]:
        """Encode one answer.

        Args:
            request: The request it answers: its id and the outputs it chose.
            outputs: Arrays by output name.

        Returns:
            The body, and the length of its JSON part when raw tensors follow it.

        Raises:
            ModelFailed: The model gave no such output, or one of another datatype.
        """
        parts = [self._head]
        if request.id is not None:
            parts += (b',"id":', orjson.dumps(request.id))
        parts.append(b',"outputs":[')
        tails: list[bytes] = []
        for port, binary in request.outputs:
            array = outputs.get(port.name)
            if array is None:
                raise ModelFailed("The model gave no such output; report this to its owner.")
            array = _as_declared(np.asarray(array), port=port)
            parts += (self._port(port), ",".join(map(str, array.shape)).encode(), b"]")
            if binary:
                raw = _raw(array, port=port)
                tails.append(raw)
                parts += (b',"parameters":{"binary_data_size":', str(len(raw)).encode(), b"}},")
            else:
                parts += (_json(array, port=port), b"},")
        parts[-1] = parts[-1][:-1]
        parts.append(b"]}")
        text = b"".join(parts)
        return (text, None) if not tails else (text + b"".join(tails), len(text))

    def _port(self, port: Port) -> bytes:
        found = self._ports.get(port.name)
        if found is None:
            kind = port.datatype.name.encode()
            found = b'{"name":' + orjson.dumps(port.name) + b',"datatype":"' + kind + b'","shape":['
            self._ports[port.name] = found
        return found


def encode_document(
    request: InferenceRequest, outputs: dict[str, np.ndarray], *, model: str, version: str
) -> dict[str, Any]:
    """Encode one answer as a parsed JSON document, for callers that hand documents on rather than bytes.

    Raises:
        ModelFailed: As `Encoder.encode`.
        ValueError: The request asked for raw output, which a document cannot hold.
    """
    body, json_bytes = Encoder(model=model, version=version).encode(request, outputs)
    if json_bytes is not None:
        raise ValueError("a document cannot hold raw tensors")
    document: dict[str, Any] = orjson.loads(body)
    return document


def _as_declared(array: np.ndarray, *, port: Port) -> np.ndarray:
    wanted = port.datatype.dtype
    if array.dtype != wanted:
        if (wanted.kind == "O") != (array.dtype.kind in "OSU"):
            raise ModelFailed("The model gave an output of another datatype than declared; report this to its owner.")
        array = array.astype(wanted)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _raw(array: np.ndarray, *, port: Port) -> bytes:
    if port.datatype.name == "BYTES":
        return pack_bytes(array)
    if port.datatype.name == "BF16":
        return float32_to_bf16(array)
    return array.tobytes()


def _json(array: np.ndarray, *, port: Port) -> bytes:
    """Write the data field, flat, with its leading comma."""
    if port.datatype.name != "BYTES":
        return b',"data":' + orjson.dumps(array.reshape(-1), option=_NUMPY)
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()]
    try:
        return b',"data":' + orjson.dumps([item.decode() for item in items])
    except UnicodeDecodeError:
        encoded = [base64.b64encode(item).decode() for item in items]
        return b',"parameters":{"content_type":"base64"},"data":' + orjson.dumps(encoded)
