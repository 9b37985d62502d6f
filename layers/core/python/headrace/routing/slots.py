"""Who is served by which version, so that a change of weights moves only the callers that it must move.

Callers are hashed into 10,000 slots, one for each basis point, and a document says whose each slot is. A change of
weights takes slots from versions that lost and gives them to those that gained, and touches no other. No rule that
looks at the new weights alone can do that for three versions or more: such rules move up to twice as many callers
(Bavarian et al. 2016, "Optimality of correlated sampling strategies"). So the slots are kept in the document.

Where there are none yet, blocks of slots are drawn by weighted rendezvous hashing (Schindelhauer and Schomaker 2005),
which moves few callers when a deployment changes declared weights, and then evened out to the exact weights.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import groupby

from headrace.routing.document import WEIGHT_SUM, Slots

BLOCK = 10
"""Slots that are drawn together at first: a few hundred runs instead of thousands."""
_BLOCKS = WEIGHT_SUM // BLOCK
_SPAN = float(1 << 64)
_KEPT = 64


def slot_of(name: str, unit: str) -> int:
    """The slot of what a draw sticks to, 0 to 9,999; `name` is as `drawn_as` says."""
    return _hash(f"{name}\0{unit}") % WEIGHT_SUM


def drawn_as(endpoint: str, group: str) -> str:
    """What slots and callers of an endpoint, or of a group on it, are hashed with: so all draws are independent."""
    return f"{endpoint}/{group}" if group else endpoint


def share_of(*parts: str) -> int:
    """A number from 0 to 9,999 that these texts always have: below `share` for that share of them, in basis points."""
    return _hash("\0".join(parts)) % WEIGHT_SUM


def scaled(weights: Mapping[str, int]) -> dict[str, int]:
    """The same proportions in basis points that add up to the whole; the largest remainders get what is left over.

    Args:
        weights: not negative; one at least is above 0. Those of 0 stay in the answer.
    """
    return _apportioned(weights, WEIGHT_SUM)


def mix(baseline: Mapping[str, int], canary: str, share: int) -> dict[str, int]:
    """The weights with the canary at `share` basis points; all others keep their proportions to each other.

    Without another version that had traffic the canary has all of it.
    """
    others = {name: weight for name, weight in baseline.items() if name != canary}
    if not any(others.values()):
        return {**dict.fromkeys(others, 0), canary: WEIGHT_SUM}
    return {**_apportioned(others, WEIGHT_SUM - share), canary: share}


def allot(weights: Mapping[str, int], before: Slots, *, name: str, salt: str) -> Slots:
    """Whose the slots are under these weights; only surplus slots change hands.

    Args:
        weights: basis points that add up to the whole.
        before: whose they were; empty when nobody has drawn yet.
        name: see `drawn_as`.
        salt: where on the circle of slots the giving begins, so that not the same callers are always the first.
    """
    owners = _expanded(before) if _complete(before) else _drawn(weights, name)
    surplus = Counter(owners)
    surplus.subtract(weights)
    gains = [version for version in sorted(weights) for _ in range(-surplus[version])]
    if gains:
        start = share_of(salt)
        for index in (*range(start, WEIGHT_SUM), *range(start)):
            if surplus[owners[index]] > 0:
                surplus[owners[index]] -= 1
                owners[index] = gains.pop()
                if not gains:
                    break
    return tuple((version, len(list(run))) for version, run in groupby(owners))


def first_slots(name: str, weights: Mapping[str, int]) -> Slots:
    """Whose the slots are when nothing was there before: the same in every process."""
    return _first(name, tuple(sorted(weights.items())))


def counted(slots: Slots) -> dict[str, int]:
    """How many slots each version has."""
    found: Counter[str] = Counter()
    for version, count in slots:
        found[version] += count
    return dict(found)


@lru_cache(maxsize=_KEPT)
def _first(name: str, weights: tuple[tuple[str, int], ...]) -> Slots:
    return allot(dict(weights), (), name=name, salt="")


def _complete(slots: Slots) -> bool:
    return sum(count for _, count in slots) == WEIGHT_SUM


def _expanded(slots: Slots) -> list[str]:
    return [version for version, count in slots for _ in range(count)]


def _drawn(weights: Mapping[str, int], name: str) -> list[str]:
    versions = sorted(version for version, weight in weights.items() if weight > 0)
    if len(versions) == 1:
        return versions * WEIGHT_SUM
    scores = []
    for version in versions:
        stream = hashlib.shake_128(f"{name}\0{version}".encode()).digest(8 * _BLOCKS)
        weight = weights[version]
        scores.append([-math.log((draw + 0.5) / _SPAN) / weight for draw in struct.unpack(f">{_BLOCKS}Q", stream)])
    owners = [versions[block.index(min(block))] for block in zip(*scores, strict=True)]
    return [owner for owner in owners for _ in range(BLOCK)]


def _apportioned(weights: Mapping[str, int], whole: int) -> dict[str, int]:
    total = sum(weights.values())
    shares = {name: weight * whole // total for name, weight in weights.items()}
    left = whole - sum(shares.values())
    by_remainder = sorted(weights, key=lambda name: (-(weights[name] * whole % total), name))
    for name in by_remainder[:left]:
        shares[name] += 1
    return shares


def _hash(text: str) -> int:
    # A caller's key may be half of a character (a lone surrogate), and is served like any other.
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
