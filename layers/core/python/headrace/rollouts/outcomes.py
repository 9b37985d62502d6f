"""What an answer's token says, by which a caller tells later what came of the answer: a click, a sale, a complaint.

A token names the arm that answered, so that the outcome counts there, however much later it comes and whatever the
weights are by then. It is signed, and of one tenant: its key is derived from the platform's secret and the tenant's
name (HMAC-SHA-256, RFC 2104), so that nothing is stored and no other tenant's token is any good. It holds no input, no
output and nobody's name: the caller is in it as a hash.
"""

from __future__ import annotations

import hmac
import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from headrace.errors import InvalidRequest
from headrace.rollouts.seen import Place

TOKEN_HEADER = "x-headrace-outcome-token"  # noqa: S105 - a header's name
TOKEN_MAX_CHARS = 512
KEPT_S = 7 * 86_400
"""How long after the answer an outcome may come."""
VALUE_MAX = 1e9
"""Values are from minus this to this; their squares still add up exactly enough."""
EVENTS_MAX = 100
"""In one request."""
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""What an outcome may be called."""
_FORM = "o1"
_MAC_BYTES = 16
_PURPOSE = b"headrace-outcome\0"
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token holds.

    Args:
        endpoint: the model that was asked.
        subject, stage, arm, everybody: the place where the request counted.
        caller: its hash within the subject.
        name: the one event that may be posted.
        request_id: of the request that was answered.
        expires_at: seconds since the epoch.
    """

    endpoint: str
    subject: str
    stage: int
    arm: str
    everybody: bool
    caller: str
    name: str
    request_id: str
    expires_at: int

    @property
    def place(self) -> Place:
        """Where its outcome counts."""
        return Place(self.subject, self.stage, self.arm, self.everybody)


def token_key(pepper: bytes, tenant: str) -> bytes:
    """The key of a tenant's tokens, of this purpose alone."""
    return hmac.digest(pepper, _PURPOSE + tenant.encode(), "sha256")


def issue(ticket: Ticket, *, key: bytes) -> str:
    """The token of an answer, in at most `TOKEN_MAX_CHARS` characters of `A-Z a-z 0-9 - _ .`.

    Raises:
        ValueError: it would be longer.
    """
    payload = _to_text(_encode([getattr(ticket, name) for name in Ticket.__slots__]).encode())
    token = f"{_FORM}.{payload}.{_mac(payload, key)}"
    if len(token) > TOKEN_MAX_CHARS:
        raise ValueError("an outcome token would be too long")
    return token


def verify(token: str, *, key: bytes, now: float, field: str = "token") -> Ticket:
    """What a token holds, if it was issued under this key and its time is not over.

    Raises:
        InvalidRequest: `invalid_outcome_token`, also for another tenant's; `outcome_token_expired`.
    """
    form, _, rest = token.partition(".")
    payload, _, mac = rest.partition(".")
    good = len(token) <= TOKEN_MAX_CHARS and form == _FORM and token.isascii()
    if not good or not hmac.compare_digest(mac, _mac(payload, key)):
        raise InvalidRequest(
            f"{field} is not the {TOKEN_HEADER} of an answer to this tenant.", code="invalid_outcome_token", field=field
        )
    ticket = Ticket(*json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
    if ticket.expires_at <= now:
        raise InvalidRequest(
            f"{field} is older than {KEPT_S // 86_400} days: its outcome counts no more.",
            code="outcome_token_expired",
            field=field,
        )
    return ticket


def check_outcome(ticket: Ticket, *, name: str, value: float, field: str = "") -> None:
    """Whether this is the event that the token is for.

    Raises:
        InvalidRequest: `unknown_outcome`, or `invalid_body` for a value out of bounds.
    """
    if name != ticket.name:
        raise InvalidRequest(
            f"This answer's outcome is called {ticket.name}.", code="unknown_outcome", field=f"{field}name"
        )
    if not math.isfinite(value) or abs(value) > VALUE_MAX:
        raise InvalidRequest(
            f"value must be a number from {-VALUE_MAX:.0e} to {VALUE_MAX:.0e}.",
            code="invalid_body",
            field=f"{field}value",
        )


def _mac(payload: str, key: bytes) -> str:
    return _to_text(hmac.digest(key, f"{_FORM}.{payload}".encode(), "sha256")[:_MAC_BYTES])


def _to_text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
