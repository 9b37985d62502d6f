"""What the end of a request means for the records that it asked for: pure.

A record's own fault is an error at once, found by halving the request until it stands alone. A fault of the endpoint
is tried again, with a growing pause, as often as `RECORD_ATTEMPTS_MAX` says. That there is no room now (overload, an
open circuit, a limit, a budget) is nobody's fault: it costs no attempt, and everything waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.batches.bounds import RECORD_ATTEMPTS_MAX
from headrace.errors import (
    DeadlineTooShort,
    Forbidden,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    NothingServed,
    Overloaded,
    Refused,
    StoreUnavailable,
    UnknownTarget,
)

BACKOFF_S, BACKOFF_MAX_S = 0.5, 15.0
"""Before the next attempt: a random part of this, doubled with each one (full jitter)."""
WHOLE_ATTEMPTS_MAX = 2
"""A request that broke the model so often is asked record by record: one of them may be what breaks it."""
LADDER_ATTEMPTS = 2
"""The last so many attempts may be answered by a stand-in, where the batch takes that."""
WAIT_DEFAULT_S = 2.0
_PRESSURE = frozenset({"shed", "saturated", "throttled", "circuit_open", "budget_unknown"})
_OF_RECORD = (InvalidRequest, UnknownTarget, Forbidden)


@dataclass(frozen=True, slots=True)
class Failed:
    """These records end in this error."""

    error: HeadraceError


@dataclass(frozen=True, slots=True)
class Split:
    """Ask for them in parts: `alone` each by itself, else in halves. `wait_s` before that."""

    alone: bool = False
    wait_s: float = 0.0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """Ask for them again after so many seconds; `attempts` have failed."""

    wait_s: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Ask nobody for so long, then again for these; `why` says what there is no room in."""

    why: Literal["overloaded", "circuit_open", "budget_exceeded", "limit_exceeded", "store_unavailable"]
    wait_s: float


Fate = Failed | Split | Again | Hold


def fate_of(error: Exception, *, records: int, attempts: int, chance: float) -> Fate:
    """What becomes of the records of a request that ended in an error.

    Args:
        error: what the policy raised.
        records: how many were in the request.
        attempts: how many requests with them have failed before.
        chance: uniform in [0, 1).
    """
    if isinstance(error, _OF_RECORD):
        return Failed(error) if records == 1 else Split(attempts=attempts)
    if isinstance(error, LimitExceeded):
        return _of_limit(error, records=records, attempts=attempts)
    if isinstance(error, Overloaded):
        return Hold("overloaded", error.retry_after_s or WAIT_DEFAULT_S)
    if isinstance(error, StoreUnavailable):
        return Hold("store_unavailable", WAIT_DEFAULT_S)
    reasons = {reason for _, reason in error.attempts} if isinstance(error, NothingServed) else set()
    if isinstance(error, NothingServed) and reasons and reasons <= _PRESSURE:
        why: Literal["overloaded", "circuit_open"] = "circuit_open" if "circuit_open" in reasons else "overloaded"
        return Hold(why, float(error.retry_after_s) or WAIT_DEFAULT_S)
    return _of_endpoint(error, records=records, attempts=attempts + 1, chance=chance)


def ladder_allowed(attempts: int) -> bool:
    """Whether a stand-in may answer after so many failed attempts."""
    return attempts >= RECORD_ATTEMPTS_MAX - LADDER_ATTEMPTS


def _of_limit(error: LimitExceeded, *, records: int, attempts: int) -> Fate:
    if error.code != "budget_exceeded":
        return Hold("limit_exceeded", error.retry_after_s or WAIT_DEFAULT_S)
    if error.retry_after_s:
        return Hold("budget_exceeded", error.retry_after_s)
    return Failed(error) if records == 1 else Split(attempts=attempts)  # no window would ever do for all of it


def _of_endpoint(error: Exception, *, records: int, attempts: int, chance: float) -> Fate:
    if attempts >= RECORD_ATTEMPTS_MAX:
        return Failed(_given_up(error))
    wait_s = min(BACKOFF_MAX_S, BACKOFF_S * 2.0**attempts) * chance
    if records > 1 and isinstance(error, DeadlineTooShort):
        return Split(wait_s=wait_s, attempts=attempts)
    if records > 1 and attempts >= WHOLE_ATTEMPTS_MAX:
        return Split(alone=True, wait_s=wait_s, attempts=attempts)
    return Again(wait_s, attempts)


def _given_up(error: Exception) -> HeadraceError:
    """The error without what is only of use to who waits."""
    code = error.code if isinstance(error, HeadraceError) and not isinstance(error, Refused) else ""
    return HeadraceError(
        f"No answer could be had in {RECORD_ATTEMPTS_MAX} attempts.", code=code or "temporarily_unavailable"
    )
