"""Signatures of tokens, by joserfc over the `cryptography` package.

The key decides: an RSA key checks RS256, a P-256 key ES256, and a token that says otherwise is not signed. The library
is imported with the first token, because an authorizer that only sees API keys has no use for it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from headrace.authentication.key_sets import KEYS_MAX, Key
from headrace.authentication.tokens import Token


class JoseSignatures:
    """See `headrace.authentication.authenticator.Signatures`."""

    def is_signed(self, token: Token, key: Key) -> bool:
        """Whether this key, by its own algorithm and no other, signed the token."""
        from joserfc import jws  # noqa: PLC0415 - 150 ms of CPU that only tokens need
        from joserfc.errors import JoseError  # noqa: PLC0415

        if token.algorithm != key.algorithm:
            return False
        # Headers that say nothing to us, such as x5t or nonce, are issuers' habit; crit was refused when it was read.
        registry = jws.JWSRegistry(algorithms=[key.algorithm], strict_check_header=False)
        try:
            jws.deserialize_compact(token.compact, _imported(key), registry=registry)
        except (JoseError, ValueError, TypeError):
            return False
        return True


@lru_cache(maxsize=KEYS_MAX)
def _imported(key: Key) -> Any:
    from joserfc.jwk import ECKey, RSAKey  # noqa: PLC0415 - as above

    kind = RSAKey if key.algorithm == "RS256" else ECKey
    return kind.import_key(dict(key.parameters))
