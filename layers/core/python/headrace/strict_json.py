r"""JSON as strict as a gateway needs it: what two parsers could read differently is refused.

Python's parser keeps the last of two equal keys, accepts NaN and Infinity, turns 1e999 into infinity, lets lone
surrogates through and recurses until it fails. Each of those is refused here with a stable code. The common body pays
for two regular expressions over the bytes and one hook per object; only a body that looks suspicious pays more.

Source: RFC 8259 sections 4, 6, 8 and 9 on interoperability.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from headrace.errors import InvalidRequest, PayloadTooLarge

DEPTH_MAX = 64
INTEGER_DIGITS_MAX = 400
"""Far beyond any datatype on the wire (UINT64 has 20), far below Python's own refusal at 4,300."""

# Possessive, and a string that never ends eats the rest: no byte is looked at twice, whatever a caller sends.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (INTEGER_DIGITS_MAX + 1))
_LARGE_EXPONENT = re.compile(rb"[eE]\+?0*[1-9][0-9]{2}|[0-9]{300}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(body: bytes, *, bytes_max: int) -> Any:
    """The value of a JSON document.

    Args:
        body: the document, UTF-8.
        bytes_max: the bound on its size, checked before anything else.

    Raises:
        PayloadTooLarge: the body exceeds `bytes_max`.
        InvalidRequest: it is not JSON, or JSON that parsers disagree about; the code says which.
    """
    check_size(body, bytes_max=bytes_max)
    skeleton = _STRING.sub(b"", body)
    _check_depth(skeleton)
    if _LONG_NUMBER.search(skeleton):
        raise InvalidRequest(f"Numbers may have at most {INTEGER_DIGITS_MAX} digits.", code="json_number_too_long")
    parse_float = _finite if _LARGE_EXPONENT.search(skeleton) else None
    try:
        # Decoded here: given bytes, Python's parser would guess UTF-16 and let encoded surrogates pass.
        value = json.loads(
            body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=parse_float
        )
    except InvalidRequest:
        raise
    except UnicodeDecodeError:
        raise InvalidRequest("The body must be UTF-8.", code="json_not_utf8") from None
    except json.JSONDecodeError as error:
        # Only the position: the parser's message can quote what it met.
        raise InvalidRequest(f"The body is not JSON: look at byte {error.pos}.", code="json_invalid") from None
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON.", code="json_invalid") from None
    if _SURROGATE.search(body):
        _check_surrogates(value)
    return value


def check_size(body: bytes, *, bytes_max: int) -> None:
    """Refuse a body over its bound.

    Raises:
        PayloadTooLarge: it is.
    """
    if len(body) > bytes_max:
        raise PayloadTooLarge(f"The body may hold at most {bytes_max} bytes.")


def _check_depth(skeleton: bytes) -> None:
    depth = 0
    for bracket in _BRACKET.findall(skeleton):
        if bracket in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise InvalidRequest(f"Arrays and objects may nest {DEPTH_MAX} deep.", code="json_too_deep")
        else:
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidRequest("An object has the same key twice: send each key once.", code="json_duplicate_key")
    return value


def _no_constant(_: str) -> float:
    raise InvalidRequest("NaN and Infinity are not JSON: send finite numbers.", code="json_not_finite")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRequest("A number is too large for a 64-bit float.", code="json_not_finite")
    return number


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A string holds half of a surrogate pair.", code="json_lone_surrogate") from None
