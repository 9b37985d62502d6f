"""Keeps one process's views and the store in step: writes, reads, and changes of the agreed state.

Most of it happens in the background, where a task may come late, be dropped or be frozen half-way with its process:
nothing here waits for a task to end, and the mark that one is under way is a time after which it counts as lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from headrace.background import Background
from headrace.errors import StoreUnavailable
from headrace.health import breaker
from headrace.health.options import HealthOptions
from headrace.health.store import HealthStore, State
from headrace.health.view import LONG_AGO, EndpointView, Permit

CHANGES_MAX = 2
"""Tries to change the agreed state before another process's change is left to stand."""
ROUNDS_MAX = 3
"""How often one background task starts again because more was counted meanwhile."""


class Sync:
    """See the module; arguments as for `Health`."""

    def __init__(
        self,
        *,
        store: HealthStore,
        background: Background,
        wall: Callable[[], float],
        uniform: Callable[[], float],
        options: HealthOptions,
        lock: AbstractContextManager[Any],
    ) -> None:
        self._store = store
        self._background = background
        self._wall = wall
        self._uniform = uniform
        self._options = options
        self._lock = lock

    def lease(self, view: EndpointView, permit: Permit) -> bool:
        """Make this permit the fleet's one probe; False when it is not."""
        now, target = permit.at, permit.target
        name = f"{int(self._uniform() * 2**53):014x}"
        with self._lock:
            circuit = breaker.leased(view.state.circuit(target), now=now, probe=name, options=self._options)
            changed = view.state.with_circuit(target, circuit)
            reachable = due(view.retry_at, now, self._options.store_backoff_max_s)
        if reachable:
            try:
                applied = self._change(view, State(changed.version + 1, changed.circuits, changed.shed))
            except StoreUnavailable:
                self._failed(view, now)
            else:
                permit.probe, permit.lease = applied, name if applied else ""
                return applied
        # Nobody can be asked: one probe per process and lease time.
        with self._lock:
            local = view.target(target)
            if not due(local.probe_until, now, self._options.probe_lease_s):
                return False
            local.probe_until = now + self._options.probe_lease_s
        permit.probe = True
        return True

    def freshen(self, view: EndpointView, now: float) -> None:
        """Read what the fleet knows: now if this process knows nothing, else in the background if it is time."""
        with self._lock:
            blind = view.blind(now)
            old = not 0.0 <= now - view.read_at < self._options.read_every_s
            reachable = due(view.retry_at, now, self._options.store_backoff_max_s)
        if blind and reachable:
            self._round(view, flush=False)
        elif old:
            self.nudge(view, now, after_s=0.0)

    def nudge(self, view: EndpointView, now: float, *, after_s: float) -> None:
        """Have the store written and read in the background, unless that was done within `after_s` seconds."""
        with self._lock:
            if 0.0 <= now - view.flushed_at < after_s or not due(view.retry_at, now, self._options.store_backoff_max_s):
                return
            if not due(view.busy_until, now, self._options.task_s):
                view.again = True
                return
            view.busy_until = now + self._options.task_s
        if not self._background.submit(lambda: self._task(view)):
            with self._lock:
                view.busy_until = LONG_AGO

    def _task(self, view: EndpointView) -> None:
        try:
            for _ in range(ROUNDS_MAX):
                with self._lock:
                    view.again = False
                done = self._round(view, flush=True)
                with self._lock:
                    if not done or not view.again:
                        break
        finally:
            with self._lock:
                view.busy_until = LONG_AGO

    def _round(self, view: EndpointView, *, flush: bool) -> bool:
        """Write, read if it is time, decide. False when the store failed."""
        now = self._wall()
        try:
            if flush:
                self._flush(view, now)
            if not 0.0 <= now - view.read_at < self._options.read_every_s:
                with self._lock:
                    since = int(now) - view.window_s()
                fleet, state = self._store.read(view.name, since=since)
                with self._lock:
                    view.saw(fleet, state, at=now)
            self._decide(view, now)
        except StoreUnavailable:
            self._failed(view, now)
            return False
        with self._lock:
            view.backoff_s, view.retry_at = 0.0, LONG_AGO
        return True

    def _flush(self, view: EndpointView, now: float) -> None:
        with self._lock:
            taken = view.take(now)
        for at, (second, there) in enumerate(taken):
            try:
                self._store.add(view.name, second, there)
            except StoreUnavailable:
                with self._lock:
                    for left in taken[at:]:
                        view.put_back(*left)
                raise
            with self._lock:
                view.written(second, there)

    def _decide(self, view: EndpointView, now: float) -> None:
        for _ in range(CHANGES_MAX):
            chance = self._uniform()
            with self._lock:
                wanted = None if view.blind(now) else view.decision(now, chance)
                probed = dict(view.probed)
            if wanted is not None:
                try:
                    applied = self._change(view, wanted)
                except StoreUnavailable:
                    with self._lock:  # act on it alone, as the version before, which any read replaces
                        view.state = State(view.state.version, wanted.circuits, wanted.shed)
                    raise
            if wanted is None or applied:
                with self._lock:
                    for target, told in probed.items():
                        if view.probed.get(target) == told:
                            del view.probed[target]
                return

    def _change(self, view: EndpointView, state: State) -> bool:
        applied, standing = self._store.change(view.name, state)
        with self._lock:
            view.state = standing
        return applied

    def _failed(self, view: EndpointView, now: float) -> None:
        chance = self._uniform()
        with self._lock:
            longest_s = self._options.store_backoff_max_s
            view.backoff_s = min(longest_s, 2.0 * max(view.backoff_s, self._options.read_every_s))
            view.retry_at = now + view.backoff_s * (0.8 + 0.2 * chance)


def due(at: float, now: float, longest_s: float) -> bool:
    """Whether a time has come; one further off than it could have been set was set by a clock that was wrong."""
    return now >= at or at - now > longest_s
