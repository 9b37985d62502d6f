"""Background work in a few threads: what a request starts and does not wait for.

Lambda freezes a function between requests, threads and all: what is not done by then goes on with the next request, or
never. Nothing that must happen belongs here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore

THREADS_MAX = 2
TASKS_MAX = 32
"""Waiting or running: a store that hangs must not collect tasks without end."""


class BackgroundThreads:
    """See `headrace.background.Background`."""

    def __init__(self) -> None:
        self._free = BoundedSemaphore(TASKS_MAX)
        self._threads = ThreadPoolExecutor(max_workers=THREADS_MAX, thread_name_prefix="background")

    def submit(self, task: Callable[[], None]) -> bool:
        """See `headrace.background.Background.submit`."""
        if not self._free.acquire(blocking=False):
            return False
        try:
            future: Future[None] = self._threads.submit(_quietly, task)
        except RuntimeError:  # the interpreter is ending
            self._free.release()
            return False
        future.add_done_callback(lambda _: self._free.release())
        return True


def _quietly(task: Callable[[], None]) -> None:
    with suppress(Exception):
        task()
