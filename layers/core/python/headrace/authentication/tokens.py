"""OIDC access tokens: what one must say to be worth a signature check, and what its claims grant.

Reading is a pure function and believes nothing: what it returns counts only once `key_id`'s signature over `compact`
has been checked, which the authenticator does. A token is refused for every reason before it costs a fetch or
cryptography. Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best practices), RFC 9068 (access tokens).
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.authentication.issuers import ANY_TENANT, Algorithm, Issuer
from headrace.authentication.revocation import subject_mark, tenant_mark, token_mark
from headrace.errors import InvalidRequest, Unauthenticated
from headrace.identity import Principal, is_plan, is_scope, is_tenant
from headrace.strict_json import parse

TOKEN_BYTES_MAX = 8192
"""API Gateway takes 10,240 bytes of headers in all."""
LEEWAY_S = 30
"""How far an issuer's clock may be from ours."""
LIFETIME_S_MAX = 86_400
"""A token that lives longer is a key that nobody rotates: refused."""
AUDIENCES_MAX = 16
NAME_CHARACTERS_MAX = 255
"""For `sub` and `jti`; OpenID Connect Core section 2 allows a subject 255."""
TYPES = frozenset({"jwt", "at+jwt"})
"""RFC 9068 section 2.1 asks for at+jwt; most issuers write JWT or nothing, which is taken too."""
TIME_MAX = 253_402_300_799
"""The end of the year 9999."""

_PART = re.compile(r"[A-Za-z0-9_-]+")
_KEY_ID = re.compile(r"[!-~]{1,128}")
_REFUSED_HEADERS = frozenset({"crit", "b64", "zip", "enc"})
"""Each changes how a token is read (RFC 7515 section 4.1.11, RFC 7797, RFC 7516): none is taken."""
_REFUSAL = "Unauthorized"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. Times are seconds since the epoch; `marks` are what would revoke it."""

    compact: str
    issuer: Issuer
    algorithm: Algorithm
    key_id: str
    principal: Principal
    issued_at: float
    expires_at: float
    marks: tuple[str, ...]


def read(compact: str, *, issuers: Mapping[str, Issuer], now: float) -> Token:
    """The token as it presents itself, its signature not checked yet.

    Raises:
        Unauthenticated: malformed, of nobody we know, not for us, not now, or naming a key or tenant that it may not;
            the message never says which.
    """
    if len(compact) > TOKEN_BYTES_MAX:
        raise Unauthenticated(_REFUSAL)
    parts = compact.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        raise Unauthenticated(_REFUSAL)
    header, claims, _ = _object(parts[0]), _object(parts[1]), _bytes(parts[2])
    issuer = issuers.get(_text(claims, "iss"))
    if issuer is None:
        raise Unauthenticated(_REFUSAL)
    algorithm, key_id = _signed_with(header, issuer)
    _require_audience(claims, issuer)
    issued_at, expires_at = _require_time(claims, now=now)
    subject = _text(claims, "sub", NAME_CHARACTERS_MAX)
    tenant = _tenant(claims, issuer)
    marks = [tenant_mark(tenant), subject_mark(issuer.issuer, subject)]
    if "jti" in claims:
        marks.append(token_mark(issuer.issuer, _text(claims, "jti", NAME_CHARACTERS_MAX)))
    principal = Principal(
        tenant=tenant,
        plan=_plan(claims, issuer),
        scopes=_scopes(claims, issuer),
        key_id=caller_id(issuer.issuer, subject),
    )
    return Token(compact, issuer, algorithm, key_id, principal, issued_at, expires_at, tuple(marks))


def caller_id(issuer: str, subject: str) -> str:
    """A name for who a token speaks for: the same in all of their tokens, and not to be read back."""
    return f"jwt-{hashlib.sha256(f'{issuer} {subject}'.encode()).hexdigest()[:16]}"


def _bytes(part: str) -> bytes:
    """One part's bytes, of the one text that encodes them: no padding, no stray bits (RFC 7515 section 2)."""
    if not _PART.fullmatch(part):
        raise Unauthenticated(_REFUSAL)
    try:
        content = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except NotBase64:
        raise Unauthenticated(_REFUSAL) from None
    if urlsafe_b64encode(content).rstrip(b"=") != part.encode():
        raise Unauthenticated(_REFUSAL)
    return content


def _object(part: str) -> dict[str, Any]:
    try:
        value = parse(_bytes(part), bytes_max=TOKEN_BYTES_MAX)
    except InvalidRequest:
        raise Unauthenticated(_REFUSAL) from None
    if not isinstance(value, dict):
        raise Unauthenticated(_REFUSAL)
    return value


def _text(claims: Mapping[str, Any], name: str, characters_max: int = TOKEN_BYTES_MAX) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= characters_max:
        raise Unauthenticated(_REFUSAL)
    return value


def _signed_with(header: Mapping[str, Any], issuer: Issuer) -> tuple[Algorithm, str]:
    algorithm, key_id = header.get("alg"), header.get("kid")
    kind = header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise Unauthenticated(_REFUSAL)
    # Without a key id every key would have to be tried.
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise Unauthenticated(_REFUSAL)
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        raise Unauthenticated(_REFUSAL)
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise Unauthenticated(_REFUSAL)
    return algorithm, key_id


def _require_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or not 0 < len(audiences) <= AUDIENCES_MAX:
        raise Unauthenticated(_REFUSAL)
    if not all(isinstance(one, str) for one in audiences) or issuer.audiences.isdisjoint(audiences):
        raise Unauthenticated(_REFUSAL)


def _require_time(claims: Mapping[str, Any], *, now: float) -> tuple[float, float]:
    issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
    not_before = _time(claims, "nbf") if "nbf" in claims else issued_at
    if now >= expires_at + LEEWAY_S or now < not_before - LEEWAY_S or now < issued_at - LEEWAY_S:
        raise Unauthenticated(_REFUSAL)
    if not 0 < expires_at - issued_at <= LIFETIME_S_MAX:
        raise Unauthenticated(_REFUSAL)
    return issued_at, expires_at


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # The range is checked before anything else is done with it: an integer may have hundreds of digits.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIME_MAX:
        raise Unauthenticated(_REFUSAL)
    return float(value)


def _tenant(claims: Mapping[str, Any], issuer: Issuer) -> str:
    tenant = _text(claims, issuer.tenant_claim)
    if not is_tenant(tenant) or not (ANY_TENANT in issuer.tenants or tenant in issuer.tenants):
        raise Unauthenticated(_REFUSAL)
    return tenant


def _plan(claims: Mapping[str, Any], issuer: Issuer) -> str:
    if not issuer.plan_claim or issuer.plan_claim not in claims:
        return issuer.default_plan
    plan = _text(claims, issuer.plan_claim)
    if not is_plan(plan):
        raise Unauthenticated(_REFUSAL)
    return plan


def _scopes(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    """Ours among the token's scopes; no claim, or one of another form, grants nothing."""
    value = claims.get(issuer.scopes_claim)
    listed = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
    named = [one for one in listed if isinstance(one, str) and one.startswith(issuer.scopes_prefix)]
    return frozenset(scope for one in named if is_scope(scope := one[len(issuer.scopes_prefix) :]))
