"""What a caller prefers: `respond-async` and `wait` of the Prefer header (RFC 7240), parsed as its grammar says.

    Prefer     = 1#preference
    preference = token [ BWS "=" BWS word ] *( OWS ";" [ OWS parameter ] )
    word       = token / quoted-string

Preferences that nobody here knows are passed over, as the RFC wants; a header that is not of this form is refused,
because a caller who misspells a wait should not find out by waiting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.errors import InvalidRequest

WEBHOOK_HEADER = "x-headrace-webhook"
"""Where the end of a job is told."""
PREFER_MAX_CHARS = 1024
WAIT_DIGITS_MAX = 9

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WORD = rf'(?:{_NAME}|"(?:[\t !#-\[\]-~]|\\[\t -~])*+")'
_PAIR = rf"{_NAME}(?:[ \t]*=[ \t]*{_WORD})?"
_PREFERENCE = re.compile(
    rf"(?P<name>{_NAME})(?:[ \t]*=[ \t]*(?P<value>{_WORD}))?(?:[ \t]*;(?:[ \t]*{_PAIR})?)*+[ \t]*+(?:,|\Z)"
)
_BETWEEN = re.compile(r"[ \t,]*+")
"""List elements may be empty (RFC 9110, section 5.6.1.2)."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Whether the caller takes a job instead of an answer, and how many seconds it would rather wait for one."""

    respond_async: bool = False
    wait_s: int | None = None


def prefer(header: str | None) -> Preference:
    """The preferences in a header; several fields of the name are joined with commas first. The first of a name counts.

    Raises:
        InvalidRequest: it is too long or not of the RFC's form, `wait` is not a number of seconds, or `respond-async`
            has a value.
    """
    if header is None:
        return Preference()
    if len(header) > PREFER_MAX_CHARS:
        raise _refusal(f"may have at most {PREFER_MAX_CHARS} characters")
    found: dict[str, str] = {}
    at = _end(_BETWEEN.match(header))
    while at < len(header):
        match = _PREFERENCE.match(header, at)
        if match is None:
            raise _refusal("must be a list such as: respond-async, wait=10")
        found.setdefault(match["name"].lower(), _plain(match["value"] or ""))
        at = _end(_BETWEEN.match(header, match.end()))
    if found.get("respond-async"):
        raise _refusal("respond-async takes no value")
    wait = found.get("wait")
    if wait is not None and not (wait.isascii() and wait.isdigit() and len(wait) <= WAIT_DIGITS_MAX):
        raise _refusal("wait must be a whole number of seconds")
    return Preference("respond-async" in found, None if wait is None else int(wait))


def _plain(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0


def _refusal(problem: str) -> InvalidRequest:
    return InvalidRequest(f"Prefer: {problem} (RFC 7240).", code="invalid_prefer", field="prefer")
