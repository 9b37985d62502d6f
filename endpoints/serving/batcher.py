"""Decides who is computed with whom, when, and on how many cores; and who is turned away.

There is no timer by default: a batch is whatever waits when a worker frees up, so an idle server answers at once and
a busy one fills its batches by itself. All decisions are taken on the event loop; only `Runner` methods run on threads.

Higher tiers go first (see `lines`), but a run that has begun cannot be interrupted. So the lowest tier, that of
batches, is run in short pieces, and while callers come one worker is kept free of it: whoever comes first waits for a
piece at most, and who comes next not even for that.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from endpoints.serving.errors import BadInput, ModelFailed, Overloaded, ServingError
from endpoints.serving.lines import TIER_BACKGROUND, TIER_TOP, Lines

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import numpy as np

    from endpoints.serving.metrics import Metrics
    from endpoints.serving.runner import Outputs, Prepared, Runner
    from endpoints.serving.warmup import Profile

RETRY_AFTER_S_MAX = 30
BACKGROUND_RUN_S = 0.05
"""A run of the lowest tier takes about so long at most, or one row: nobody else can have the worker meanwhile."""
CALLERS_PRESENT_S = 3.0
"""So long after the last caller of a higher tier one worker stays free of the lowest."""
SWEEP_S = 0.05
"""At most so often it is looked who waits in vain."""


class Caller(Protocol):
    """Whoever waits for a job."""

    gone: bool


class Job:
    """One request on its way through the queue; subclassed by whoever wants its result.

    Args:
        caller: Who waits.
        deadline: `perf_counter` time after which nobody wants the answer.
        tier: 0 the lowest, `TIER_TOP` the highest.

    Attributes:
        rows: All of its rows.
        rows_begun: Of these how many are, or were, computed in pieces.
        pieces: The first row of each piece → its outputs; None while it is computed, and for one that failed.
        over: Whether it left its line unanswered, or its pieces came to nothing.
    """

    __slots__ = ("caller", "deadline", "over", "pieces", "prepared", "queued_at", "rows", "rows_begun", "tier")

    prepared: Prepared

    def __init__(self, caller: Caller, deadline: float | None, tier: int = TIER_TOP) -> None:
        self.caller = caller
        self.deadline = deadline
        self.tier = tier
        self.rows = 1
        self.rows_begun = 0
        self.pieces: dict[int, Outputs | None] = {}
        self.over = False
        self.queued_at = 0.0

    @property
    def rows_left(self) -> int:
        """Rows that nobody computes yet."""
        return self.rows - self.rows_begun

    def deliver(self, result: Outputs | ServingError) -> None:
        """Take the result; called once, on the event loop, even when the caller has gone. Must not raise."""
        raise NotImplementedError


PACE_SHARE = 0.2
PACE_MAX = 10.0
"""Of each batch's pace a fifth is believed; one that hung is no measure."""


_DOWN = tuple(range(TIER_TOP, -1, -1))


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
        self._waiting: Lines[Job] = Lines()
        self._pump_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._running = 0
        self._ends_at: list[float] = []  # when each batch that is computed should be ready
        # How long batches take, as a multiple of what warm-up measured: callers', and the lowest tier's.
        self._pace = [1.0, 1.0]
        self._background_running = 0
        self._caller_at = float("-inf")
        self._swept_at = float("-inf")
        # Two pools, so that preprocessing never waits for a run to end, nor a run for preprocessing.
        self._computing = None if profile.inline else ThreadPoolExecutor(threads, thread_name_prefix="headrace-compute")
        self._preparing = (
            ThreadPoolExecutor(threads, thread_name_prefix="headrace-prepare") if profile.preprocess_slow else None
        )

    @property
    def running(self) -> int:
        """Batches being computed."""
        return self._running

    @property
    def waiting_rows(self) -> int:
        """Rows that wait, of all tiers."""
        return sum(self._waiting.rows)

    def submit(self, job: Job, *, tensors: dict[str, np.ndarray], parameters: dict[str, Any]) -> None:
        """Admit a job or refuse it at once. Only who goes before it counts; where it needs room, lower tiers leave.

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
        now = perf_counter()
        tier, waiting = job.tier, self._waiting
        if tier > TIER_BACKGROUND:
            self._caller_at = now
        before = waiting.rows_before(tier)
        if before + rows > self._queue_rows_max:
            raise self._queue_full(tier)
        if job.deadline is not None and (
            now >= job.deadline
            or ((before or self._running) and now + self._answered_in_s(rows, tier, now) > job.deadline)
        ):
            self._metrics.dropped["deadline"] += 1
            raise Overloaded(
                "The deadline would pass before the answer: allow more time or retry later.",
                code="deadline_exceeded",
                retry_after_s=self.retry_after_s(tier),
            )
        if (excess := self.waiting_rows + rows - self._queue_rows_max) > 0:
            for lower in waiting.evicted(tier, excess):
                waiting.rows[lower.tier] -= lower.rows_left
                lower.over = True
                self._deliver(lower, self._queue_full(lower.tier))
        job.rows = rows
        job.queued_at = now
        if self._preparing is not None:
            waiting.rows[tier] += rows

            def act() -> Prepared | None:
                if job.caller.gone or (job.deadline is not None and perf_counter() >= job.deadline):
                    return None
                return self._runner.prepare(tensors, parameters)

            self._off_loop(self._preparing, act, then=lambda done: self._prepared(job, done))
            return
        job.prepared = self._runner.prepare(tensors, parameters)
        waiting.rows[tier] += rows
        self._enqueue(job)

    def retry_after_s(self, tier: int = TIER_BACKGROUND) -> int:
        """Say when a retry is likely to be admitted: the time that those before it take, a second at least."""
        workers = 1 if self._profile.inline else self._workers
        wait_s = self._waiting.rows_before(tier) / (self._profile.rows_per_s * workers)
        return max(1, min(RETRY_AFTER_S_MAX, math.ceil(wait_s)))

    def _queue_full(self, tier: int) -> Overloaded:
        self._metrics.dropped["queue_full"] += 1
        return Overloaded(
            "The queue is full: retry after the time in Retry-After.", retry_after_s=self.retry_after_s(tier)
        )

    def close(self) -> None:
        """Let the worker threads go; nothing may be submitted afterwards."""
        for executor in (self._computing, self._preparing):
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)

    def _answered_in_s(self, rows: int, tier: int, now: float) -> float:
        """How long a job that came now would take: until a worker frees up, the batches before it, and its own.

        An answer that comes after its deadline was computed for nobody.
        """
        background = tier == TIER_BACKGROUND and not self._profile.inline
        workers = 1 if self._profile.inline else self._background_max(now) if background else self._workers
        left_s = max(0.0, min(self._ends_at) - now) if self._running >= workers and self._ends_at else 0.0
        waiting, pace = self._waiting.rows_before(tier), self._pace[background]
        if background:  # until its first piece is computed: what is begun is finished, late or not, as any run is
            first_s = self._profile.batch_s(min(self._cap, rows))
            return left_s + pace * (waiting / workers / self._profile.rows_per_s + first_s)
        before, beside = divmod(waiting, self._cap)
        ahead_s = before * self._profile.batch_s(self._cap) / workers
        return left_s + pace * (ahead_s + self._profile.batch_s(min(self._cap, beside + rows)))

    def _learn(self, pace: float, *, background: bool) -> None:
        """Follow what batches really take: warm-up may have met a busy machine, or a quiet one."""
        self._pace[background] += PACE_SHARE * (min(PACE_MAX, pace) - self._pace[background])

    def _background_max(self, now: float) -> int:
        """Workers that the lowest tier may have."""
        return max(1, self._workers - 1) if now - self._caller_at < CALLERS_PRESENT_S else self._workers

    def _background_rows_max(self) -> int:
        """Rows of the lowest tier that may be computed in one go."""
        rows = self._cap
        while rows > 1 and self._pace[True] * self._profile.batch_s(rows) > BACKGROUND_RUN_S:
            rows -= 1
        return rows

    def _prepared(self, job: Job, done: Prepared | Exception | None) -> None:
        if isinstance(done, Exception):
            self._waiting.rows[job.tier] -= job.rows
            error = done if isinstance(done, ServingError) else ModelFailed("The model's preprocessing broke.")
            self._deliver(job, error)
            return
        if done is not None:  # else nobody waits for it any more, and `_take` drops it before looking at its feeds
            job.prepared = done
        if self.waiting_rows > self._queue_rows_max and self._waiting.rows_before(job.tier + 1):
            # A higher tier came meanwhile and needs the room; what is being prepared cannot be evicted.
            self._waiting.rows[job.tier] -= job.rows
            self._deliver(job, self._queue_full(job.tier))
            return
        self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        self._waiting.tiers[job.tier].append(job)
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
        now = perf_counter()
        if now - self._swept_at >= SWEEP_S:
            self._swept_at = now
            self._sweep(now)
        if self._profile.inline:
            if self._must_wait():
                return
            batch = self._take(self._order(now), self._cap)
            if batch:
                start = perf_counter()
                self._account(batch, started_at=start)
                results = self._runner.compute([job.prepared for job in batch])
                self._finish(batch, results, seconds=perf_counter() - start)
            if self._waiting:
                self._pump_scheduled = True
                self._loop.call_soon(self._pump)
            return
        waiting = self._waiting
        while waiting and self._running < self._workers and not self._must_wait():
            room = waiting.background and self._background_running < self._background_max(now)
            callers = len(waiting) - waiting.background
            aged = waiting.aged(now)
            if room and (not callers or aged == TIER_BACKGROUND):
                if callers:
                    waiting.turn_taken(now)
                self._start_background()
            elif callers:
                lone = self._running == 0 and callers == 1 and self._profile.wide
                # Shared out among the free workers: two half batches at once end before one whole one.
                rows = waiting.rows_before(TIER_BACKGROUND + 1)
                share = math.ceil(rows / (self._workers - self._running))
                batch = self._take(self._order(now)[:TIER_TOP], min(self._cap, share))
                if batch:
                    self._start(batch, session=1 if lone else 0, cores=self._workers if lone else 1)
            else:
                return

    def _order(self, now: float) -> Sequence[int]:
        """The tiers as the next run takes them, background last but for the one time that it has aged."""
        aged = self._waiting.aged(now)
        if aged is None or (aged == TIER_BACKGROUND and not self._profile.inline):
            return _DOWN
        self._waiting.turn_taken(now)
        return (aged, *(tier for tier in _DOWN if tier != aged))

    def _must_wait(self) -> bool:
        """With a delay configured: whether the batch may still wait for company, and if so, until when."""
        if not self._delay_max_s or not self._waiting or self.waiting_rows >= self._cap:
            return False
        left = self._waiting.oldest_at() + self._delay_max_s - perf_counter()
        if left <= 0:
            return False
        self._timer = self._loop.call_later(left, self._pump)
        return True

    def _sweep(self, now: float) -> None:
        """Answer those whose time is up wherever they stand: in a low tier's line their turn may come much later."""
        for line in self._waiting.tiers:
            if any(job.caller.gone or (job.deadline is not None and now >= job.deadline) for job in line):
                kept = [job for job in line if not self._dropped(job, now)]
                line.clear()
                line.extend(kept)

    def _dropped(self, job: Job, now: float) -> bool:
        """Whether nobody waits for a job; it is told so, and counts no longer."""
        if job.caller.gone:
            self._waiting.rows[job.tier] -= job.rows_left
            job.over = True
            self._metrics.dropped["caller_gone"] += 1
            job.deliver(Overloaded("The caller has gone.", code="caller_gone"))
            return True
        if job.deadline is not None and now >= job.deadline and not job.rows_begun:
            self._waiting.rows[job.tier] -= job.rows_left
            job.over = True
            self._metrics.dropped["deadline"] += 1
            late = Overloaded(
                "The deadline passed in the queue: allow more time or retry later.",
                code="deadline_exceeded",
                retry_after_s=self.retry_after_s(job.tier),
            )
            self._deliver(job, late)
            return True
        return False

    def _take(self, tiers: Sequence[int], rows_max: int) -> list[Job]:
        """Take the first job of these lines and those behind it that may share its run, without whom nobody awaits."""
        batch: list[Job] = []
        rows = 0
        key: object = None
        full = False
        now = perf_counter()
        for tier in tiers:
            line = self._waiting.tiers[tier]
            if not line:
                continue
            skipped: list[Job] = []
            while line and not full:
                job = line.popleft()
                if self._dropped(job, now):
                    continue
                if not batch:
                    key = job.prepared.key
                elif job.prepared.key != key or job.rows_begun or rows + job.rows > rows_max:
                    skipped.append(job)
                    full = rows >= rows_max
                    continue
                batch.append(job)
                rows += job.rows
                self._waiting.rows[tier] -= job.rows
                full = key is None or rows >= rows_max
            line.extendleft(reversed(skipped))
            if full:
                break
        return batch

    def _start_background(self) -> None:
        """Start a short run of the lowest tier: a piece of the first job, or several small jobs."""
        line, now = self._waiting.tiers[TIER_BACKGROUND], perf_counter()
        while line and self._dropped(line[0], now):
            line.popleft()
        if not line:
            return
        rows_max, job = self._background_rows_max(), line[0]
        # Rows may be parted where they are known to be independent of each other, as they may be joined.
        partable = job.prepared.key is not None and job.prepared.rows == job.rows
        if job.rows_begun or (partable and job.rows_left > rows_max):
            self._start_piece(job, min(rows_max, job.rows_left))
        elif batch := self._take((TIER_BACKGROUND,), rows_max):
            self._start(batch, session=0, cores=1, background=True)

    def _start_piece(self, job: Job, rows: int) -> None:
        """Compute the next rows of the first background job, which stays at the head of its line until all are begun.

        So several workers may be at one job, as long as no caller wants them.
        """
        start, prepared = job.rows_begun, job.prepared
        if not start:
            self._account([job], started_at=perf_counter())
        self._waiting.rows[TIER_BACKGROUND] -= rows
        job.rows_begun += rows
        job.pieces[start] = None
        if not job.rows_left:
            self._waiting.tiers[TIER_BACKGROUND].popleft()

        def then(done: Outputs | Exception | None, seconds: float) -> None:
            self._metrics.count_batch(rows=rows, requests=1, seconds=seconds)
            if job.over:
                return
            if done is None or isinstance(done, Exception):
                job.over = True
                if job.rows_left:
                    self._waiting.tiers[TIER_BACKGROUND].remove(job)
                    self._waiting.rows[TIER_BACKGROUND] -= job.rows_left
                self._join(job, ())
                return
            job.pieces[start] = done
            pieces = [job.pieces[at] for at in sorted(job.pieces)]
            if not job.rows_left and all(piece is not None for piece in pieces):
                self._join(job, [piece for piece in pieces if piece is not None])

        self._run(
            lambda: self._runner.piece(prepared, start=start, end=start + rows),
            rows=rows,
            cores=1,
            background=True,
            then=then,
        )

    def _join(self, job: Job, pieces: Sequence[Outputs]) -> None:
        """Answer a job that was computed in pieces; without any it is computed whole, which tells what is wrong."""

        def then(done: Outputs | Exception) -> None:
            broken = isinstance(done, Exception) and not isinstance(done, ServingError)
            self._deliver(job, ModelFailed("The model could not be run.") if broken else done)  # type: ignore[arg-type]

        assert self._computing is not None  # noqa: S101 - as below
        self._off_loop(self._computing, lambda: self._runner.joined(job.prepared, pieces), then=then)

    def _account(self, batch: list[Job], *, started_at: float) -> None:
        histogram = self._metrics.queue_s
        bounds, counts, total = histogram.bounds, histogram.counts, 0.0
        for job in batch:
            waited_s = started_at - job.queued_at
            counts[bisect_left(bounds, waited_s)] += 1
            total += waited_s
        histogram.total += total

    def _start(self, batch: list[Job], *, session: int, cores: int, background: bool = False) -> None:
        prepared = [job.prepared for job in batch]
        self._account(batch, started_at=perf_counter())

        def then(done: list[Outputs | ServingError] | Exception, seconds: float) -> None:
            if isinstance(done, Exception):
                broken: list[Outputs | ServingError] = [ModelFailed("The model could not be run.")] * len(batch)
                done = broken
            self._finish(batch, done, seconds=seconds)

        self._run(
            lambda: self._runner.compute(prepared, session=session),
            rows=sum(job.rows for job in batch),
            cores=cores,
            background=background,
            then=then,
        )

    def _run(
        self,
        act: Callable[[], Any],
        *,
        rows: int,
        cores: int,
        background: bool,
        then: Callable[[Any, float], None],
    ) -> None:
        """Compute on a thread; `then` has what came of it and how long that took."""
        self._running += cores
        self._background_running += background
        start = perf_counter()
        usual_s = self._profile.batch_s(rows)
        ends_at = start + self._pace[background] * usual_s
        self._ends_at.append(ends_at)

        def ended(done: Any) -> None:
            self._running -= cores
            self._background_running -= background
            self._ends_at.remove(ends_at)
            seconds = perf_counter() - start
            self._learn(seconds / usual_s, background=background)
            then(done, seconds)
            if self._waiting and not self._pump_scheduled:
                self._pump_scheduled = True
                self._loop.call_soon(self._pump)

        assert self._computing is not None  # noqa: S101 - made unless batches run on the loop
        self._off_loop(self._computing, act, then=ended)

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
