"""Who sent a request: an API key or a token, checked in full and then remembered for a short time.

A token is read (every rule that needs no key), its signature checked with its issuer's key, and then asked for among
the revocations; a key is found, compared, and asked for among the revocations. What is remembered is the decision and
never the credential.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.authentication.api_keys import KEY_PREFIX, KeyStore, presented_key, verified
from headrace.authentication.issuers import Issuer
from headrace.authentication.key_sets import Key, KeySets
from headrace.authentication.remembered import Decided, Remembered
from headrace.authentication.revocation import RevocationStore, is_revoked, tenant_mark
from headrace.authentication.tokens import TOKEN_BYTES_MAX, Token, read
from headrace.errors import StoreUnavailable, Unauthenticated
from headrace.identity import Principal

NEVER = float("inf")
_REFUSAL = "Unauthorized"


class Signatures(Protocol):
    """The cryptography."""

    def is_signed(self, token: Token, key: Key) -> bool:
        """Whether this key, by its own algorithm and no other, signed the token."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What checking tokens takes: whose, with which keys, and by which means."""

    issuers: Mapping[str, Issuer]
    key_sets: KeySets
    signatures: Signatures

    def verified(self, compact: str, *, now: float) -> Token:
        """The token, its signature checked; nobody has asked yet whether it was revoked.

        Raises:
            Unauthenticated: it is not good, whatever the reason.
            StoreUnavailable: its issuer's keys cannot be had.
        """
        token = read(compact, issuers=self.issuers, now=now)
        key = self.key_sets.key(token.issuer, token.key_id, token.algorithm)
        if not self.signatures.is_signed(token, key):
            raise Unauthenticated(_REFUSAL)
        return token


class Authenticator:
    """Decides who calls. One per process.

    Args:
        pepper: read when the first key is checked.
        tokens: None where no issuer is configured; then only API keys are taken.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        keys: KeyStore,
        revocations: RevocationStore,
        pepper: Callable[[], bytes],
        tokens: Tokens | None,
        wall: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._revocations = revocations
        self._pepper = pepper
        self._tokens = tokens
        self._wall = wall
        self._remembered = Remembered(wall=wall)

    def principal(self, headers: Mapping[str, str]) -> Principal:
        """The caller behind a request's headers (names in lower case).

        Raises:
            Unauthenticated: no credential, or none that is good; the message never says which.
            StoreUnavailable: it cannot be told now.
        """
        credential = presented_key(headers)
        if len(credential) > TOKEN_BYTES_MAX:
            raise Unauthenticated(_REFUSAL)
        # Tokens have one place: a header that holds keys takes nothing else.
        is_token = not credential.startswith(KEY_PREFIX) and not headers.get("x-api-key")
        # Lone surrogates can arrive in an event's JSON; they must have a name too.
        name = hashlib.sha256(b"%d" % is_token + credential.encode(errors="surrogatepass")).digest()
        if known := self._remembered.principal(name):
            return known
        now = self._wall()
        try:
            if self._tokens is not None and is_token:
                principal, expires_at = self._token(self._tokens.verified(credential, now=now))
            else:
                principal, expires_at = self._key(credential, now=now)
        except Unauthenticated as refusal:
            self._remembered.note(name, Decided.refused(refusal, now=now))
            raise
        except StoreUnavailable:
            if known := self._remembered.in_doubt(name):
                return known
            raise
        self._remembered.note(name, Decided.good(principal, now=now, expires_at=expires_at))
        return principal

    def _key(self, key: str, *, now: float) -> tuple[Principal, float]:
        record = verified(key, store=self._keys, pepper=self._pepper(), now=int(now))
        self._require_standing(record.created_at, (tenant_mark(record.tenant),))
        principal = Principal(tenant=record.tenant, plan=record.plan, scopes=record.scopes, key_id=record.key_id)
        return principal, record.expires_at or NEVER

    def _token(self, token: Token) -> tuple[Principal, float]:
        self._require_standing(token.issued_at, token.marks)
        return token.principal, token.expires_at

    def _require_standing(self, issued_at: float, marks: tuple[str, ...]) -> None:
        if is_revoked(issued_at, self._revocations.standing(marks)):
            raise Unauthenticated(_REFUSAL)
