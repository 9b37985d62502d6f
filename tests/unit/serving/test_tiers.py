"""Callers before batches: order, short pieces, a free worker, room in a full queue, and nobody lost or starved."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoints.serving.batcher import SWEEP_S, Batcher, Job
from endpoints.serving.errors import BadInput, Overloaded, ServingError
from endpoints.serving.lines import TIER_BACKGROUND, TIER_TOP
from endpoints.serving.metrics import Metrics
from endpoints.serving.runner import Outputs, Prepared, Runner
from endpoints.serving.warmup import Profile
from tests import serving_models as models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Waiting(Job):
    """A caller of the test: keeps its result."""

    __slots__ = ("gone", "result")

    def __init__(self, tier: int, *, deadline: float | None = None) -> None:
        super().__init__(self, deadline, tier)
        self.gone = False
        self.result: Any = None

    def deliver(self, result: Any) -> None:
        """Keep the result; a second one would be a defect."""
        assert self.result is None
        self.result = result


class Model:
    """Answers with its input; notes what ran together, and may be held up."""

    def __init__(self) -> None:
        self.ran: list[list[float]] = []
        self.open = threading.Event()
        self.open.set()
        self.each: Callable[[], None] = lambda: None

    def prepare(self, tensors: dict[str, np.ndarray], parameters: dict[str, Any]) -> Prepared:
        """All may share a run."""
        return Prepared(tensors, len(tensors["x"]), "one", None, parameters)

    def compute(self, batch: Sequence[Prepared], *, session: int = 0) -> list[Outputs | ServingError]:
        """Run a batch."""
        assert session == 0
        with self._running([float(one.feeds["x"][0]) for one in batch]):
            return [{"y": one.feeds["x"]} for one in batch]

    def piece(self, one: Prepared, *, start: int, end: int) -> Outputs:
        """Run some rows."""
        rows = one.feeds["x"][start:end]
        with self._running([float(row) for row in rows]):
            return {"y": rows}

    def joined(self, _one: Prepared, pieces: Sequence[Outputs]) -> Outputs:
        """Put them together."""
        return {"y": np.concatenate([piece["y"] for piece in pieces])}

    @contextmanager
    def _running(self, marks: list[float]) -> Iterator[None]:
        self.ran.append(marks)
        self.each()
        assert self.open.wait(30)
        yield


def batcher_of(
    model: Model | Runner, *, threads: int = 1, row_s: float = 0.0001, cap: int = 4, queue_rows_max: int = 10_000,
    inline: bool = False, slow: bool = False,
) -> Batcher:  # fmt: skip
    """A queue whose warm-up measured `row_s` for each row."""
    shape = Profile(
        curve=((1, row_s), (8, 8 * row_s)), batch_rows_max=cap, inline=inline, preprocess_slow=slow, wide=False
    )
    return Batcher(
        cast("Runner", model),
        profile=shape,
        threads=threads,
        queue_rows_max=queue_rows_max,
        delay_max_s=0.0,
        metrics=Metrics(),
        loop=asyncio.get_running_loop(),
    )


def submit(batcher: Batcher, job: Waiting, *values: float) -> None:
    """Ask for these rows; a refusal is the job's result."""
    try:
        batcher.submit(job, tensors={"x": np.array(values, dtype=np.float32)}, parameters={})
    except ServingError as error:
        job.deliver(error)


async def until(fact: Callable[[], bool]) -> None:
    """Let the loop go on until something is so."""
    late = perf_counter() + 30
    while not fact():
        assert perf_counter() < late
        await asyncio.sleep(0.001)


@given(tiers=st.lists(st.integers(0, TIER_TOP), max_size=25), cap=st.integers(1, 6), inline=st.booleans())
@settings(max_examples=40, deadline=None)
def test_nobody_waits_behind_a_lower_tier(tiers: list[int], cap: int, *, inline: bool) -> None:
    """What waits runs from the highest tier down, by age within a tier, the lowest apart; all have their own rows."""
    model, jobs = Model(), [Waiting(tier) for tier in tiers]

    async def act() -> None:
        batcher = batcher_of(model, cap=cap, inline=inline)
        for number, job in enumerate(jobs):
            submit(batcher, job, number)
        await until(lambda: all(job.result is not None for job in jobs))
        assert batcher.waiting_rows == 0
        batcher.close()

    asyncio.run(act())
    order = sorted(range(len(tiers)), key=lambda number: -tiers[number])
    assert [int(mark) for marks in model.ran for mark in marks] == order
    assert all(job.result["y"] == [number] for number, job in enumerate(jobs))
    if not inline:
        for marks in model.ran:
            assert len({tiers[int(mark)] == TIER_BACKGROUND for mark in marks}) == 1


def test_a_caller_waits_for_one_piece_of_a_batch_at_most() -> None:
    """The lowest tier runs in pieces of some 50 ms; who comes meanwhile is next, and the batch's rows stay in order."""
    model, batch, caller = Model(), Waiting(TIER_BACKGROUND), Waiting(TIER_TOP)

    async def act() -> None:
        loop = asyncio.get_running_loop()
        batcher = batcher_of(model, row_s=0.025)

        def come() -> None:
            if len(model.ran) == 2:
                loop.call_soon_threadsafe(submit, batcher, caller, 99.0)

        model.each = come
        submit(batcher, batch, *range(9))
        await until(lambda: batch.result is not None)
        batcher.close()

    asyncio.run(act())
    assert model.ran[:2] == [[0, 1], [2, 3]]
    assert model.ran[2] == [99]
    assert model.ran[3][0] == 4
    assert batch.result["y"].tolist() == list(range(9))


def test_one_worker_stays_free_while_callers_come() -> None:
    """Alone a batch has all workers; once a caller has come, all but one."""

    async def running(*, callers: int) -> int:
        model = Model()
        batcher = batcher_of(model, threads=2, row_s=0.05)
        for _ in range(callers):
            submit(batcher, one := Waiting(TIER_TOP), 0.0)
            await until(lambda one=one: one.result is not None)  # type: ignore[misc]
        model.open.clear()
        jobs = [Waiting(TIER_BACKGROUND) for _ in range(4)]
        for job in jobs:
            submit(batcher, job, 1.0, 2.0)
        await until(lambda: batcher.running == (1 if callers else 2))
        for _ in range(20):
            await asyncio.sleep(0)
        held = batcher.running
        model.open.set()
        await until(lambda: all(job.result is not None for job in jobs))
        batcher.close()
        return held

    assert asyncio.run(running(callers=0)) == 2
    assert asyncio.run(running(callers=1)) == 1


def test_a_batch_goes_on_while_callers_leave_time() -> None:
    """With callers coming one after the other, a worker's free moments are the batch's."""
    model, batch = Model(), Waiting(TIER_BACKGROUND)

    async def act() -> int:
        batcher = batcher_of(model, row_s=0.025)
        submit(batcher, batch, *range(40))
        callers = 0
        while batch.result is None:
            submit(batcher, one := Waiting(TIER_TOP), 99.0)
            await until(lambda one=one: one.result is not None)  # type: ignore[misc]
            callers += 1
            await asyncio.sleep(0.001)
        batcher.close()
        return callers

    assert asyncio.run(act()) > 1
    assert batch.result["y"].tolist() == list(range(40))


@pytest.mark.parametrize("slow", [False, True])
def test_a_queue_full_of_lower_tiers_has_room(*, slow: bool) -> None:
    """Who comes last of the lowest tier leaves, and is told when to retry; its own tier finds the queue full."""
    model = Model()
    first, last, same = (Waiting(TIER_BACKGROUND) for _ in range(3))
    caller = Waiting(5)

    async def act() -> None:
        batcher = batcher_of(model, queue_rows_max=4, slow=slow)
        for job in (first, last):
            submit(batcher, job, 1.0, 2.0)
        submit(batcher, same, 3.0)
        submit(batcher, caller, 4.0)
        assert isinstance(same.result, Overloaded)
        await until(lambda: all(job.result is not None for job in (first, last, caller)))
        assert batcher.waiting_rows == 0
        batcher.close()

    asyncio.run(act())
    assert caller.result["y"].tolist() == [4]
    refused = [job.result for job in (first, last) if isinstance(job.result, Overloaded)]
    assert len(refused) == 1 or slow  # where all are prepared before the caller is, nothing need leave
    assert all(error.code == same.result.code and error.retry_after_s >= 1 for error in refused)
    if not slow:
        assert isinstance(last.result, Overloaded)


def test_rows_of_lower_tiers_refuse_nobody() -> None:
    """Seconds of a batch's rows wait: a caller in a hurry is believed to be in time, another batch is not."""
    model = Model()
    caller, other = (Waiting(tier, deadline=perf_counter() + 20.0) for tier in (5, TIER_BACKGROUND))

    async def act() -> None:
        batcher = batcher_of(model, row_s=1.0)
        batch = Waiting(TIER_BACKGROUND)
        submit(batcher, batch, *range(100))
        submit(batcher, other, 1.0)
        submit(batcher, caller, 2.0)
        await until(lambda: caller.result is not None)
        batch.gone = True
        await until(lambda: batch.result is not None)
        batcher.close()

    asyncio.run(act())
    assert other.result.code == "deadline_exceeded"
    assert not isinstance(caller.result, Exception)


def test_a_low_tier_is_told_that_its_time_is_up() -> None:
    """Its turn does not come, for callers keep the only worker busy: it is told all the same."""
    model, behind = Model(), Waiting(TIER_BACKGROUND, deadline=perf_counter() + 10.0)

    async def act() -> None:
        batcher = batcher_of(model, cap=1)
        model.each = lambda: time.sleep(1.2 * SWEEP_S)
        callers = [Waiting(TIER_TOP) for _ in range(4)]
        submit(batcher, callers[0], 0.0)
        submit(batcher, behind, 1.0)
        for job in callers[1:]:
            submit(batcher, job, 0.0)
        behind.deadline = perf_counter()
        await until(lambda: behind.result is not None)
        assert callers[-1].result is None
        await until(lambda: callers[-1].result is not None)
        batcher.close()

    asyncio.run(act())
    assert behind.result.code == "deadline_exceeded"


def test_pieces_of_a_real_model(load: Callable[..., Runner]) -> None:
    """A request computed in pieces is answered as in one run; what the model refuses of it is refused in the end."""
    runner = load(models.identity(), code=models.MARKED_ROWS_CODE.replace("SLEEP_S", "0"))
    runner.batchable = True
    good = np.arange(36, dtype=np.float32).reshape(9, 4) + 1000
    marked = good.copy()
    marked[3, 0] = models.POISON
    jobs = [Waiting(TIER_BACKGROUND), Waiting(TIER_BACKGROUND)]

    async def act() -> None:
        batcher = batcher_of(runner, row_s=0.02, threads=2)
        for job, array in zip(jobs, (good, marked), strict=True):
            batcher.submit(job, tensors={"x": array}, parameters={})
        await until(lambda: all(job.result is not None for job in jobs))
        batcher.close()

    asyncio.run(act())
    np.testing.assert_array_equal(jobs[0].result["y"], good)
    assert isinstance(jobs[1].result, BadInput)
