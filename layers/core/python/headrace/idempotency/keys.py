"""The Idempotency-Key header: one key, one request, one answer that is given again to whoever repeats the request.

A record per tenant and key says what was asked (a fingerprint), who answers it until when, and then the answer. It
decides between four endings: begin, replay, wait (`InProgress`), refuse (`KeyReused`).

- A record that nobody completed in time may be taken over, by exactly one caller with the same request. The first
  holder, should it still run, can then neither complete nor abandon: its token no longer stands in the record.
- A key is bound to its first request for `KEPT_S`, also when the one who began it died.
- Answers that another try could change are not kept: see `is_final`.
- An answer too large to keep is marked so. Later calls are refused rather than executed again.
- No answer from the store means no execution: whoever sends a key must not get a silent second one. A caller refused
  so may find its key in progress until the deadline, because the write can have arrived.

This promises one *kept* answer per key, and one execution at a time. It cannot promise one execution: whoever dies
after the model answered and before the answer was kept leaves a request that will be executed again.

Source: IETF draft-ietf-httpapi-idempotency-key-header-07 (422 for a reused key, a conflict for one in progress).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from headrace.errors import InvalidRequest, StoreUnavailable
from headrace.framing import framed
from headrace.idempotency.records import Record, Replay, kept, replay

HEADER = "idempotency-key"
KEY_CHARS_MAX = 255
KEPT_S = 86_400
HELD_S_MAX = 900.0
"""No function runs longer (AWS Lambda quotas), so no record is held longer."""
TAKEOVER_MARGIN_S = 1.0
"""Between a holder's deadline and a takeover: two machines' clocks may differ, and a last write may be under way."""

_KEY = re.compile(rf"[\x20-\x7e]{{1,{KEY_CHARS_MAX}}}")
_ANOTHER_TRY = frozenset({401, 403, 408, 409, 425, 429})


class IdempotencyStore(Protocol):
    """Where records are. Each method is one atomic step, and may raise `StoreUnavailable`."""

    def begin(self, tenant: str, key: str, record: Record, *, now: float) -> Record | None:
        """Write the record where `may_begin` allows; None when it was written, else the record that stands."""

    def complete(self, tenant: str, key: str, record: Record) -> bool:
        """Put the record with its answer in the place of the holder's own in progress; False when that is gone."""

    def abandon(self, tenant: str, key: str, *, holder: str) -> bool:
        """Remove the holder's own record in progress; False when that is gone."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The right to answer this request; end it with `complete` or `abandon`."""

    tenant: str
    key: str
    record: Record


def is_final(status: int) -> bool:
    """Whether an answer with this status would be the same if the request were sent again.

    Successes, and the caller's own mistakes. Not credentials, conflicts, timeouts and limits, which change by
    themselves, nor anything that failed on our side.
    """
    return 200 <= status < 300 or (400 <= status < 500 and status not in _ANOTHER_TRY)  # noqa: PLR2004 - HTTP's classes


def fingerprint(method: str, path: str, *, content_type: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """SHA-256 over all that makes a request what it is.

    Args:
        method: as sent.
        path: with the query.
        content_type: as sent; empty when there was none.
        body: as sent.
        headers: every header that changes the answer, by lower-case name; none that differs between two tries.
    """
    digest = sha256()
    texts = (method, path, content_type, *(text for pair in sorted(headers.items()) for text in pair))
    for piece in framed((body, *(text.encode("utf-8", "surrogatepass") for text in texts))):
        digest.update(piece)
    return digest.digest()


class Idempotency:
    """Requests that carry a key.

    Args:
        store: where records are.
        wall: seconds since the epoch.
        token: a new unguessable name at each call; it tells one holder of a key from the next.
    """

    def __init__(self, *, store: IdempotencyStore, wall: Callable[[], float], token: Callable[[], str]) -> None:
        self._store = store
        self._wall = wall
        self._token = token

    def begin(self, tenant: str, key: str, fingerprint: bytes, *, until_s: float) -> Replay | Begun:
        """Begin to answer a request, or have the answer that was given before.

        Args:
            tenant: who asks; nobody else meets its keys.
            key: the header's value, 1 to 255 printable ASCII characters. It is taken as it is, quotes included.
            fingerprint: as `fingerprint` makes it.
            until_s: wall time when this request must be over.

        Raises:
            InvalidRequest: that is not a key.
            KeyReused: it stands for another request.
            InProgress: the same request is being answered.
            StoreUnavailable: nobody knows; the request must not be executed.
        """
        if not _KEY.fullmatch(key):
            raise InvalidRequest(
                f"Idempotency-Key must be 1 to {KEY_CHARS_MAX} printable ASCII characters.",
                code="invalid_idempotency_key",
                field=HEADER,
            )
        now = self._wall()
        ours = Record(
            fingerprint=fingerprint.hex(),
            holder=self._token(),
            until=min(until_s, now + HELD_S_MAX) + TAKEOVER_MARGIN_S,
            expires_at=int(now) + KEPT_S,
        )
        hashed = sha256(key.encode()).hexdigest()
        standing = self._store.begin(tenant, hashed, ours, now=now)
        if standing is None:
            return Begun(tenant, hashed, ours)
        return replay(standing, ours.fingerprint, now=now)

    def complete(self, begun: Begun, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Keep the answer for those who repeat the request; one that is not final is abandoned. Never raises.

        Returns:
            Whether it will be given again. False when another holder has taken over, or the store did not answer.
        """
        if not is_final(status):
            self.abandon(begun)
            return False
        answer = kept(status, headers, body)
        record = replace(begun.record, expires_at=int(self._wall()) + KEPT_S, answer=answer)
        try:
            return self._store.complete(begun.tenant, begun.key, record)
        except StoreUnavailable:
            return False

    def abandon(self, begun: Begun) -> None:
        """Let the next one who sends this key begin at once. Never raises: what is left behind ends by its deadline."""
        try:
            self._store.abandon(begun.tenant, begun.key, holder=begun.record.holder)
        except StoreUnavailable:
            return
