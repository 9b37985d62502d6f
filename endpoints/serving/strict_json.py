"""Strict JSON: what orjson lets through and this server does not.

orjson already refuses NaN, Infinity, lone surrogates, numbers beyond a double and nesting beyond 1024. Left to do are
duplicate keys (of which it keeps the last: two readers could disagree about one request) and our depth of 64.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from endpoints.serving.errors import BadInput

DEPTH_MAX = 64


def load_object(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        raw: UTF-8 JSON, already bounded in size by the HTTP layer.

    Returns:
        The object.

    Raises:
        BadInput: Not JSON, not an object, or (later, `refuse_duplicates`) ambiguous.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # The parser's own text may quote the input, so it is not passed on.
        raise BadInput(
            "The body is not strict JSON (UTF-8, no NaN or Infinity, numbers within a double).", code="invalid_json"
        ) from None
    if type(document) is not dict:
        raise BadInput("The body must be a JSON object.", code="invalid_json")
    return document


def refuse_duplicates(text: bytes, *, keys: int) -> None:
    """Refuse duplicate keys.

    Every key costs one colon, so a text with exactly as many colons as its parsed form has keys holds no duplicate:
    the usual request is settled by one scan. Only where strings hold colons is it parsed again, key by key.

    Args:
        text: The JSON.
        keys: How many keys its parsed form has, over all objects in it.

    Raises:
        BadInput: A key occurs twice in one object.
    """
    if text.count(b":") == keys:
        return
    try:
        json.loads(text, object_pairs_hook=_pairs, parse_int=len, parse_float=len)
    except RecursionError:
        raise BadInput(f"The body nests deeper than {DEPTH_MAX} levels.", code="json_too_deep") from None
    except ValueError:
        raise BadInput("The body is not strict JSON.", code="invalid_json") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput("The body repeats a key within one object: send each key once.", code="duplicate_key")
    return found


def count_keys(value: object, *, depth: int = 0) -> int:
    """Count the keys of all objects within a parsed value, refusing to go deeper than `DEPTH_MAX`.

    Raises:
        BadInput: The value nests too deeply.
    """
    if depth > DEPTH_MAX:
        raise BadInput(f"The body nests deeper than {DEPTH_MAX} levels.", code="json_too_deep")
    if type(value) is dict:
        return len(value) + sum(count_keys(item, depth=depth + 1) for item in value.values())
    if type(value) is list:
        return sum(count_keys(item, depth=depth + 1) for item in value if type(item) in _NESTED)
    return 0


_NESTED = frozenset((dict, list))
