"""Decides who is computed with whom, when, and on how many cores; and who is turned away.

There is no timer by default: a batch is whatever waits when a worker frees up, so an idle server answers at once and
a busy one fills its batches by itself. All decisions are taken on the event loop; only `Runner` methods run on threads.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from endpoints.serving.errors import BadInput, ModelFailed, Overloaded, ServingError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import numpy as np

    from endpoints.serving.metrics import Metrics
    from endpoints.serving.runner import Outputs, Prepared, Runner
    from endpoints.serving.warmup import Profile

RETRY_AFTER_S_MAX = 30


class Caller(Protocol):
    """Whoever waits for a job."""

    gone: bool


class Job:
    """One request on its way through the queue; subclassed by whoever wants its result.

    Args:
        caller: Who waits.
        deadline: `perf_counter` time after which nobody wants the answer.
    """

    __slots__ = ("caller", "deadline", "prepared", "queued_at", "rows")

    prepared: Prepared

    def __init__(self, caller: Caller, deadline: float | None) -> None:
        self.caller = caller
        self.deadline = deadline
        self.rows = 1
        self.queued_at = 0.0

    def deliver(self, result: Outputs | ServingError) -> None:
        """Take the result; called once, on the event loop, even when the caller has gone. Must not raise."""
        raise NotImplementedError


PACE_SHARE = 0.2
PACE_MAX = 10.0
"""Of each batch's pace a fifth is believed; one that hung is no measure."""


class Batcher:
    """The queue in front of one model.

    Args:
        runner: The model.
        profile: What warm-up measured.
        threads: Worker threads when work is queued.
        queue_rows_max: Rows that may wait.
        delay_max_s: How long a batch may wait for company; 0 is no timer.
        metrics: Where to count.
        loop: The event loop all methods are called on.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        profile: Profile,
        threads: int,
        queue_rows_max: int,
        delay_max_s: float,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._runner = runner
        self._profile = profile
        self._cap = profile.batch_rows_max
        self._workers = threads
        self._queue_rows_max = queue_rows_max
        self._delay_max_s = delay_max_s
        self._metrics = metrics
        self._loop = loop
        self._waiting: deque[Job] = deque()
        self._pump_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._running = 0
        self._ends_at: list[float] = []  # when each batch that is computed should be ready
        self._pace = 1.0  # how long batches take, as a multiple of what warm-up measured
        self.waiting_rows = 0
        # Two pools, so that preprocessing never waits for a run to end, nor a run for preprocessing.
        self._computing = None if profile.inline else ThreadPoolExecutor(threads, thread_name_prefix="headrace-compute")
        self._preparing = (
            ThreadPoolExecutor(threads, thread_name_prefix="headrace-prepare") if profile.preprocess_slow else None
        )

    @property
    def running(self) -> int:
        """Batches being computed."""
        return self._running

    def submit(self, job: Job, *, tensors: dict[str, np.ndarray], parameters: dict[str, Any]) -> None:
        """Admit a job or refuse it at once.

        Args:
            job: The job; its caller's `deliver` is called later.
            tensors: Decoded inputs.
            parameters: The request's parameters.

        Raises:
            BadInput: More rows than the queue could ever hold, or preprocessing refused.
            Overloaded: The queue is full, or the deadline would pass in it.
            ModelFailed: Preprocessing broke.
        """
        rows = 1
        for array in tensors.values():
            rows = array.shape[0] if array.ndim else 1
            break
        if rows > self._queue_rows_max:
            raise BadInput(f"Send at most {self._queue_rows_max} rows in one request.", code="too_many_rows")
        if self.waiting_rows + rows > self._queue_rows_max:
            self._metrics.dropped["queue_full"] += 1
            raise Overloaded(
                "The queue is full: retry after the time in Retry-After.", retry_after_s=self.retry_after_s()
            )
        now = perf_counter()
        if job.deadline is not None and (
            now >= job.deadline
            or ((self.waiting_rows or self._running) and now + self._answered_in_s(rows, now) > job.deadline)
        ):
            self._metrics.dropped["deadline"] += 1
            raise Overloaded(
                "The deadline would pass before the answer: allow more time or retry later.",
                code="deadline_exceeded",
                retry_after_s=self.retry_after_s(),
            )
        job.rows = rows
        job.queued_at = now
        if self._preparing is not None:
            self.waiting_rows += rows

            def act() -> Prepared | None:
                if job.caller.gone or (job.deadline is not None and perf_counter() >= job.deadline):
                    return None
                return self._runner.prepare(tensors, parameters)

            self._off_loop(self._preparing, act, then=lambda done: self._prepared(job, done))
            return
        job.prepared = self._runner.prepare(tensors, parameters)
        self.waiting_rows += rows
        self._enqueue(job)

    def retry_after_s(self) -> int:
        """Say when a retry is likely to be admitted: the time the present queue takes, at least a second."""
        return max(1, min(RETRY_AFTER_S_MAX, math.ceil(self._wait_s())))

    def close(self) -> None:
        """Let the worker threads go; nothing may be submitted afterwards."""
        for executor in (self._computing, self._preparing):
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)

    def _wait_s(self) -> float:
        workers = 1 if self._profile.inline else self._workers
        return self.waiting_rows / (self._profile.rows_per_s * workers)

    def _answered_in_s(self, rows: int, now: float) -> float:
        """How long a job that came now would take: until a worker frees up, the batches before it, and its own.

        An answer that comes after its deadline was computed for nobody.
        """
        workers = 1 if self._profile.inline else self._workers
        left_s = max(0.0, min(self._ends_at) - now) if self._running >= workers and self._ends_at else 0.0
        before, beside = divmod(self.waiting_rows, self._cap)
        ahead_s = before * self._profile.batch_s(self._cap) / workers
        return left_s + self._pace * (ahead_s + self._profile.batch_s(min(self._cap, beside + rows)))

    def _learn(self, pace: float) -> None:
        """Follow what batches really take: warm-up may have met a busy machine, or a quiet one."""
        self._pace += PACE_SHARE * (min(PACE_MAX, pace) - self._pace)

    def _prepared(self, job: Job, done: Prepared | Exception | None) -> None:
        if isinstance(done, Exception):
            self.waiting_rows -= job.rows
            error = done if isinstance(done, ServingError) else ModelFailed("The model's preprocessing broke.")
            self._deliver(job, error)
            return
        if done is not None:  # else nobody waits for it any more, and `_take` drops it before looking at its feeds
            job.prepared = done
        self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        self._waiting.append(job)
        if not self._pump_scheduled:
            # Not at once: every socket that is readable in this turn of the loop adds to the same batch.
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Start as many batches as there are free workers; inline, run one and come back."""
        self._pump_scheduled = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._profile.inline:
            if self._must_wait():
                return
            batch = self._take(self._cap)
            if batch:
                start = perf_counter()
                self._account(batch, started_at=start)
                results = self._runner.compute([job.prepared for job in batch])
                self._finish(batch, results, seconds=perf_counter() - start)
            if self._waiting:
                self._pump_scheduled = True
                self._loop.call_soon(self._pump)
            return
        while self._waiting and self._running < self._workers and not self._must_wait():
            lone = self._running == 0 and len(self._waiting) == 1 and self._profile.wide
            # Shared out among the free workers: two half batches at once end before one whole one.
            share = math.ceil(sum(job.rows for job in self._waiting) / (self._workers - self._running))
            batch = self._take(min(self._cap, share))
            if batch:
                self._start(batch, session=1 if lone else 0, cores=self._workers if lone else 1)

    def _must_wait(self) -> bool:
        """With a delay configured: whether the batch may still wait for company, and if so, until when."""
        if not self._delay_max_s or not self._waiting or self.waiting_rows >= self._cap:
            return False
        left = self._waiting[0].queued_at + self._delay_max_s - perf_counter()
        if left <= 0:
            return False
        self._timer = self._loop.call_later(left, self._pump)
        return True

    def _take(self, rows_max: int) -> list[Job]:
        """Take the oldest job and those behind it that may share its run, dropping whom nobody waits for."""
        batch: list[Job] = []
        skipped: list[Job] = []
        rows = 0
        key: object = None
        now = perf_counter()
        waiting = self._waiting
        while waiting:
            job = waiting.popleft()
            if job.caller.gone:
                self.waiting_rows -= job.rows
                self._metrics.dropped["caller_gone"] += 1
                job.deliver(Overloaded("The caller has gone.", code="caller_gone"))
                continue
            if job.deadline is not None and now >= job.deadline:
                self.waiting_rows -= job.rows
                self._metrics.dropped["deadline"] += 1
                late = Overloaded(
                    "The deadline passed in the queue: allow more time or retry later.",
                    code="deadline_exceeded",
                    retry_after_s=self.retry_after_s(),
                )
                self._deliver(job, late)
                continue
            if not batch:
                key = job.prepared.key
            elif key is None or job.prepared.key != key or rows + job.rows > rows_max:
                skipped.append(job)
                if key is None or rows >= rows_max:
                    break
                continue
            batch.append(job)
            rows += job.rows
            if rows >= rows_max:
                break
        waiting.extendleft(reversed(skipped))
        self.waiting_rows -= rows
        return batch

    def _account(self, batch: list[Job], *, started_at: float) -> None:
        histogram = self._metrics.queue_s
        bounds, counts, total = histogram.bounds, histogram.counts, 0.0
        for job in batch:
            waited_s = started_at - job.queued_at
            counts[bisect_left(bounds, waited_s)] += 1
            total += waited_s
        histogram.total += total

    def _start(self, batch: list[Job], *, session: int, cores: int) -> None:
        self._running += cores
        prepared = [job.prepared for job in batch]
        start = perf_counter()
        self._account(batch, started_at=start)
        usual_s = self._profile.batch_s(sum(job.rows for job in batch))
        ends_at = start + self._pace * usual_s
        self._ends_at.append(ends_at)

        def then(done: list[Outputs | ServingError] | Exception) -> None:
            self._running -= cores
            self._ends_at.remove(ends_at)
            self._learn((perf_counter() - start) / usual_s)
            if isinstance(done, Exception):
                broken: list[Outputs | ServingError] = [ModelFailed("The model could not be run.")] * len(batch)
                done = broken
            self._finish(batch, done, seconds=perf_counter() - start)
            if self._waiting and not self._pump_scheduled:
                self._pump_scheduled = True
                self._loop.call_soon(self._pump)

        assert self._computing is not None  # noqa: S101 - made unless batches run on the loop
        self._off_loop(self._computing, lambda: self._runner.compute(prepared, session=session), then=then)

    def _off_loop(self, executor: ThreadPoolExecutor, act: Callable[[], Any], *, then: Callable[[Any], None]) -> None:
        """Run an act on a thread and its continuation, with the result or the exception, on the loop."""
        loop = self._loop

        def work() -> None:
            try:
                done = act()
            except Exception as error:  # noqa: BLE001 - handed to `then`, which answers for it
                done = error
            loop.call_soon_threadsafe(then, done)

        executor.submit(work)

    def _finish(self, batch: list[Job], results: list[Outputs | ServingError], *, seconds: float) -> None:
        rows = 0
        for job in batch:
            rows += job.rows
        self._metrics.count_batch(rows=rows, requests=len(batch), seconds=seconds)
        for job, result in zip(batch, results, strict=True):
            self._deliver(job, result)

    def _deliver(self, job: Job, result: Outputs | ServingError) -> None:
        if isinstance(result, ServingError):
            self._metrics.failed += 1
        else:
            self._metrics.served += 1
        job.deliver(result)
