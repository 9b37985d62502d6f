"""Whose tokens are accepted: the issuers that the operator configured, each with exactly what it is trusted with.

One JSON list, in the authorizer's environment:

    [{"issuer": "https://login.example.com/", "audience": "https://api.example.com",
      "jwks_uri": "https://login.example.com/.well-known/jwks.json", "algorithms": ["RS256"],
      "tenants": ["acme"], "tenant_claim": "tenant", "default_plan": "standard"}]

Nothing is discovered and nothing follows a token's own words: where keys come from is written here. Sources: RFC 8725
(JWT best practices) sections 3.1, 3.8, 3.9 and 3.10.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.errors import InvalidRequest
from headrace.identity import is_plan, is_tenant
from headrace.strict_json import parse

Algorithm = Literal["RS256", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256")
ISSUERS_MAX = 8
CONFIGURATION_BYTES_MAX = 4096
"""Lambda allows 4 KB for all environment variables of a function together (Lambda quotas)."""
ANY_TENANT = "*"

_TEXT = re.compile(r"[!-~]{1,255}")
_PREFIX = re.compile(r"[!-~]{0,128}")
_PORT_AND_PATH = r"(:[0-9]{1,5})?(/[A-Za-z0-9._~%!$&'()*+,;=:/-]*)?(\?[A-Za-z0-9._~%=&-]*)?"
_KEYS_ADDRESS = re.compile(
    rf"(https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|http://(127(\.[0-9]{{1,3}}){{3}}|\[::1\])){_PORT_AND_PATH}"
)
"""https, or plain http to this very machine by its address (a name could be anybody's). Without user or fragment."""


class InvalidIssuers(ValueError):
    """A configuration that cannot be used. `problems` has one line each: where, and what to do."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer of tokens.

    `tenants` are those that it may speak for, or `*`: without that, one customer's login service could name another
    customer as the tenant. Claims are looked up by exact name. Without `plan_claim` every caller has `default_plan`.
    `scopes_prefix` is what the issuer puts before our scopes' names; others of its scopes mean nothing here.
    """

    issuer: str
    audiences: frozenset[str]
    jwks_uri: str
    tenants: frozenset[str]
    default_plan: str
    algorithms: frozenset[Algorithm] = frozenset({"RS256"})
    tenant_claim: str = "tenant"
    plan_claim: str = ""
    scopes_claim: str = "scope"
    scopes_prefix: str = ""


def parse_issuers(text: str) -> dict[str, Issuer]:
    """The configured issuers by name; none for an empty list.

    Raises:
        InvalidIssuers: with every problem named.
    """
    try:
        document = parse(text.encode(), bytes_max=CONFIGURATION_BYTES_MAX)
    except (InvalidRequest, UnicodeEncodeError):
        raise InvalidIssuers((f"issuers: must be JSON of at most {CONFIGURATION_BYTES_MAX} bytes",)) from None
    if not isinstance(document, list) or len(document) > ISSUERS_MAX:
        raise InvalidIssuers((f"issuers: must be a list of at most {ISSUERS_MAX}",))
    problems: list[str] = []
    issuers: dict[str, Issuer] = {}
    for index, entry in enumerate(document):
        issuer = _issuer(entry, at=f"issuers[{index}]", problems=problems)
        if issuer is not None and issuer.issuer in issuers:
            problems.append(f"issuers[{index}].issuer: is configured twice")
        elif issuer is not None:
            issuers[issuer.issuer] = issuer
    if problems:
        raise InvalidIssuers(tuple(problems))
    return issuers


def _issuer(entry: Any, *, at: str, problems: list[str]) -> Issuer | None:
    if not isinstance(entry, dict):
        problems.append(f"{at}: must be an object")
        return None
    found = _Fields(entry, at=at, problems=problems)
    values: dict[str, Any] = {
        "issuer": found.text("issuer", _is_text, "1 to 255 visible characters"),
        "audiences": found.texts("audience", _is_text, "a text or a list of them"),
        "jwks_uri": found.text("jwks_uri", _is_keys_address, "an https address, or http on a loopback address"),
        "tenants": found.texts("tenants", _is_tenant_or_any, "a list of tenants, or *"),
        "default_plan": found.text("default_plan", is_plan, "the name of a plan"),
        "algorithms": found.texts("algorithms", ALGORITHMS.__contains__, "RS256, ES256 or both", ["RS256"]),
        "tenant_claim": found.text("tenant_claim", _is_text, "the name of a claim", "tenant"),
        "plan_claim": found.text("plan_claim", _is_text_or_none, "the name of a claim", ""),
        "scopes_claim": found.text("scopes_claim", _is_text, "the name of a claim", "scope"),
        "scopes_prefix": found.text("scopes_prefix", _is_prefix, "at most 128 visible characters", ""),
    }
    return Issuer(**values) if found.done() else None


class _Fields:
    """Reads an entry's fields, and notes what is wrong with each and what is left over."""

    def __init__(self, entry: Mapping[str, Any], *, at: str, problems: list[str]) -> None:
        self._left = dict(entry)
        self._at = at
        self._problems = problems
        self._before = len(problems)

    def text(self, name: str, fits: Callable[[str], bool], says: str, default: str | None = None) -> str:
        value = self._left.pop(name, default)
        if isinstance(value, str) and fits(value):
            return value
        self._problems.append(f"{self._at}.{name}: must be {says}")
        return ""

    def texts(
        self, name: str, fits: Callable[[str], bool], says: str, default: list[str] | None = None
    ) -> frozenset[str]:
        value = self._left.pop(name, default)
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and values and all(isinstance(one, str) and fits(one) for one in values):
            return frozenset(values)
        self._problems.append(f"{self._at}.{name}: must be {says}")
        return frozenset()

    def done(self) -> bool:
        self._problems.extend(f"{self._at}.{name}: is not a field" for name in self._left)
        return len(self._problems) == self._before


def _is_text(text: str) -> bool:
    return _TEXT.fullmatch(text) is not None


def _is_text_or_none(text: str) -> bool:
    return not text or _is_text(text)


def _is_prefix(text: str) -> bool:
    return _PREFIX.fullmatch(text) is not None


def _is_tenant_or_any(text: str) -> bool:
    return text == ANY_TENANT or is_tenant(text)


def _is_keys_address(text: str) -> bool:
    return _KEYS_ADDRESS.fullmatch(text) is not None
