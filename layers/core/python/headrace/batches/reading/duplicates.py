"""Whether a custom_id came before: the first line that has it keeps it, whatever else is wrong with that line.

Only digests are held, so that ten million ids fit a scratch file. Two different ids of one file share a 16-byte digest
with a probability of about 1e-25 at ten million records (birthday bound, n² / 2^129).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

KEY_BYTES = 16


class SeenIds(Protocol):
    """Which ids came before, for the length of one pass over one file."""

    def add(self, keys: Sequence[bytes]) -> list[int]:
        """Remember keys; the positions, in order, of those that came before, be it earlier in `keys`.

        Raises:
            StoreUnavailable: they could not be remembered.
        """


def key_of(custom_id: str) -> bytes:
    """What is remembered of an id."""
    return blake2b(custom_id.encode(), digest_size=KEY_BYTES).digest()
