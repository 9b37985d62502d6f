"""Whether to ask again, and when: pure, and bounded in attempts and in time.

429 and 503 mean that nothing was done, so asking again is always right; `Retry-After` (RFC 9110, section 10.2.3) says
when. Where an answer was lost it is only right for requests that may arrive twice. Pauses of one's own are drawn from
nothing to a limit that doubles ("full jitter", AWS Architecture Blog, "Exponential Backoff And Jitter").
"""

from dataclasses import dataclass

ATTEMPTS_MAX = 6
WAITED_MAX_S = 120.0
"""All pauses of one request together."""
PAUSE_FIRST_S, PAUSE_MAX_S = 0.5, 10.0
REFUSED = frozenset({429, 503})
LOST = frozenset({500, 502, 504})
"""The request may have been served."""
IN_PROGRESS = 409
"""With `Retry-After`: the same Idempotency-Key is being answered."""
RETRY_AFTER_DIGITS_MAX = 6


@dataclass(frozen=True, slots=True)
class Miss:
    """What came instead of an answer: a status, or 0 when the connection failed.

    `repeatable` says whether the request may arrive twice; `may_retry` is false when the service said so
    (`x-should-retry: false`) and named no time.
    """

    status: int
    repeatable: bool
    retry_after_s: float | None = None
    may_retry: bool = True


def pause_s(miss: Miss, *, attempt: int, waited_s: float, chance: float) -> float | None:
    """How long to wait before the next attempt, None for giving up. `attempt` counts from 1, `chance` is in [0, 1)."""
    if attempt >= ATTEMPTS_MAX:
        return None
    if miss.retry_after_s is not None and miss.status in REFUSED | {IN_PROGRESS}:
        wait = miss.retry_after_s + chance  # those who are told one time should not come back at one
    elif miss.may_retry and (miss.status in REFUSED or (miss.repeatable and miss.status in LOST | {0})):
        wait = chance * min(PAUSE_MAX_S, PAUSE_FIRST_S * 2**attempt)
    else:
        return None
    return wait if waited_s + wait <= WAITED_MAX_S else None


def retry_after(header: str | None) -> float | None:
    """The seconds of a Retry-After header; None when there are none, as in its form with a date."""
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) <= RETRY_AFTER_DIGITS_MAX else None
