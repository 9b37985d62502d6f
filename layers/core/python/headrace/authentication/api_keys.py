"""API keys: how they are made, what of them is stored, and when one is good.

A key is `hr_<id>_<secret>`: the id finds the record, the secret has 256 random bits. Stored is only
HMAC-SHA-256(pepper, id ‖ "." ‖ secret), so neither a copy of the table nor the pepper alone yields a key, and one
record's code cannot be moved to another id. Comparison is in constant time, and an unknown id costs the same work as
a wrong secret. Sources: NIST SP 800-107 (HMAC as a keyed digest), OWASP API2:2023.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.errors import Unauthenticated
from headrace.identity import INVOKE, SCOPES, Principal, is_plan, is_scope, is_tenant

ID_BYTES = 10
"""16 characters in base32: letters and digits only, so that an id is never taken for an option on a command line."""
SECRET_BYTES = 32
PEPPER_BYTES_MIN = 32
KEY_PREFIX = "hr_"
CACHE_TTL_S = 20.0
"""A revoked credential works at most this long on a warm authorizer, whose own answer the gateway does not cache."""

_KEY = re.compile(r"hr_([a-z2-7]{16})_([A-Za-z0-9_-]{43})")
_ABSENT_MAC = "0" * 64
_REFUSAL = "Unauthorized"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is stored of a key. Times are seconds since the epoch; 0 means never."""

    key_id: str
    mac: str
    tenant: str
    plan: str
    scopes: frozenset[str]
    created_at: int
    expires_at: int = 0
    revoked_at: int = 0


class KeyStore(Protocol):
    """Where key records live."""

    def get(self, key_id: str) -> KeyRecord | None:
        """The record, or None."""

    def put(self, record: KeyRecord) -> None:
        """Write a new record; an id that exists is never overwritten."""

    def revoke(self, key_id: str, *, at: int) -> bool:
        """Mark a key revoked; False when there is no such key."""


def mint(
    *,
    tenant: str,
    plan: str,
    scopes: frozenset[str],
    pepper: bytes,
    now: int,
    random_bytes: Callable[[int], bytes],
    expires_at: int = 0,
) -> tuple[str, KeyRecord]:
    """A new key and its record. The key itself is returned once and stored nowhere.

    Raises:
        ValueError: the tenant's name, a scope or the pepper cannot be used.
    """
    if not is_tenant(tenant):
        raise ValueError("tenant must be 1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit")
    if not is_plan(plan):
        raise ValueError("plan must be 1 to 63 of a-z, 0-9, '-' and '_', beginning with a letter or digit")
    if unknown := sorted(scope for scope in scopes if not is_scope(scope)):
        raise ValueError(f"unknown scopes {', '.join(unknown)}: use {', '.join(sorted(SCOPES))} or {INVOKE}:<model>")
    if len(pepper) < PEPPER_BYTES_MIN:
        raise ValueError(f"the pepper must hold at least {PEPPER_BYTES_MIN} bytes")
    key_id = b32encode(random_bytes(ID_BYTES)).decode().lower()
    secret = urlsafe_b64encode(random_bytes(SECRET_BYTES)).decode().rstrip("=")
    record = KeyRecord(
        key_id=key_id,
        mac=_mac(pepper, key_id, secret),
        tenant=tenant,
        plan=plan,
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
    )
    return f"hr_{key_id}_{secret}", record


def verify(presented: str, *, store: KeyStore, pepper: bytes, now: int) -> Principal:
    """The caller behind a presented key. See `verified`."""
    record = verified(presented, store=store, pepper=pepper, now=now)
    return Principal(tenant=record.tenant, plan=record.plan, scopes=record.scopes, key_id=record.key_id)


def verified(presented: str, *, store: KeyStore, pepper: bytes, now: int) -> KeyRecord:
    """The record of a presented key that is good.

    Raises:
        Unauthenticated: malformed, unknown, wrong, expired or revoked; the message never says which.
    """
    match = _KEY.fullmatch(presented)
    key_id, secret = match.groups() if match else ("-" * 16, "")
    record = store.get(key_id)
    # The comparison runs for an unknown id too, so that timing does not tell which ids exist.
    right = hmac.compare_digest(_mac(pepper, key_id, secret), record.mac if record else _ABSENT_MAC)
    if record is None or not right or record.revoked_at or (record.expires_at and now >= record.expires_at):
        raise Unauthenticated(_REFUSAL)
    return record


def presented_key(headers: Mapping[str, str]) -> str:
    """The credential in a request's headers (names in lower case): `x-api-key`, or `Authorization: Bearer`.

    Raises:
        Unauthenticated: neither is there.
    """
    if key := headers.get("x-api-key", ""):
        return key.strip()
    scheme, _, credential = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and credential:
        return credential.strip()
    raise Unauthenticated(_REFUSAL)


def _mac(pepper: bytes, key_id: str, secret: str) -> str:
    return hmac.new(pepper, f"{key_id}.{secret}".encode(), hashlib.sha256).hexdigest()
