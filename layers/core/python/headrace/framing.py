"""Several byte strings as one, so that two different sequences never look alike, whatever stands in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_LENGTH_BYTES = 8


def framed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Each part behind its length (8 bytes, big-endian), for a hash to take in one piece after the other."""
    for part in parts:
        yield len(part).to_bytes(_LENGTH_BYTES, "big")
        yield part
