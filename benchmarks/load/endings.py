"""How a request ended that was not served: the status and the stable code, in whichever form the refusal came."""

from __future__ import annotations

import json

from benchmarks.load.shots import Seen

OK = 200
UNANSWERED = "no answer in time"


def ending(seen: Seen) -> str:
    """Its status and code, as in `503 overloaded`; the status alone where there is no code."""
    if not seen.status:
        return UNANSWERED
    code = _code(seen.body)
    return f"{seen.status} {code}" if code else str(seen.status)


def _code(body: str) -> str:
    try:
        document = json.loads(body)
        found = document["code"] if "code" in document else document["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(found)
