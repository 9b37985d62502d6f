"""Counts every call of AWS that a process makes, and whether a request waited for it.

A request waits for what its own thread starts; what the policy's background threads start, it does not wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.traffic.account import PURPOSE_HEADER, READ_HEADER, WRITE_HEADER
from headrace_aws import clients
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.signed_calls import SignedCalls

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Made:
    """One call: `DynamoDB UpdateItem rate`, whether a request waited for it, and what it consumed."""

    what: str
    waited: bool
    write_units: float = 0.0
    read_units: float = 0.0


_thread = threading.local()


def count_calls(note: Callable[[Made], None]) -> None:
    """From now on, tell `note` of every call; before any client is made.

    All of them pass one of two places: botocore's events, or `SignedCalls.post`. Who started a call is known where it
    is handed to another thread, and nowhere later.
    """
    start, post = BoundedCalls.start, SignedCalls.post

    def started(self: BoundedCalls, call: Callable[[], T]) -> Future[T]:
        waited = _waited()

        def marked() -> T:
            _thread.waited = waited
            return call()

        return start(self, marked)

    def posted(self: SignedCalls, *arguments: Any, **named: Any) -> Any:
        note(Made("SageMaker InvokeEndpoint", _waited()))
        return post(self, *arguments, **named)

    def answered(*, http_response: Any, model: Any, **_: Any) -> None:
        headers = http_response.headers
        what = f"{model.service_model.service_id} {model.name} {headers.get(PURPOSE_HEADER, '')}".rstrip()
        note(Made(what, _waited(), float(headers.get(WRITE_HEADER, 0)), float(headers.get(READ_HEADER, 0))))

    BoundedCalls.start = started  # type: ignore[method-assign]
    SignedCalls.post = posted  # type: ignore[method-assign]
    clients._session().events.register("after-call", answered)  # noqa: SLF001 - the one place that all clients come from


def _waited() -> bool:
    mark: bool | None = getattr(_thread, "waited", None)
    return threading.current_thread() is threading.main_thread() if mark is None else mark
