"""Which of the versions that may answer a request does: a sticky share of the traffic.

Weighted rendezvous hashing: each version scores -weight / ln(u) for a uniform u drawn from the hash of (endpoint,
version, caller), the highest wins. A caller keeps its version while weights stand, and a change of weights moves only
callers towards versions that gained. Source: Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from headrace.catalog import Version

_SPAN = float(1 << 64)


def draw(versions: Iterable[Version], *, endpoint: str, caller: str) -> Version:
    """One of the versions whose weight is above 0: the share of each is its weight among those given.

    Leaving a version out moves only the callers that would have drawn it.

    Args:
        versions: those that may serve; one at least has a weight above 0.
        endpoint: the name of their endpoint, so that a caller's draws on two endpoints are independent.
        caller: what the draw sticks to.
    """
    candidates = [version for version in versions if version.weight > 0]
    return max(candidates, key=lambda version: score(f"{endpoint}\0{version.name}\0{caller}", version.weight))


def score(key: str, weight: int) -> float:
    """What the key scores: of several the highest wins, each with a probability in proportion to its weight."""
    data = key.encode("utf-8", "surrogatepass")
    draw = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
    return -weight / math.log((draw + 0.5) / _SPAN)
