"""What is known of an Idempotency-Key, and what that means for the next request which carries it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from headrace.errors import InProgress, KeyReused

REPLAYED_HEADER = "idempotent-replayed"
RETRY_AFTER_S_MAX = 2.0
BODY_BYTES_MAX = 350 * 1024
"""Of a body as it is stored. DynamoDB holds 400 KB in one item; headers are at most 10 KB (API Gateway quotas)."""
PLAIN_BYTES_MAX = 6 * 1024 * 1024
"""No answer through Lambda is larger; more is not even compressed."""
GZIP_BYTES_MIN = 1024
KEPT_HEADERS = frozenset(
    {
        "content-type",
        "content-language",
        "inference-header-content-length",
        "location",
        "x-headrace-degraded",
        "x-headrace-outcome-token",
        "x-headrace-served-by",
    }
)
"""What belongs to the answer itself. Request ids, timings and limits belong to the call that asks."""

_GZIP_WINDOW = 31


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is stored; `body` None was too large."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    encoding: Literal["", "gzip"] = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one tenant's key.

    Args:
        fingerprint: hexadecimal, of the request that the key stands for.
        holder: the token of the one call that may complete or abandon it.
        until: wall time after which a record without an answer may be taken over.
        expires_at: wall time after which it counts as gone.
        answer: None while in progress.
    """

    fingerprint: str
    holder: str
    until: float
    expires_at: int
    answer: Kept | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer that was given before, marked with `idempotent-replayed: true`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def may_begin(standing: Record | None, fingerprint: str, *, now: float) -> bool:
    """Whether a request may be executed: its key is free, or was left unanswered by an equal one past its deadline."""
    if standing is None or standing.expires_at <= now:
        return True
    return standing.answer is None and standing.until <= now and standing.fingerprint == fingerprint


def replay(standing: Record, fingerprint: str, *, now: float) -> Replay:
    """What a key that is taken means for a request.

    Raises:
        KeyReused: it stands for another request, or for an answer too large to be kept.
        InProgress: its request is being answered.
    """
    if standing.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key was sent with another request: use a new key for each request.")
    answer = standing.answer
    if answer is None:
        raise InProgress(
            "A request with this Idempotency-Key is being answered: send it again in a moment.",
            retry_after_s=min(RETRY_AFTER_S_MAX, max(0.0, standing.until - now)),
        )
    if answer.body is None:
        # Not a conflict to be tried again: clients repeat those by themselves, and this one never ends well.
        raise KeyReused(
            "This request was answered, and its answer is too large to be given again: use a new key.",
            code="idempotency_answer_too_large",
        )
    body = zlib.decompress(answer.body, wbits=_GZIP_WINDOW) if answer.encoding == "gzip" else answer.body
    return Replay(answer.status, (*answer.headers, (REPLAYED_HEADER, "true")), body)


def kept(status: int, headers: Mapping[str, str], body: bytes) -> Kept:
    """An answer as it is stored: without headers of one call only, compressed when that helps, without a large body."""
    chosen = tuple((name.lower(), value) for name, value in headers.items() if name.lower() in KEPT_HEADERS)
    if len(body) > PLAIN_BYTES_MAX:
        return Kept(status, chosen, None)
    encoding: Literal["", "gzip"] = ""
    if len(body) >= GZIP_BYTES_MIN:
        compressed = zlib.compress(body, wbits=_GZIP_WINDOW)
        if len(compressed) < len(body):
            body, encoding = compressed, "gzip"
    return Kept(status, chosen, body, encoding) if len(body) <= BODY_BYTES_MAX else Kept(status, chosen, None)
