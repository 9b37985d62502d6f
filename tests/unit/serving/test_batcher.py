"""Whatever is batched with whatever, every caller gets its own rows, and only those at fault fail."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from endpoints.serving.batcher import Batcher, Job
from endpoints.serving.errors import BadInput, ModelFailed, Overloaded, ServingError
from endpoints.serving.metrics import Metrics
from endpoints.serving.runner import LoadError, Runner
from endpoints.serving.warmup import Profile, knee, prove_batchable, warm_up
from tests import serving_models as models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CODE = models.MARKED_ROWS_CODE.replace("SLEEP_S", "0")
GOOD, POISON, REFUSED = 0.0, models.POISON, -1.0


class Waiting(Job):
    """A caller of the test: keeps its result, and may have gone."""

    __slots__ = ("gone", "result")

    def __init__(self, *, deadline: float | None = None) -> None:
        super().__init__(self, deadline)
        self.gone = False
        self.result: Any = None

    def deliver(self, result: Any) -> None:
        """Keep the result; a second one would be a defect."""
        assert self.result is None
        self.result = result


def profile(*, inline: bool, cap: int = 8, slow: bool = False, batch_s: float = 0.0001) -> Profile:
    """Make a profile as warm-up would have measured it."""
    curve = ((1, batch_s), (8, batch_s))
    return Profile(curve=curve, batch_rows_max=cap, inline=inline, preprocess_slow=slow, wide=False)


async def drive(
    runner: Runner, requests: list[tuple[Waiting, np.ndarray]], *, shape: Profile, queue_rows_max: int = 10_000,
    delay_max_s: float = 0.0,
) -> Metrics:  # fmt: skip
    """Submit all requests in one turn of the loop and wait for all results."""
    metrics = Metrics()
    batcher = Batcher(
        runner,
        profile=shape,
        threads=2,
        queue_rows_max=queue_rows_max,
        delay_max_s=delay_max_s,
        metrics=metrics,
        loop=asyncio.get_running_loop(),
    )
    for job, rows in requests:
        try:
            batcher.submit(job, tensors={"x": rows}, parameters={})
        except ServingError as error:
            job.deliver(error)
    until = perf_counter() + 60
    while any(job.result is None for job, _ in requests):
        assert perf_counter() < until, "a caller was never answered"
        await asyncio.sleep(0.001)
    assert batcher.waiting_rows == 0
    batcher.close()
    return metrics


@given(
    plan=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([GOOD, GOOD, GOOD, POISON, REFUSED])), max_size=30),
    inline=st.booleans(),
    slow=st.booleans(),
    cap=st.integers(1, 16),
    delay_max_s=st.sampled_from([0.0, 0.002]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_outputs_never_cross_callers(
    load: Callable[..., Runner],
    plan: list[tuple[int, float]],
    *,
    inline: bool,
    slow: bool,
    cap: int,
    delay_max_s: float,
) -> None:
    """Good requests all get exactly their own rows, with any sizes, any batch failures and either way of running."""
    runner = load(models.identity(), code=CODE)
    runner.batchable = True
    requests: list[tuple[Waiting, np.ndarray]] = []
    for number, (rows, mark) in enumerate(plan):
        array = 1000 + np.arange(rows * 4, dtype=np.float32).reshape(rows, 4) + 100 * number
        if mark != GOOD:
            array[-1, 0] = mark
        requests.append((Waiting(), array))
    asyncio.run(drive(runner, requests, shape=profile(inline=inline, cap=cap, slow=slow), delay_max_s=delay_max_s))
    for (job, array), (_, mark) in zip(requests, plan, strict=True):
        if mark == GOOD:
            np.testing.assert_array_equal(job.result["y"], array)
        else:
            assert isinstance(job.result, BadInput)
            assert job.result.code == ("marked_row" if mark == POISON else "reserved_value")


def test_a_full_queue_refuses_at_once(load: Callable[..., Runner]) -> None:
    """Rows beyond the bound are refused with a time to retry; the others are served."""
    runner = load(models.identity())
    requests = [(Waiting(), np.ones((2, 4), dtype=np.float32)) for _ in range(5)]
    metrics = asyncio.run(drive(runner, requests, shape=profile(inline=True, batch_s=20.0), queue_rows_max=6))
    refused = [job.result for job, _ in requests if isinstance(job.result, Overloaded)]
    assert len(refused) == metrics.dropped["queue_full"] == 2
    assert all(1 <= error.retry_after_s <= 30 for error in refused)


def test_nobody_waits_so_nothing_runs(load: Callable[..., Runner]) -> None:
    """Queued requests whose caller left, or whose deadline passed, cost no run of the model."""
    runner = load(models.identity())
    left, late = Waiting(), Waiting(deadline=perf_counter() - 1)
    left.gone = True
    rows = np.ones((1, 4), dtype=np.float32)
    metrics = asyncio.run(drive(runner, [(left, rows), (late, rows)], shape=profile(inline=True)))
    assert metrics.rows == 0
    assert metrics.dropped == {"caller_gone": 1, "concurrency": 0, "deadline": 1, "queue_full": 0}
    assert late.result.code == "deadline_exceeded"


def test_what_could_only_be_ready_too_late_is_refused_at_once(load: Callable[..., Runner]) -> None:
    """Behind a batch that runs, a job whose own time no longer fits is not begun for nobody; a patient one is."""
    runner, rows = load(models.identity()), np.ones((1, 4), dtype=np.float32)
    shape = profile(inline=False, cap=1, batch_s=10.0)  # as measured; the model itself is quick, so the test is
    hurried, patient = Waiting(deadline=perf_counter() + 15.0), Waiting(deadline=perf_counter() + 60.0)
    running = [(Waiting(), rows), (Waiting(), rows)]
    metrics = asyncio.run(drive(runner, [*running, (hurried, rows), (patient, rows)], shape=shape))
    assert hurried.result.code == "deadline_exceeded"
    assert not isinstance(patient.result, Exception)
    assert metrics.dropped["deadline"] == 1


def test_estimates_follow_what_batches_really_take(load: Callable[..., Runner]) -> None:
    """Warm-up met a busy machine: after some quick batches a hurried job is believed to be in time."""
    runner, rows = load(models.identity()), np.ones((1, 4), dtype=np.float32)
    hurried = Waiting(deadline=perf_counter() + 30.0)

    async def act() -> None:
        batcher = Batcher(
            runner,
            profile=profile(inline=False, cap=1, batch_s=20.0),
            threads=2,
            queue_rows_max=100,
            delay_max_s=0.0,
            metrics=Metrics(),
            loop=asyncio.get_running_loop(),
        )
        for _ in range(20):
            alone = Waiting()
            batcher.submit(alone, tensors={"x": rows}, parameters={})
            while alone.result is None:  # noqa: ASYNC110 - delivery is a call, not an event
                await asyncio.sleep(0.001)
        others = [Waiting(), Waiting()]
        for job in (*others, hurried):
            batcher.submit(job, tensors={"x": rows}, parameters={})
        while hurried.result is None:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        batcher.close()

    asyncio.run(act())
    assert not isinstance(hurried.result, Exception)


def test_an_idle_server_takes_what_it_expects_to_miss(load: Callable[..., Runner]) -> None:
    """Nothing else waits for it, and the curve of the warm-up may be wrong."""
    runner, rows = load(models.identity()), np.ones((1, 4), dtype=np.float32)
    alone = Waiting(deadline=perf_counter() + 5.0)
    asyncio.run(drive(runner, [(alone, rows)], shape=profile(inline=False, batch_s=10.0)))
    assert not isinstance(alone.result, Exception)


def test_nobody_waits_so_nothing_is_prepared(load: Callable[..., Runner], tmp_path: Path) -> None:
    """Preprocessing on threads is spared, too, for callers that left."""
    witness = tmp_path / "prepared"
    spy = CODE.replace(
        'if (tensors["x"] == -1)', f'open({str(witness)!r}, "w").close()\n        if (tensors["x"] == -1)'
    )
    left = Waiting()
    left.gone = True
    rows = np.ones((1, 4), dtype=np.float32)
    metrics = asyncio.run(
        drive(load(models.identity(), code=spy), [(left, rows)], shape=profile(inline=False, slow=True))
    )
    assert metrics.dropped["caller_gone"] == 1
    assert not witness.exists()


def test_requests_of_other_shapes_do_not_share(load: Callable[..., Runner]) -> None:
    """Different trailing sizes go in separate runs, both right."""
    free = models.model_of(
        [models.helper.make_node("Identity", ["x"], ["y"])],
        inputs=[models.value("x", TensorProto.FLOAT, ["rows", "width"])],
        outputs=[models.value("y", TensorProto.FLOAT, ["rows", "width"])],
    )
    runner = load(free)
    runner.batchable = prove_batchable(runner)
    assert runner.batchable
    requests = [(Waiting(), np.full((1, 2 + number % 2), number, dtype=np.float32)) for number in range(6)]
    metrics = asyncio.run(drive(runner, requests, shape=profile(inline=True)))
    for job, rows in requests:
        np.testing.assert_array_equal(job.result["y"], rows)
    assert sum(metrics.batches.counts) == 2


def test_batching_is_proven_not_believed(load: Callable[..., Runner]) -> None:
    """A model whose rows see each other is never batched; one whose rows are independent is."""
    assert prove_batchable(load(models.mlp()))
    assert not prove_batchable(load(models.row_mixing()))


def test_a_model_py_does_not_hide_mixed_rows(load: Callable[..., Runner]) -> None:
    """The example's neighbours are unlike it, so a mean over the batch shows; independent rows still pass."""
    assert not prove_batchable(load(models.centred(), code=CODE))
    assert not prove_batchable(load(models.row_mixing(), code=CODE))
    assert prove_batchable(load(models.identity(), code=CODE))


@pytest.mark.parametrize(("bound", "found"), [(1, 1), (2, 2), (6, 6)])
def test_a_declared_bound_is_kept(load: Callable[..., Runner], bound: int, found: int) -> None:
    """The cap is the curve's knee, never above the operator's bound."""
    assert 1 <= warm_up(load(models.mlp()), threads=1, batch_rows_max=bound).batch_rows_max <= found


def test_rows_of_free_size_leave_the_loop(load: Callable[..., Runner]) -> None:
    """A bare model whose rows may be of any length never runs on the event loop, however quick its example."""
    free = models.model_of(
        [models.helper.make_node("Identity", ["x"], ["y"])],
        inputs=[models.value("x", TensorProto.FLOAT, ["rows", "width"])],
        outputs=[models.value("y", TensorProto.FLOAT, ["rows", "width"])],
    )
    assert not warm_up(load(free), threads=1).inline


def test_feeds_that_model_py_made_are_its_own_fault(load: Callable[..., Runner]) -> None:
    """A failed run behind a model.py is the model's failure, with the cause kept for the log's sake."""
    wrong = CODE.replace('{"x": tensors["x"]}, len', '{"x": tensors["x"][:, :3]}, len')
    (result,) = load(models.identity(), code=wrong).run([({"x": np.ones((1, 4), dtype=np.float32)}, {})])
    assert isinstance(result, ModelFailed)
    assert type(result.__cause__).__name__ == "InvalidArgument"


def test_outputs_that_are_no_tensors_are_left_out(load: Callable[..., Runner]) -> None:
    """A classifier exported with a sequence of maps is served with its tensors."""
    runner = load(models.classifier_with_maps())
    assert list(runner.signature.outputs) == ["label"]
    warm_up(runner, threads=1)
    (result,) = runner.run([({"x": np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32)}, {})])
    assert result["label"].tolist() == [1, 0]  # type: ignore[index, call-overload]


def test_an_undeclared_rank_is_refused_with_a_hint(load: Callable[..., Runner]) -> None:
    """A bare model that does not say what shape it takes is refused, with what to do."""
    unknown = models.model_of(
        [models.helper.make_node("Identity", ["x"], ["y"])],
        inputs=[models.helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        outputs=[models.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    with pytest.raises(LoadError, match=r"add a model\.py"):
        load(unknown)


@pytest.mark.parametrize("declared", [[1, 4], ["rows", 9], []])
def test_wrong_declared_outputs_are_served(load: Callable[..., Runner], declared: list[int | str]) -> None:
    """An exporter's wrong output shape changes nothing: what the model gives is what is answered."""
    wrong = models.model_of(
        [models.helper.make_node("Identity", ["x"], ["y"])],
        inputs=[models.value("x", TensorProto.FLOAT, ["rows", 4])],
        outputs=[models.value("y", TensorProto.FLOAT, declared)],
    )
    runner = load(wrong)
    warm_up(runner, threads=1)
    rows = np.ones((3, 4), dtype=np.float32)
    (result,) = runner.run([({"x": rows}, {})])
    np.testing.assert_array_equal(result["y"], rows)  # type: ignore[index, call-overload]


def test_scalar_and_fixed_inputs_are_served_singly(load: Callable[..., Runner]) -> None:
    """A model with a scalar beside its rows, and initialisers listed as inputs, loads and answers unbatched."""
    weights = models.numpy_helper.from_array(np.ones(4, dtype=np.float32), "w")
    graph = models.model_of(
        [
            models.helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
            models.helper.make_node("Mul", ["x", "f"], ["xf"]),
            models.helper.make_node("Mul", ["xf", "w"], ["y"]),
        ],
        inputs=[
            models.value("x", TensorProto.FLOAT, ["rows", 4]),
            models.value("n", TensorProto.INT32, []),
            models.value("w", TensorProto.FLOAT, [4]),
        ],
        outputs=[models.value("y", TensorProto.FLOAT, ["rows", 4])],
        initializers=[weights],
    )
    runner = load(graph)
    assert list(runner.signature.inputs) == ["x", "n"]
    assert warm_up(runner, threads=1).batch_rows_max == 1
    tensors = {"x": np.ones((2, 4), dtype=np.float32), "n": np.array(3, dtype=np.int32)}
    (result,) = runner.run([(tensors, {})])
    assert (result["y"] == 3).all()  # type: ignore[index, call-overload]


def test_a_model_that_cannot_warm_up_is_refused(load: Callable[..., Runner]) -> None:
    """A model whose example fails does not become ready."""
    broken = CODE.replace("np.ones((1, 4)", "np.full((1, 4), -1.0").replace(
        "full((1, 4), -1.0, dtype", "full((1, 4), -1, dtype"
    )
    with pytest.raises(LoadError, match="warm-up request was refused"):
        warm_up(load(models.identity(), code=broken), threads=1)


@given(st.lists(st.floats(0.0001, 10), min_size=1, max_size=8))
def test_the_knee_is_the_smallest_good_batch(times: list[float]) -> None:
    """The knee's rate is within half a per cent of the best, and no smaller measured batch is."""
    curve = tuple((2**step, seconds) for step, seconds in enumerate(times))
    best = max(rows / seconds for rows, seconds in curve)
    chosen = knee(curve)
    rates = {rows: rows / seconds for rows, seconds in curve}
    assert rates[chosen] >= 0.995 * best
    assert all(rate < 0.995 * best for rows, rate in rates.items() if rows < chosen)


@given(st.integers(1, 500))
def test_predicted_time_grows_with_rows(rows: int) -> None:
    """The service-time model is monotone between and beyond measured sizes, so estimates never fall with load."""
    measured = Profile(
        curve=((1, 0.01), (4, 0.02), (16, 0.05)), batch_rows_max=16, inline=False, preprocess_slow=False, wide=False
    )
    assert measured.batch_s(rows) <= measured.batch_s(rows + 1)
