"""Ends processes of the platform at random moments, with SIGKILL, as a machine that fails does."""

from __future__ import annotations

import os
import random
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from infra_local.threaded import ThreadedStack

KILLS_MAX = 6
PAUSE_S = (0.3, 2.5)
RAGE_PAUSE_S = 0.05
SCORER = "batch_score"
VICTIMS = (SCORER, "batch_plan", "batch_finish", "batch_start")
MODEL_SHARE = 0.15
"""How often it is the model's own process that is killed, instead of a function's."""


class Killer:
    """Kills until it is told to stop, or has killed enough. Use it as a context.

    Args:
        stack: The platform.
        seed: Of moments and victims.
        prefix: Of the functions' names.
        raging: Until it is told to relent, no scorer lives, so that shards fail for good. These kills are not limited.
    """

    def __init__(self, stack: ThreadedStack, *, seed: int, prefix: str, raging: bool = False) -> None:
        self._stack = stack
        self._draw = random.Random(seed)  # noqa: S311 - a test's choices
        self._parts = [f"lambda-{prefix}-{name}" for name in VICTIMS]
        self._stop, self._relented = threading.Event(), threading.Event()
        self._scorers = f"lambda-{prefix}-{SCORER}"
        if not raging:
            self._relented.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def relent(self) -> None:
        """Let scorers live, but for those whom chance strikes."""
        self._relented.set()

    def _run(self) -> None:
        while not self._relented.is_set() and not self._stop.wait(RAGE_PAUSE_S):
            for pid in self._stack.process_ids().get(self._scorers, []):
                self._kill(pid)
        self._strike(self.kills + KILLS_MAX)

    def _strike(self, kills_max: int) -> None:
        while self.kills < kills_max and not self._stop.wait(self._draw.uniform(*PAUSE_S)):
            processes = {name: pids for name, pids in self._stack.process_ids().items() if pids}
            names = [name for name in self._parts if name in processes]
            if self._draw.random() < MODEL_SHARE:
                names = [name for name in processes if name != "moto" and not name.startswith("lambda-")] or names
            if not names:
                continue
            self._kill(self._draw.choice(processes[self._draw.choice(names)]))

    def _kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills += 1
