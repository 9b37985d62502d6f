"""The one error tree. Core errors know no HTTP: the edge owns the table from error to status.

HeadraceError
├── InvalidRequest         the caller must change the request
│   ├── PayloadTooLarge    … by making it smaller
│   └── UnsupportedMedia   … by sending another content type
├── UnknownTarget          no such model, version or object
├── Unauthenticated        no key, or one that is unknown, expired or revoked
├── Forbidden              a good key without the scope
├── AttemptFailed          one target did not answer well; the ladder goes on
│   ├── AttemptTimedOut    … within the time it was given
│   ├── TargetThrottled    … because it limits us
│   ├── TargetUnavailable  … because it is down, starting or saturated
│   ├── TargetFaulted      … because its program failed
│   └── InvalidAnswer      … but with something that is not an answer
├── NothingServed          every rung of the ladder failed, or there was no time for one
└── InvalidDeclarations    endpoint.yaml files that cannot be used, all problems at once

Every error has a `code`, stable across releases, and a message that says what to do. Neither ever contains input.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of everything this package raises on purpose."""

    code = "internal_error"

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


class UnknownTarget(HeadraceError):
    """No such model, version or object."""

    code = "model_not_found"


class Unauthenticated(HeadraceError):
    """No usable credential. The message never says which part was wrong."""

    code = "unauthenticated"


class Forbidden(HeadraceError):
    """A good credential that lacks the scope."""

    code = "forbidden"


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


class TargetUnavailable(AttemptFailed):
    """The target is down, starting, saturated or not reachable."""

    reason = "unavailable"


class TargetFaulted(AttemptFailed):
    """The target's program failed while answering."""

    reason = "fault"


class InvalidAnswer(AttemptFailed):
    """The target answered with something that breaks the task's contract."""

    reason = "invalid_answer"


class NothingServed(HeadraceError):
    """Every rung of the ladder failed. `retry_after_s` is when trying again makes sense, `attempts` what was tried."""

    code = "temporarily_unavailable"

    def __init__(self, message: str, *, retry_after_s: int, attempts: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.attempts = attempts


class InvalidDeclarations(HeadraceError):
    """Declarations that cannot be used. `problems` holds one line each: file, line, path, what to do."""

    code = "invalid_declarations"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
