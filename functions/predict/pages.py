"""Lists that come in pages, and JSON answers of files and batches, as OpenAI's SDK reads them."""

import json
from collections.abc import Callable
from typing import Any

from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.services import Services
from headrace.batches.ordering.offers import Batches
from headrace.errors import InvalidRequest, UnknownTarget

JSON = "application/json"
PAGE_MAX = 100
"""Rows in one answer; who asks for more gets these, and is told that there are more."""
_ASKED_MAX = 10_000
"""What OpenAI's SDK may ask for."""
_DIGITS_MAX = 5


def batches_of(services: Services) -> Batches:
    """The ports of files and batches.

    Raises:
        UnknownTarget: there are none here.
    """
    if services.batches is None:
        raise UnknownTarget("Files and batches are not taken here.", code="route_not_found")
    return services.batches()


def page_of(call: Call, *, default: int, is_id: Callable[[str], bool]) -> tuple[int, str]:
    """How many rows are asked for, and the id behind which they begin; `is_id` tells what can be one.

    Raises:
        InvalidRequest: `limit` is no such number, or `after` no id.
    """
    query = call.request.query_params
    limit, after = query.get("limit", str(default)), query.get("after", "")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= _DIGITS_MAX and 1 <= int(limit) <= _ASKED_MAX):
        raise InvalidRequest(
            f"limit must be a whole number from 1 to {_ASKED_MAX}.", code="invalid_limit", field="limit"
        )
    if after and not is_id(after):
        raise InvalidRequest("after must be the id of the last row before.", code="invalid_after", field="after")
    if query.get("order", "desc") != "desc":
        raise InvalidRequest("order can only be desc: the newest come first.", code="invalid_order", field="order")
    return min(int(limit), PAGE_MAX), after


def list_of(rows: list[dict[str, Any]], *, more: bool) -> Response:
    """A page."""
    ids = [row["id"] for row in rows]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return json_of({"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": more})


def json_of(document: dict[str, Any]) -> Response:
    """A document, which is of this moment."""
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, media_type=JSON, headers={"cache-control": "no-store"})
