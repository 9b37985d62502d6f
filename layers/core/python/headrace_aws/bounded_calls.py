"""Calls that end when their time is up, whatever the other side does.

A socket's read timeout starts again with every byte, so a trickling answer can outlast any deadline. Each call runs in
a worker thread and its caller waits no longer than it was given. The thread itself ends with the transport: signed
calls hold the whole answer against the deadline; boto3 clients have a read timeout, one of a few steps, because making
a client for every number of milliseconds would cost more than the call.

Each target has threads of its own: one that hangs must not take them from the one that stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from threading import BoundedSemaphore
from time import monotonic
from typing import TypeVar

from headrace.errors import AttemptTimedOut, TargetUnavailable

T = TypeVar("T")

WAIT_S = 0.05
"""A wait is made of pieces this long, and one that took longer counts at most twice: Lambda freezes a function between
requests, and the time that a background call spent frozen was not the other side's."""
CALLS_MAX = 16
"""Abandoned calls hold a thread until their socket times out; beyond this many the target counts as down."""
READ_TIMEOUT_STEPS_S = (1.0, 3.0, 10.0, 30.0)


def read_timeout_step_s(timeout_s: float) -> float:
    """The smallest step that does not cut a call of `timeout_s` short."""
    return next((step for step in READ_TIMEOUT_STEPS_S if step >= timeout_s), READ_TIMEOUT_STEPS_S[-1])


class BoundedCalls:
    """Runs calls in at most `CALLS_MAX` threads, started when first needed."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._free = BoundedSemaphore(CALLS_MAX)
        self._threads = ThreadPoolExecutor(max_workers=CALLS_MAX, thread_name_prefix="call")

    def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
        """The call's result, or its error.

        Raises:
            AttemptTimedOut: `timeout_s` passed first.
            TargetUnavailable: too many earlier calls still hang.
        """
        future = self.start(call)
        left_s = timeout_s
        while left_s > 0:
            began_s = self._clock()
            try:
                return future.result(min(WAIT_S, left_s))
            except FutureTimeout as late:
                if future.done() and future.exception() is late:  # the call's own
                    break
                left_s -= min(self._clock() - began_s, 2 * WAIT_S)
        future.cancel()
        raise AttemptTimedOut("The target did not answer in time.")

    def start(self, call: Callable[[], T]) -> Future[T]:
        """The call under way; whoever waits for it bounds the time.

        Raises:
            TargetUnavailable: too many earlier calls still hang.
        """
        if not self._free.acquire(blocking=False):
            raise TargetUnavailable("Too many calls are still waiting for this target.")
        future: Future[T] = self._threads.submit(call)
        future.add_done_callback(lambda _: self._free.release())
        return future
