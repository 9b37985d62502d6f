"""What ends a credential before its time: one token, all of a caller's tokens, or everything of a tenant.

A mark is the name under which a revocation is stored, and a credential is refused when a mark that fits it stands for
the time at which it was issued. Names of tokens and subjects are hashed: issuers choose them, and they may be long or
personal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

FOREVER = 1 << 53
"""A time after every credential's: everything that the mark fits is revoked."""


class RevocationStore(Protocol):
    """Where marks live."""

    def standing(self, marks: Sequence[str]) -> Mapping[str, int]:
        """Those of `marks` that are set, each with the time (seconds since the epoch) up to which it revokes.

        Reads what was written before, never a lagging copy.

        Raises:
            StoreUnavailable: it cannot be told; nobody may be let in on that.
        """

    def revoke(self, mark: str, *, before: int, forget_at: int = 0) -> None:
        """Set a mark; one that stands for a later time stays. `forget_at`: it may go then; 0 means never."""

    def lift(self, mark: str) -> bool:
        """Remove a mark; False when it was not set."""


def tenant_mark(tenant: str) -> str:
    """Fits every key, token and signed caller of a tenant."""
    return f"tenant#{tenant}"


def subject_mark(issuer: str, subject: str) -> str:
    """Fits every token of one caller."""
    return f"subject#{_hash(issuer, subject)}"


def token_mark(issuer: str, token_id: str) -> str:
    """Fits the one token with this `jti`."""
    return f"token#{_hash(issuer, token_id)}"


def is_revoked(issued_at: float, standing: Mapping[str, int]) -> bool:
    """Whether one of the marks that fit a credential revokes it."""
    return any(issued_at <= before for before in standing.values())


def _hash(issuer: str, name: str) -> str:
    # Issuers hold no space, so no two pairs share a text.
    return hashlib.sha256(f"{issuer} {name}".encode()).hexdigest()
