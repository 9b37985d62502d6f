"""How large an item is and what touching it costs, as DynamoDB counts. Pure.

Source: DynamoDB developer guide, "DynamoDB Item sizes and formats", and "DynamoDB read and write operations".
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any

WRITE_UNIT_BYTES = 1_024
READ_UNIT_BYTES = 4_096
NESTED_BYTES = 3
"""Overhead of every list and map; each of their elements has one byte more."""

Item = dict[str, Any]
"""In DynamoDB's own JSON: `{"name": {"S": "value"}}`."""


def item_bytes(item: Item) -> int:
    """The size of an item: its attributes' names and values."""
    return sum(len(name.encode()) + value_bytes(value) for name, value in item.items())


def value_bytes(value: Item) -> int:
    """The size of one value.

    Raises:
        ValueError: DynamoDB has no such type.
    """
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _number_bytes(content)
        case "B":
            return len(base64.b64decode(content))
        case "BOOL" | "NULL":
            return 1
        case "SS" | "NS" | "BS":
            return sum(value_bytes({kind[0]: each}) for each in content)
        case "L":
            return NESTED_BYTES + sum(1 + value_bytes(each) for each in content)
        case "M":
            return NESTED_BYTES + sum(1 + len(name.encode()) + value_bytes(each) for name, each in content.items())
        case _:
            raise ValueError(f"there is no type {kind}")


def _number_bytes(text: str) -> int:
    """About a byte for two significant digits, one for the number itself, and one for a sign."""
    digits = text.lstrip("-").partition("e")[0].replace(".", "").strip("0")
    return math.ceil(len(digits) / 2) + 1 + text.startswith("-")


def write_units(before: Item | None, after: Item | None) -> int:
    """Write units of one change, applied or refused by its condition: the larger of the item's two sizes counts.

    Args:
        before: the item as it stood, None when there was none.
        after: as it stands now.
    """
    size = max((item_bytes(item) for item in (before, after) if item is not None), default=0)
    return max(1, math.ceil(size / WRITE_UNIT_BYTES))


def read_units(items: Iterable[Item], *, consistent: bool) -> float:
    """Read units of one call of GetItem or Query: all its items together, rounded up; half without consistency."""
    size = sum(item_bytes(item) for item in items)
    return max(1, math.ceil(size / READ_UNIT_BYTES)) * (1.0 if consistent else 0.5)
