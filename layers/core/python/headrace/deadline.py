"""One deadline per request: the least of what the caller, the declaration and the platform allow."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.errors import InvalidRequest

GATEWAY_MAX_S = 29.0
"""API Gateway's default integration timeout for REST APIs."""
LAMBDA_MARGIN_S = 0.5
"""Left of Lambda's own time for the answer to leave, so that a late request ends in our words, not in a kill."""
TIMEOUT_HEADER = "x-request-timeout-ms"
SDK_TIMEOUT_HEADER = "x-stainless-read-timeout"
"""Seconds that an SDK waits for an answer (openai-python and its siblings send it with every request)."""
ASKED_DIGITS_MAX = 9
ASKED_MIN_MS = 100
"""The way through the gateway alone takes tens of milliseconds: less is refused at once, as it could not be met."""
SDK_CHARS_MAX = 16


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on a monotonic clock, in seconds."""

    at_s: float

    def remaining_s(self, now_s: float) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at_s - now_s)


def decide(
    *,
    now_s: float,
    default_ms: int,
    max_ms: int,
    asked: str | None,
    lambda_remaining_s: float | None,
    sdk_asked: str | None = None,
) -> Deadline:
    """The request's deadline.

    Args:
        now_s: the monotonic clock.
        default_ms: what the declaration grants a caller who does not ask.
        max_ms: the most that a caller may ask for.
        asked: the value of `x-request-timeout-ms`, if sent.
        lambda_remaining_s: time left of the invocation, if there is one.
        sdk_asked: the value of `x-stainless-read-timeout`, if sent. It can shorten the time and never lengthens it: it
            is how long the SDK would wait, not what its user asked for. What is no positive number is not an answer to
            that question ("none" is a legal setting) and changes nothing.

    Raises:
        InvalidRequest: `asked` is not a whole number of milliseconds from `ASKED_MIN_MS`.
    """
    budget_s = default_ms / 1000
    if asked is not None:
        if not (asked.isascii() and asked.isdigit()) or len(asked) > ASKED_DIGITS_MAX or int(asked) < ASKED_MIN_MS:
            raise InvalidRequest(
                f"{TIMEOUT_HEADER} must be a whole number of milliseconds from {ASKED_MIN_MS}.",
                code="invalid_timeout",
                field=TIMEOUT_HEADER,
            )
        budget_s = min(int(asked), max_ms) / 1000
    budget_s = min(budget_s, GATEWAY_MAX_S, _sdk_seconds(sdk_asked))
    if lambda_remaining_s is not None:
        budget_s = min(budget_s, max(0.0, lambda_remaining_s - LAMBDA_MARGIN_S))
    return Deadline(now_s + budget_s)


def _sdk_seconds(value: str | None) -> float:
    if value is None or len(value) > SDK_CHARS_MAX:
        return math.inf
    try:
        seconds = float(value)
    except ValueError:
        return math.inf
    return seconds if math.isfinite(seconds) and seconds > 0 else math.inf
