"""The tensors that a file stores, or says to lie in other files: whether they are whole, and where they may lie.

Source: https://github.com/onnx/onnx/blob/main/docs/ExternalData.md; a path out of the folder is how a model would read
what is not its own.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
from onnx import TensorProto

from endpoints.inspecting.bounds import MODEL_BYTES_MAX
from endpoints.inspecting.errors import RefusedError

_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
_SHOWN_CHARS_MAX = 80
_RESERVED = (".py", ".pyc", ".so", ".json", ".onnx")
"""What an artifact gives a meaning of its own: its code is run, its manifest and its example are believed."""
_TYPED = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.STRING: "string_data",
}
_EXTERNAL_KEYS = frozenset({"location", "offset", "length", "checksum"})


def stored_tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that one graph stores: initialisers, and values of attributes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from _held(attribute)


def _held(attribute: Any) -> Iterator[Any]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    lone = (attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()
    for sparse in (*lone, *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)


def check_external(tensors: list[Any], *, folder: Path) -> tuple[str, ...]:
    """The files of external tensors, each checked: in the folder, there, and long enough.

    Raises:
        RefusedError: One of them is not.
    """
    root, needed = folder.resolve(), dict[str, int]()
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if not isinstance(location, str):  # protobuf gives bytes for what is not UTF-8
            raise RefusedError(f"its tensor {shown(tensor.name)} names external data by what is not UTF-8: rename it")
        said, parts = shown(location), PurePosixPath(location)
        if not location or parts.is_absolute() or ".." in parts.parts or "\\" in location or not location.isprintable():
            raise RefusedError(
                f"its tensor {shown(tensor.name)} points to {said!r}, out of its folder: it is not opened"
            )
        if entries.keys() - _EXTERNAL_KEYS or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", location):
            raise RefusedError(
                f"its external data {said!r} has a name or a key that an artifact cannot hold: rename it"
            )
        if location.lower().endswith(_RESERVED):
            raise RefusedError(
                f"its external data {said!r} has the name of code or of a document, which it would become in an "
                "artifact: rename it"
            )
        path = folder / location
        if not path.resolve().is_relative_to(root):
            raise RefusedError(f"its external data {said!r} is a link out of its folder: it is not opened")
        if not path.is_file():
            raise RefusedError(f"its external data {said!r} is missing: put it beside the file, or export in one file")
        try:
            offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
        except ValueError:
            offset, length = -1, -1
        if min(offset, length) < 0 or offset + max(length, _bytes(tensor)) > path.stat().st_size:
            raise RefusedError(
                f"its external data {said!r} is too short for tensor {shown(tensor.name)}: it is truncated"
            )
        needed[location] = path.stat().st_size
    if sum(needed.values()) > MODEL_BYTES_MAX:
        raise RefusedError(
            f"its external data has {sum(needed.values())} bytes, and at most {MODEL_BYTES_MAX} are taken"
        )
    return tuple(sorted(needed))


def _elements(tensor: Any) -> int:
    if any(size < 0 for size in tensor.dims):
        raise RefusedError(f"its tensor {shown(tensor.name)} has a negative size")
    return math.prod(tensor.dims)


def _bytes(tensor: Any) -> int:
    """Bytes of a tensor's elements; 0 where they have no fixed size."""
    if tensor.data_type in {TensorProto.UNDEFINED, TensorProto.STRING}:
        return 0
    try:
        kind = TensorProto.DataType.Name(tensor.data_type)
        bits = _BITS.get(kind) or 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (ValueError, KeyError) as error:
        raise RefusedError(f"its tensor {shown(tensor.name)} has a datatype that ONNX does not know") from error
    return -(-_elements(tensor) * bits // 8)


def check_tensor(tensor: Any) -> int:
    """Number of elements of a stored tensor, whose bytes must be all there.

    Raises:
        RefusedError: They are not.
    """
    if tensor.data_location != TensorProto.EXTERNAL and tensor.HasField("raw_data") and (wanted := _bytes(tensor)):
        found = len(tensor.raw_data)
        if found != wanted:
            raise RefusedError(f"its tensor {shown(tensor.name)} holds {found} bytes where its shape needs {wanted}")
    elements = _elements(tensor)
    field = _TYPED.get(tensor.data_type)
    if field and tensor.data_location != TensorProto.EXTERNAL and not tensor.HasField("raw_data"):
        found = len(getattr(tensor, field))
        if found != elements:
            raise RefusedError(f"its tensor {shown(tensor.name)} holds {found} values, not as many as its shape says")
    return elements


def shown(text: str | bytes) -> str:
    """A text out of the file, fit for a terminal; protobuf gives bytes for what is not UTF-8."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    plain = "".join(letter for letter in text if letter.isprintable())
    return plain if len(plain) <= _SHOWN_CHARS_MAX else f"{plain[:_SHOWN_CHARS_MAX]}…"
