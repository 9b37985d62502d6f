"""Why a request is refused. One tree; only `app.STATUS` knows which HTTP status each becomes.

ServingError
├── BadInput          the caller can mend it: shape, type, value, encoding
├── TooLarge          the body, or what it unpacks to, is over the limit
├── UnsupportedMedia  a content type or encoding that is not spoken here
├── UnknownModel      this process serves another model or version
├── Overloaded        the queue is full, the deadline would pass, or the server is not taking work
└── ModelFailed       the model broke on a request that was well formed
"""

from __future__ import annotations


class ServingError(Exception):
    """A refusal with a stable code and a sentence that says what to do; never holds a value of the request.

    Args:
        message: What to do, for the caller.
        code: Stable snake_case code.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class BadInput(ServingError):
    """The request is wrong in a way its caller can mend."""

    code = "invalid_input"


class TooLarge(ServingError):
    """The body, or what it unpacks to, is over a limit."""

    code = "body_too_large"


class UnsupportedMedia(ServingError):
    """The content type or content encoding is not one this server reads."""

    code = "unsupported_media_type"


class UnknownModel(ServingError):
    """The model or version named in the path is not served by this process."""

    code = "model_not_found"


class Overloaded(ServingError):
    """The server would rather not: retrying later is right.

    Args:
        message: What to do, for the caller.
        code: Stable snake_case code.
        retry_after_s: When a retry is likely to be admitted, from the measured service time.
    """

    code = "overloaded"

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class ModelFailed(ServingError):
    """The model, or its pre- or post-processing, broke on a well-formed request."""

    code = "model_failed"
