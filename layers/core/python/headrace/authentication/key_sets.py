"""Issuers' public keys: which of a published set are usable, how long they are kept, and when they are fetched again.

Fetching is bounded by time and not by requests: whatever key ids callers invent, one issuer is asked at most once per
`REFRESH_INTERVAL_S`, and keys that are known go on working while it cannot be reached, for `STALE_S_MAX` and no longer.
Sources: RFC 7517 (JWK), RFC 7518 sections 3.3, 3.4 and 6, RFC 8725 section 3.5.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from headrace.authentication.issuers import Algorithm, Issuer
from headrace.errors import HeadraceError, InvalidRequest, StoreUnavailable, Unauthenticated
from headrace.strict_json import parse

SET_BYTES_MAX = 65_536
KEYS_MAX = 32
FRESH_S = 300.0
"""A key that an issuer withdraws is used at most this long, while the issuer answers."""
REFRESH_INTERVAL_S = 10.0
"""At most one fetch per issuer in this time: for age, for an unknown key id, or after a failure."""
STALE_S_MAX = 3600.0
"""Keys older than this are not used, even when the issuer cannot be reached."""
RSA_BYTES = (256, 512)
"""2,048 bits at least (RFC 7518 section 3.3), 4,096 at most: checking takes time with the size."""
EXPONENT_BYTES_MAX = 4
COORDINATE_BYTES = 32

_KEY_ID = re.compile(r"[!-~]{1,128}")
_NUMBER = re.compile(r"[A-Za-z0-9_-]{1,1024}")


@dataclass(frozen=True, slots=True)
class Key:
    """A public key in JWK's own terms: `kty`, and `n` and `e`, or `crv`, `x` and `y`."""

    algorithm: Algorithm
    parameters: tuple[tuple[str, str], ...]


KeySet = Mapping[tuple[str, Algorithm], Key]


def parse_key_set(body: bytes) -> KeySet:
    """The usable keys of a JWK set, by key id and algorithm.

    Keys of other kinds or for other uses are left out, and so are two that share an id: neither can be told from the
    other.

    Raises:
        InvalidRequest: the document is no JWK set, or has more than `KEYS_MAX` keys.
    """
    document = parse(body, bytes_max=SET_BYTES_MAX)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise InvalidRequest(f"A key set holds a list of at most {KEYS_MAX} keys.")
    found: dict[tuple[str, Algorithm], Key] = {}
    twice: set[tuple[str, Algorithm]] = set()
    for entry in entries:
        key_id, key = (entry.get("kid"), _key(entry)) if isinstance(entry, dict) else (None, None)
        if key is None or not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
            continue
        name = (key_id, key.algorithm)
        if name in found:
            twice.add(name)
        found[name] = key
    return {name: key for name, key in found.items() if name not in twice}


def _key(entry: Mapping[str, Any]) -> Key | None:
    # A set with a private part was published by mistake: such a key is anybody's.
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    key: Key | None = None
    if entry.get("kty") == "RSA" and _is_modulus(entry.get("n")) and _is_exponent(entry.get("e")):
        key = Key("RS256", (("kty", "RSA"), ("n", entry["n"]), ("e", entry["e"])))
    elif entry.get("kty") == "EC" and entry.get("crv") == "P-256":
        point = (_number(entry.get("x")), _number(entry.get("y")))
        if all(len(coordinate) == COORDINATE_BYTES for coordinate in point):
            key = Key("ES256", (("kty", "EC"), ("crv", "P-256"), ("x", entry["x"]), ("y", entry["y"])))
    return key if key is not None and entry.get("alg", key.algorithm) == key.algorithm else None


def _number(value: Any) -> bytes:
    """The bytes of a JWK number; none when it is not one."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or len(value) % 4 == 1:
        return b""
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


def _is_modulus(value: Any) -> bool:
    least, most = RSA_BYTES
    number = _number(value)
    return least <= len(number) <= most and number[0] >= 0x80  # noqa: PLR2004 - the top bit: no shorter than it looks


def _is_exponent(value: Any) -> bool:
    number = _number(value)
    return 0 < len(number) <= EXPONENT_BYTES_MAX and int.from_bytes(number) > 2 and number[-1] % 2 == 1  # noqa: PLR2004


@dataclass(slots=True)
class _Kept:
    """What is known of one issuer. `-inf` is never."""

    keys: KeySet = field(default_factory=dict)
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")


class KeySets:
    """The keys of all issuers, kept in this process.

    Args:
        fetch: the body behind an address; raises `HeadraceError` when there is none.
        wall: seconds since the epoch. Not a monotonic clock: that may stand still while an environment is frozen.
        lock: held while keys are looked up, so that threads wait for one fetch and do not each start theirs.
    """

    def __init__(
        self,
        *,
        fetch: Callable[[str], bytes],
        wall: Callable[[], float],
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._fetch = fetch
        self._wall = wall
        self._lock = lock or nullcontext()
        self._kept: dict[str, _Kept] = {}

    def key(self, issuer: Issuer, key_id: str, algorithm: Algorithm) -> Key:
        """The issuer's key of this id for this algorithm.

        Raises:
            Unauthenticated: it has none.
            StoreUnavailable: it cannot be reached, and no key of it is known that may still be used.
        """
        with self._lock:
            kept = self._kept.setdefault(issuer.issuer, _Kept())
            name, now = (key_id, algorithm), self._wall()
            if not _within(FRESH_S, since=kept.fetched_at, now=now) or name not in kept.keys:
                self._refresh(kept, issuer)
            if not _within(STALE_S_MAX, since=kept.fetched_at, now=self._wall()):
                raise StoreUnavailable("The issuer's keys cannot be fetched.")
            if name not in kept.keys:
                raise Unauthenticated("Unauthorized")
            return kept.keys[name]

    def _refresh(self, kept: _Kept, issuer: Issuer) -> None:
        now = self._wall()
        if _within(REFRESH_INTERVAL_S, since=kept.tried_at, now=now):
            return
        kept.tried_at = now
        try:
            kept.keys = parse_key_set(self._fetch(issuer.jwks_uri))
        except HeadraceError:
            return  # what is known goes on until it is too old
        kept.fetched_at = now


def _within(seconds: float, *, since: float, now: float) -> bool:
    """Whether less than `seconds` have passed; a clock that was set back counts as if they had."""
    return 0 <= now - since < seconds
