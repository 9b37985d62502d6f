"""An issuer of tokens in a few lines: it signs whatever a test wants signed, properly or not."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cache
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from headrace.authentication.issuers import Issuer, parse_issuers

NAME = "https://login.example.com/"
AUDIENCE = "https://api.example.com"
NOW = 1_800_000_000
CONFIGURATION = {
    "issuer": NAME,
    "audience": AUDIENCE,
    "jwks_uri": "https://login.example.com/keys",
    "algorithms": ["RS256", "ES256"],
    "tenants": ["acme", "globex"],
    "default_plan": "standard",
    "plan_claim": "plan",
    "scopes_prefix": "headrace/",
}


@cache
def rsa_key(name: str, bits: int = 2048) -> RSAKey:
    """A private RSA key; the same one for the same name."""
    return RSAKey.generate_key(bits, {"kid": name, "use": "sig", "alg": "RS256"})


@cache
def p256_key(name: str) -> ECKey:
    """A private P-256 key; the same one for the same name."""
    return ECKey.generate_key("P-256", {"kid": name, "use": "sig", "alg": "ES256"})


def issuers(**changes: Any) -> dict[str, Issuer]:
    """The configured issuers, one of them, changed as asked."""
    return parse_issuers(json.dumps([{**CONFIGURATION, **changes}]))


def claims(**changes: Any) -> dict[str, Any]:
    """A good token's claims; a claim that is changed to None is left out."""
    good = {
        "iss": NAME,
        "aud": AUDIENCE,
        "sub": "user-1",
        "jti": "token-1",
        "iat": NOW - 60,
        "exp": NOW + 600,
        "tenant": "acme",
        "scope": "openid headrace/invoke headrace/read",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(payload: dict[str, Any] | bytes, key: RSAKey | ECKey, **header: Any) -> str:
    """A token over these claims, with this key, and with a header changed as asked."""
    algorithm = {"RSA": "RS256", "EC": "ES256"}[key.key_type]
    head = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt", **header}
    head = {name: value for name, value in head.items() if value is not None}
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    registry = jws.JWSRegistry(algorithms=[head["alg"]], strict_check_header=False)
    return jws.serialize_compact(head, body, key, registry=registry)


def raw(header: Any, payload: Any, signature: bytes = b"s") -> str:
    """A token of these three parts, whatever they are."""
    return ".".join(
        encoded(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload, signature)
    )


def encoded(content: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(part: str) -> bytes:
    """The reverse."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def key_set(*keys: RSAKey | ECKey) -> bytes:
    """The public halves, as an issuer publishes them."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()
