"""The one error tree. Core errors know no HTTP: the edge owns the table from error to status.

HeadraceError
├── InvalidRequest         the caller must change the request
│   ├── PayloadTooLarge    … by making it smaller
│   ├── UnsupportedMedia   … by sending another content type
│   └── KeyReused          … because its Idempotency-Key was sent with another body
├── UnknownTarget          no such model, version or object
├── Unauthenticated        no key, or one that is unknown, expired or revoked
├── Forbidden              a good key without the scope
├── InProgress             the same Idempotency-Key is being answered right now
├── Refused                a good request that is not taken now; says when it may be
│   ├── LimitExceeded      … because the tenant's concurrency, rate or budget is used up
│   ├── Overloaded         … because the endpoint is saturated and its tier goes first
│   └── DeadlineTooShort   … because no target would answer in the time that is left
├── AttemptFailed          one target did not answer well; the ladder goes on
│   ├── AttemptTimedOut    … within the time it was given
│   ├── TargetThrottled    … because it limits us
│   ├── TargetSaturated    … because it has more work than it can do in time
│   ├── TargetUnavailable  … because it is down, starting or not reachable
│   ├── CircuitOpen        … because it was not asked: its circuit is open
│   ├── TargetFaulted      … because its program failed
│   └── InvalidAnswer      … but with something that is not an answer
├── AnswerPending          a job's request was sent on, and its answer comes later: no caller ever meets this
├── NothingServed          every rung of the ladder failed, or there was no time for one
├── StoreUnavailable       the state store did not answer, in time or at all
└── InvalidDeclarations    endpoint.yaml files that cannot be used, all problems at once

Every error has a `code`, stable across releases, and a message that says what to do. Neither ever contains input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.invocation.attempts import Tried


class HeadraceError(Exception):
    """Base of everything this package raises on purpose.

    `tried` is what had been asked before a request was refused, where anything had.
    """

    code = "internal_error"
    tried: tuple[Tried, ...] = ()

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidRequest(HeadraceError):
    """The caller must change the request; `field` says where, as a path such as `input[3]`."""

    code = "invalid_request"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class PayloadTooLarge(InvalidRequest):
    """The request exceeds a named bound in bytes, items or pixels."""

    code = "payload_too_large"


class UnsupportedMedia(InvalidRequest):
    """The content type is not one the route takes."""

    code = "unsupported_media_type"


class KeyReused(InvalidRequest):
    """One Idempotency-Key, two different requests."""

    code = "idempotency_key_reused"


class UnknownTarget(HeadraceError):
    """No such model, version or object."""

    code = "model_not_found"


class Unauthenticated(HeadraceError):
    """No usable credential. The message never says which part was wrong."""

    code = "unauthenticated"


class Forbidden(HeadraceError):
    """A good credential that lacks the scope."""

    code = "forbidden"


class InProgress(HeadraceError):
    """The first request with this Idempotency-Key has not been answered yet."""

    code = "idempotency_in_progress"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(HeadraceError):
    """A good request that is not taken now. `retry_after_s` is when it may be; 0 when waiting would not help."""

    code = "refused"

    def __init__(self, message: str, *, retry_after_s: float = 0.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class LimitExceeded(Refused):
    """The tenant's limit; `code` is concurrency_exceeded, rate_exceeded or budget_exceeded.

    `limit` is the number that is used up: requests at work, requests at once, or compute units of the window.
    """

    code = "limit_exceeded"
    limit = 0


class Overloaded(Refused):
    """The endpoint is saturated, and requests of this tier are turned away first."""

    code = "overloaded"


class DeadlineTooShort(Refused):
    """No target is expected to answer in the time that the caller allows."""

    code = "deadline_too_short"


class AttemptFailed(HeadraceError):
    """One target did not answer well. `reason` is what a degraded answer reports."""

    code = "attempt_failed"
    reason = "failed"


class AttemptTimedOut(AttemptFailed):
    """The target did not answer within the time it was given."""

    reason = "timeout"


class TargetThrottled(AttemptFailed):
    """The target limits the rate of calls."""

    reason = "throttled"


class TargetSaturated(AttemptFailed):
    """The target has more work than it can do in time: asking again makes it worse."""

    reason = "saturated"


class TargetUnavailable(AttemptFailed):
    """The target is down, starting or not reachable."""

    reason = "unavailable"


class CircuitOpen(AttemptFailed):
    """The target was not asked: it has failed too often of late."""

    reason = "circuit_open"


class TargetFaulted(AttemptFailed):
    """The target's program failed while answering."""

    reason = "fault"


class InvalidAnswer(AttemptFailed):
    """The target answered with something that breaks the task's contract."""

    reason = "invalid_answer"


class AnswerPending(HeadraceError):
    """An asynchronous endpoint has the request, and answers within `waits_s` or not at all."""

    code = "answer_pending"

    def __init__(self, message: str, *, waits_s: float) -> None:
        super().__init__(message)
        self.waits_s = waits_s


class NothingServed(HeadraceError):
    """Every rung of the ladder failed. `retry_after_s` is when trying again makes sense, `attempts` what was tried."""

    code = "temporarily_unavailable"

    def __init__(self, message: str, *, retry_after_s: int, attempts: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.attempts = attempts


class StoreUnavailable(HeadraceError):
    """The state store did not answer. What that means is the caller's decision: rates go on locally, money refuses."""

    code = "temporarily_unavailable"


class InvalidDeclarations(HeadraceError):
    """Declarations that cannot be used. `problems` holds one line each: file, line, path, what to do."""

    code = "invalid_declarations"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
