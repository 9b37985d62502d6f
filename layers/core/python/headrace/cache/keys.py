"""Under which key an answer is kept: the tenant in clear, and a MAC over everything that can change the answer.

Two tenants never share a key: the tenant is a part of it, and each has a secret of its own, so that a key does not even
tell who else asked the same. Two requests share one only when every byte of meaning agrees: whatever is in doubt (the
order of inputs, 1 or 1.0, a list or its raw bytes) makes another key, which costs a computation and never a wrong
answer.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from typing import Any

from headrace.catalog import Version
from headrace.framing import framed
from headrace.inference import InferenceRequest, Tensor

_FORMAT = b"answer/1"
"""Changes with the encoding below, or with how entries are written: no old entry is then ever found."""
_SECRET_FOR = b"cache\0"
"""No API key's MAC, made with the same pepper, has a message that begins like this."""


def answer_key(
    tenant: str, endpoint: str, version: Version, request: InferenceRequest, *, pepper: bytes, task: str = ""
) -> str:
    """`<tenant>#<64 hexadecimal digits>`: HMAC-SHA-256 under the tenant's secret.

    The parts are length-prefixed and counted, so that nothing can move from one to its neighbour. The request's id and
    `binary_data_size`, which only says how a tensor travelled, mean nothing to a model and are left out.

    Args:
        tenant: who asks.
        endpoint: its name.
        version: the model version, by name and by its artifact's digest: a new artifact is a new model.
        request: the checked tensors.
        pepper: the platform's secret, from which each tenant's is derived.
        task: the task's name; an endpoint serves one task, so its name alone is enough.
    """
    secret = hmac.digest(pepper, _SECRET_FOR + tenant.encode(), "sha256")
    # In one piece: the few dozen parts are short, and joining a long one costs less than hashing it.
    message = b"".join(framed(_parts(endpoint, task, version, request)))
    return f"{tenant}#{hmac.digest(secret, message, 'sha256').hex()}"


def _parts(endpoint: str, task: str, version: Version, request: InferenceRequest) -> Iterator[bytes]:
    yield _FORMAT
    yield from (_text(endpoint), _text(task), _text(version.name), _text(version.artifact))
    yield str(len(request.inputs)).encode()
    for tensor in request.inputs:
        yield from _tensor(tensor)
    yield _json(list(request.outputs))
    yield _json(request.parameters)


def _tensor(tensor: Tensor) -> Iterator[bytes]:
    yield _text(tensor.name)
    yield _text(tensor.datatype)
    yield _json(list(tensor.shape))
    yield _json({name: value for name, value in tensor.parameters.items() if name != "binary_data_size"})
    if tensor.raw is not None:
        yield b"raw"
        yield tensor.raw
    else:
        yield b"list"
        yield _json(tensor.data)


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _json(value: Any) -> bytes:
    # Canonical: sorted names, no spaces, ASCII. Python writes 1, 1.0, true and "1" differently, and floats exactly.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
