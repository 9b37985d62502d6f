"""Log lines: one JSON object each on standard error, metadata only, never anything a request held."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


def write(level: str, event: str, **fields: object) -> None:
    """Write a line.

    Args:
        level: "info", "warning" or "error".
        event: What happened, snake_case.
        **fields: Names, numbers and codes.
    """
    line = {"time": datetime.now(tz=UTC).isoformat(timespec="milliseconds"), "level": level, "event": event, **fields}
    sys.stderr.write(json.dumps(line, default=str) + "\n")
    sys.stderr.flush()
