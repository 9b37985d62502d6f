"""What a request says that it needs of a version, read from its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from headrace.errors import InvalidRequest
from headrace.routing.capabilities import Need

HARDWARE_HEADER = "x-headrace-hardware"
COST_CLASS_HEADER = "x-headrace-cost-class-max"
LANGUAGE_HEADER = "x-headrace-language"
GROUP_HEADER = "x-headrace-group"
LANGUAGES_MAX = 8
LANGUAGE_TAG = r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}"
"""A BCP 47 tag, as far as it matters here: only its first part is held against what a version serves."""
GROUP = r"[a-z0-9][a-z0-9-]{0,30}"
_LANGUAGES = rf"{LANGUAGE_TAG}([ \t]*,[ \t]*{LANGUAGE_TAG}){{0,{LANGUAGES_MAX - 1}}}"
_VALUE_MAX_CHARS = 256


def need_of(
    headers: Mapping[str, str],
    *,
    items: int,
    text_chars: int | None,
    payload_bytes: int,
    pinned: str | None,
    task: str | None = None,
) -> Need:
    """What the request needs; the arguments are what its body and path told, `headers` has names in lower case.

    Raises:
        InvalidRequest: a header cannot say what it is for; the field names it.
    """
    cost_class_max = _value(headers, COST_CLASS_HEADER, r"[0-9]", says="be one digit")
    languages = _value(headers, LANGUAGE_HEADER, _LANGUAGES, says=f"list up to {LANGUAGES_MAX} language tags")
    return Need(
        task=task,
        items=items,
        text_chars=text_chars,
        payload_bytes=payload_bytes,
        languages=primary_languages(languages.split(",") if languages else []),
        hardware=_value(headers, HARDWARE_HEADER, r"gpu|cpu", says="be gpu or cpu"),
        cost_class_max=None if cost_class_max is None else int(cost_class_max),
        group=_value(headers, GROUP_HEADER, GROUP, says="name a group: a-z, 0-9 and '-'") or "",
        pinned=pinned,
    )


def primary_languages(tags: list[str]) -> tuple[str, ...]:
    """The first part of each language tag, once and in lower case: `en-GB` needs what `en` does."""
    return tuple(dict.fromkeys(tag.strip().partition("-")[0].lower() for tag in tags))


def _value(headers: Mapping[str, str], name: str, pattern: str, *, says: str) -> str | None:
    value = headers.get(name)
    if value is not None and (len(value) > _VALUE_MAX_CHARS or not re.fullmatch(pattern, value)):
        raise InvalidRequest(f"{name} must {says}.", code="invalid_header", field=name)
    return value
