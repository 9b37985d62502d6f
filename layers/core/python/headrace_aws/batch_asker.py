"""Asks for batches: many requests at once, the policy's own code in one thread.

Each request is a generator of the invocation policy. What it asks of the world (a call, a pause) is done elsewhere:
calls in a bounded pool of threads, pauses by a list of moments; what comes of it is sent into the generator by whoever
waits in `ended`. So the policy, and everything that a scorer does, runs in that one thread, and needs no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from typing import Any

from headrace.batches.scoring.pace import IN_FLIGHT_MAX
from headrace.batches.scoring.requests import LOADS_MAX
from headrace.invocation.policy import Answer, Invocation, Policy, invoke
from headrace.invocation.steps import Outcomes, Pause, Step, Steps
from headrace.invocation.targets import Primary, StandIn
from headrace_aws.performer import Performer

THREADS = IN_FLIGHT_MAX + LOADS_MAX + 1
"""Every request in flight, every object that is read, and the part that is written."""


@dataclass(slots=True)
class _Asking:
    """One request: the policy that waits, and what performs its steps."""

    steps: Steps[Answer[list[Any]]]
    performer: Performer


@dataclass(slots=True)
class BatchAsker:
    """See `headrace.batches.scoring.scorer.Asker`; made by `asking`.

    Args:
        policy: this process's.
        primary: the hosted endpoints.
        stand_in: the CPU function.
        threads: perform what blocks.
        clock: monotonic seconds, the policy's.
        sleep: waits so many seconds.
    """

    policy: Policy
    primary: Primary
    stand_in: StandIn
    threads: ThreadPoolExecutor
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    _waiting: dict[int, _Asking] = field(default_factory=dict)
    _performed: SimpleQueue[tuple[int, bool, Any]] = field(default_factory=SimpleQueue)
    _pauses: list[tuple[float, int]] = field(default_factory=list)
    _over: list[tuple[int, Any]] = field(default_factory=list)

    def ask(self, number: int, invocation: Invocation[list[Any]]) -> None:
        """Begin to ask; its end is an `Answer`, or what the policy raised."""
        performer = Performer(
            primary=self.primary,
            stand_in=self.stand_in,
            request=invocation.request,
            endpoint=invocation.endpoint,
            tier=invocation.plan.tier,
            binary_output=False,
            clock=self.clock,
            sleep=self.sleep,
        )
        steps = invoke(invocation, self.policy)
        self._waiting[number] = _Asking(steps, performer)
        self._advance(number, lambda: next(steps))

    def fetch(self, number: int, call: Callable[[], Any]) -> None:
        """Begin a call that blocks; its end is what it returned, or raised."""
        self.threads.submit(self._perform, number, call)

    def ended(self, *, wait_s: float) -> list[tuple[int, Any]]:
        """What has ended, an exception as a value; waits for so long when nothing has."""
        until = self.clock() + wait_s
        while True:
            self._settle()
            if self._over:
                over, self._over = self._over, []
                return over
            now = self.clock()
            wake = min(until, self._pauses[0][0]) if self._pauses else until
            if wake <= now:
                if until <= now:
                    return []
                continue
            try:
                performed = self._performed.get(timeout=wake - now)
            except Empty:
                continue
            self._resume(*performed)

    def close(self) -> None:
        """Give up what is under way: every policy gives back what it holds."""
        for asking in self._waiting.values():
            asking.steps.close()
        self._waiting.clear()

    def _settle(self) -> None:
        """Go on with everything that can go on now."""
        while self._pauses and self._pauses[0][0] <= self.clock():
            _, number = heappop(self._pauses)
            self._resume(number, True, ())
        while True:
            try:
                performed = self._performed.get_nowait()
            except Empty:
                return
            self._resume(*performed)

    def _resume(self, number: int, well: bool, outcome: Any) -> None:  # noqa: FBT001 - one row of a queue
        asking = self._waiting.get(number)
        if asking is None:
            self._over.append((number, outcome))
        elif well:
            self._advance(number, partial(asking.steps.send, outcome))
        else:
            self._advance(number, partial(asking.steps.throw, outcome))

    def _advance(self, number: int, go_on: Callable[[], Step]) -> None:
        """Let one policy run until it waits again, or is over."""
        asking = self._waiting[number]
        try:
            step = go_on()
        except StopIteration as end:
            self._end(number, end.value)
        except Exception as error:  # noqa: BLE001 - whatever ends a request is told to whoever asked
            self._end(number, error)
        else:
            if isinstance(step, Pause):
                heappush(self._pauses, (self.clock() + step.seconds, number))
            else:
                self.threads.submit(self._perform, number, partial(asking.performer.perform, step))

    def _end(self, number: int, outcome: Any) -> None:
        del self._waiting[number]
        self._over.append((number, outcome))

    def _perform(self, number: int, call: Callable[[], Outcomes | Any]) -> None:
        try:
            self._performed.put((number, True, call()))
        except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
            self._performed.put((number, False, error))


@contextmanager
def asking(
    policy: Policy,
    *,
    primary: Primary,
    stand_in: StandIn,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Iterator[BatchAsker]:
    """What asks during one run. What is still on its way at the end is abandoned, and waited for by nobody."""
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="batch")
    asker = BatchAsker(policy, primary, stand_in, threads, clock, sleep)
    try:
        yield asker
    finally:
        asker.close()
        threads.shutdown(wait=False, cancel_futures=True)
