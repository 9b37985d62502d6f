"""From the bytes of a request to a checked value: size, encoding, strict JSON, then the schema."""

import zlib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from functions.predict.call import Call
from headrace import strict_json
from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia
from headrace.limits import PAYLOAD_MAX_BYTES

T = TypeVar("T", bound=BaseModel)

FIELD_MAX_CHARS = 100
_WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


async def read_body(call: Call, *, bytes_max: int = PAYLOAD_MAX_BYTES) -> bytes:
    """The body, decompressed when it says that it is compressed.

    Raises:
        PayloadTooLarge: it exceeds `bytes_max`, before or after decompression.
        UnsupportedMedia: an encoding other than gzip or deflate.
        InvalidRequest: the compressed data is broken.
    """
    body = await call.request.body()
    call.record["bytes_in"] = len(body)
    strict_json.check_size(body, bytes_max=bytes_max)
    encoding = call.request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMedia("content-encoding may be gzip or deflate.", field="content-encoding")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = inflater.decompress(body, bytes_max)
    except zlib.error:
        raise InvalidRequest("The compressed body is broken.", code="invalid_encoding") from None
    if inflater.unconsumed_tail:
        raise PayloadTooLarge(f"The body may hold at most {bytes_max} bytes once decompressed.")
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequest("The compressed body is cut short or continued.", code="invalid_encoding")
    return plain


def check_declared_size(call: Call, endpoint: Endpoint) -> None:
    """Hold the body against the endpoint's own bound, which may be below the platform's.

    Raises:
        PayloadTooLarge: it exceeds `limits.max_payload_bytes`.
    """
    bytes_max = endpoint.limits.max_payload_bytes
    if call.record.get("bytes_in", 0) > bytes_max:
        raise PayloadTooLarge(f"The body may hold at most {bytes_max} bytes for this model.")


def media_type(call: Call) -> str:
    """The content type without parameters, in lower case; empty when none was sent."""
    return call.request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(call: Call, schema: type[T]) -> T:
    """The JSON body as a value of `schema`.

    Raises:
        UnsupportedMedia: the content type says that it is something else.
        PayloadTooLarge: it is too large.
        InvalidRequest: it is not strict JSON, or does not fit; the field says where.
    """
    if media_type(call) not in {"", "application/json"}:
        raise UnsupportedMedia("Send the body as application/json.", field="content-type")
    return checked(schema, strict_json.parse(await read_body(call), bytes_max=PAYLOAD_MAX_BYTES))


def checked(schema: type[T], value: Any) -> T:
    """`value` as one of `schema`.

    Raises:
        InvalidRequest: with the path of the first problem; the value itself is never quoted.
    """
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
    # Every member of a union complains; the one that got deepest, and past the type, is the one that was meant.
    problem = max(problems, key=lambda found: (len(found["loc"]), _telling(found["type"])))
    field = "".join(map(_step, problem["loc"])).lstrip(".")
    raise InvalidRequest(f"{problem['msg']}.", code="invalid_body", field=field[:FIELD_MAX_CHARS] or "the body")


def _telling(kind: str) -> int:
    """How much an error says about what was meant: a wrong value most, another member's wrong type least."""
    return 0 if kind.endswith("_type") else {"extra_forbidden": 1, "missing": 2}.get(kind, 3)


def _step(step: int | str) -> str:
    """A step of the path as callers know it: pydantic puts the names of union members in between."""
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step.isidentifier() and step[0].islower() else ""
