"""Work that a request starts and does not wait for: counts written, leases renewed, answers kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Background(Protocol):
    """Runs small tasks beside the request."""

    def submit(self, task: Callable[[], None]) -> bool:
        """Take a task, or drop it and say so when too many wait already. Never raises, never blocks.

        What a task raises is lost: it must leave its own state right whatever happens.
        """


class Immediately:
    """The fake: runs each task where it is submitted, so that tests and simulations know when it is done."""

    def submit(self, task: Callable[[], None]) -> bool:
        """See `Background.submit`."""
        with suppress(Exception):
            task()
        return True
