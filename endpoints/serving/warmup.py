"""Decides, by running the model for a few seconds before the first caller, how it is best served.

Four questions: may requests share a run (outputs on axis 0, rows independent of their neighbours); how long does a
batch of n rows take (the service-time curve, whose knee caps the batch); is preprocessing slow enough to leave the
event loop; and does a second session on all cores pay for its memory.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from endpoints.serving.errors import ServingError
from endpoints.serving.runner import ONNX_FILE, LoadError, Prepared, Runner
from endpoints.serving.sessions import CPU, open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from endpoints.serving.runner import Outputs

CURVE_ROWS_MAX = 64
CURVE_BUDGET_S = 4.0  # for the whole curve; a heavy model is measured at fewer sizes
SHARED_CURVE_BUDGET_S = 2.0  # for the second curve, of workers that compute at once
KNEE = 0.995  # the smallest batch within half a per cent of the best rate: each batch has a cost outside the model, too
INLINE_BATCH_S = 0.0005  # a thread hop costs about 0.1 ms and halves the throughput of micro models
INLINE_RATE_MIN = 0.7  # of the best rate, under that bound, for inline running to be worth it
SLOW_PREPROCESS_S = 0.0003
WIDE_PAYS = 0.8  # all cores must cut a lone request's time by a fifth to be worth a second copy of the weights
WIDE_MEMORY_SHARE = 0.25  # of the memory available, for that copy
_TOLERANCE = 0.02  # of the largest value: dynamic quantisation lets neighbours move a scale a little


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What warm-up measured.

    Attributes:
        curve: (rows, seconds) of one batch, rows ascending.
        batch_rows_max: The cap.
        inline: Whether batches run on the event loop.
        preprocess_slow: Whether preprocessing must leave the event loop.
        wide: Whether sessions[1] (all cores) exists and pays.
    """

    curve: tuple[tuple[int, float], ...]
    batch_rows_max: int
    inline: bool
    preprocess_slow: bool
    wide: bool

    def batch_s(self, rows: int) -> float:
        """Predict a batch's service time: linear between measured sizes, proportional beyond the last."""
        before_rows, before_s = 0, 0.0
        for at_rows, at_s in self.curve:
            if rows <= at_rows:
                if not before_rows:
                    return at_s
                return before_s + (at_s - before_s) * (rows - before_rows) / (at_rows - before_rows)
            before_rows, before_s = at_rows, at_s
        return before_s * rows / before_rows

    @property
    def rows_per_s(self) -> float:
        """Throughput of one worker at the cap."""
        return self.batch_rows_max / self.batch_s(self.batch_rows_max)


def warm_up(runner: Runner, *, threads: int, batch_rows_max: int = 0) -> Profile:
    """Run a real request, prove batching, measure, and open the second session where it pays.

    Args:
        runner: Freshly loaded, with sessions[0] computing on the calling thread.
        threads: Cores to plan for.
        batch_rows_max: The operator's bound on the cap, which is the curve's knee; 0 sets none.

    Returns:
        The profile; `runner.batchable` and `runner.sessions` are set to match.

    Raises:
        LoadError: The example request fails: the model cannot be served.
    """
    tensors, parameters = runner.example()
    try:
        example = runner.prepare(tensors, parameters)
    except ServingError as error:
        raise LoadError(f"the warm-up request was refused: {error.message}") from error
    (result,) = runner.compute([example])
    if isinstance(result, ServingError):
        hint = (
            "" if runner.has_code else "; a bare ONNX model must accept a synthetic row (add a model.py if it cannot)"
        )
        raise LoadError(f"the warm-up request failed: {result.message}{hint}")
    preprocess_s = _best_s(lambda: runner.prepare(tensors, parameters), budget_s=0.05) if runner.has_code else 0.0
    runner.batchable = batch_rows_max != 1 and prove_batchable(runner)
    example = runner.prepare(tensors, parameters)
    rows_max = batch_rows_max or CURVE_ROWS_MAX
    curve = measure_curve(runner, example, rows_max=rows_max)
    cap = min(knee(curve), batch_rows_max or CURVE_ROWS_MAX)
    inline_cap, inline = _inline(curve, cap=cap) if _bounded(runner) else (cap, False)
    if not inline and threads > 1 and runner.batchable and _on_cpu(runner):
        # As it will be run: workers that compute at once share memory's bandwidth, and larger batches then pay longer.
        curve = measure_curve(runner, example, rows_max=rows_max, workers=threads, budget_s=SHARED_CURVE_BUDGET_S)
        cap = min(knee(curve), rows_max)
    wide = not inline and threads > 1 and _open_wide(runner, example, threads=threads)
    return Profile(
        curve=curve,
        batch_rows_max=inline_cap if inline else cap,
        inline=inline,
        preprocess_slow=preprocess_s > SLOW_PREPROCESS_S,
        wide=wide,
    )


def prove_batchable(runner: Runner) -> bool:
    """Find out whether a row's answer is the same alone and among other rows.

    The file's declared shapes are not trusted: exporters get them wrong both ways. A model that mixes rows (a
    softmax over the batch, a batch norm in training mode) would give one caller something of another's input; it is
    served singly.
    """
    runner.batchable = True
    try:
        if runner.has_code:
            example = runner.prepare(*runner.example())
            prepared = [example, *unlike(example)]
        else:
            if any(not port.shape or port.shape[0] >= 0 for port in runner.signature.inputs.values()):
                return False
            prepared = [runner.prepare(runner.synthetic(rows=rows, seed=rows), {}) for rows in (1, 2, 3)]
        alone = [runner.run_rows([one]) for one in prepared]
        if runner.has_code and not _differ(alone):
            return False  # equal neighbours would prove nothing
        return _independent(prepared, alone=alone, together=runner.run_rows(prepared))
    except Exception:  # noqa: BLE001 - any failure of the trial means no
        return False
    finally:
        runner.batchable = False


def unlike(example: Prepared) -> tuple[Prepared, Prepared]:
    """Make two neighbours that differ from a request and from each other in values, the second in rows too.

    Made of ONNX feeds, after preprocessing, because that works whatever the public inputs hold. One way of moving
    elements serves all feeds, so that a mask stays in step with what it masks; numbers only get smaller, so that an
    index stays within its table.
    """

    def flipped(array: np.ndarray) -> np.ndarray:
        moved = array[..., ::-1] if array.ndim else array
        return (moved * 0.5).astype(array.dtype) if array.dtype.kind == "f" else np.ascontiguousarray(moved)

    def stretched(array: np.ndarray) -> np.ndarray:
        moved = array[..., np.arange(array.shape[-1]) // 2] if array.ndim > 1 else array
        if array.dtype.kind == "f":
            moved = (moved * 0.75).astype(array.dtype)
        elif array.dtype.kind in "iu":
            moved = np.where(moved > 1, moved // 2, moved).astype(array.dtype)
        return np.concatenate([moved, moved])

    def changed(change: Callable[[np.ndarray], np.ndarray], *, rows: int) -> Prepared:
        feeds = {name: change(array) for name, array in example.feeds.items()}
        return Prepared(feeds, rows, example.key, example.state, example.parameters)

    return changed(flipped, rows=example.rows), changed(stretched, rows=2 * example.rows)


def _differ(alone: list[Outputs]) -> bool:
    first, *others = alone
    return all(any(not np.array_equal(first[name][0], other[name][0]) for name in first) for other in others)


def _independent(prepared: list[Prepared], *, alone: list[Outputs], together: Outputs) -> bool:
    start = 0
    for one, outputs in zip(prepared, alone, strict=True):
        end = start + one.rows
        for name, array in outputs.items():
            among = together[name]
            total = sum(other.rows for other in prepared)
            if array.ndim == 0 or among.ndim == 0 or array.shape[0] != one.rows or among.shape[0] != total:
                return False
            if not _close(array, among[start:end]):
                return False
        start = end
    return True


def _close(left: np.ndarray, right: np.ndarray) -> bool:
    if left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        return bool(np.mean(left == right) > 1 - _TOLERANCE) if left.size else True
    scale = float(np.nanmax(np.abs(left), initial=0.0))
    return bool(np.allclose(left, right, rtol=0, atol=_TOLERANCE * (scale or 1.0), equal_nan=True))


def measure_curve(
    runner: Runner,
    example: Prepared,
    *,
    rows_max: int,
    workers: int = 1,
    budget_s: float = CURVE_BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[tuple[int, float], ...]:
    """Time batches of 1, 2, 4, … examples on `workers` threads at once, stopping when larger ones no longer pay."""
    with ThreadPoolExecutor(workers) as pool:

        def act(batch: list[Prepared]) -> None:
            others = [pool.submit(runner.compute, batch) for _ in range(workers - 1)]
            runner.compute(batch)
            wait(others)

        return _curve(act, runner, example, rows_max=rows_max, budget_s=budget_s, clock=clock)


def _curve(
    act: Callable[[list[Prepared]], None],
    runner: Runner,
    example: Prepared,
    *,
    rows_max: int,
    budget_s: float,
    clock: Callable[[], float],
) -> tuple[tuple[int, float], ...]:
    curve: list[tuple[int, float]] = []
    until = clock() + budget_s
    best_rate = 0.0
    copies = 1
    flat = 0
    while True:
        batch = [example] * copies
        seconds = _best_s(lambda batch=batch: act(batch), budget_s=0.08)  # type: ignore[misc]
        rows = copies * example.rows
        curve.append((rows, seconds))
        rate = rows / seconds
        flat = flat + 1 if rate < best_rate * 1.02 else 0
        best_rate = max(best_rate, rate)
        # Two sizes without gain settle it; so does a size that would not fit what is left of the budget.
        more = min(copies * 2, rows_max // example.rows)
        if not runner.batchable or flat == 2 or more <= copies or clock() + 6 * seconds > until:  # noqa: PLR2004
            return tuple(curve)
        copies = more


def knee(curve: tuple[tuple[int, float], ...]) -> int:
    """Choose the smallest batch whose rate is within half a per cent of the best."""
    best = max(rows / seconds for rows, seconds in curve)
    return next(rows for rows, seconds in curve if rows / seconds >= KNEE * best)


def _inline(curve: tuple[tuple[int, float], ...], *, cap: int) -> tuple[int, bool]:
    quick = [(rows, seconds) for rows, seconds in curve if seconds < INLINE_BATCH_S and rows <= cap]
    if not quick:
        return cap, False
    best = max(rows / seconds for rows, seconds in curve)
    rows, seconds = max(quick, key=lambda point: point[0] / point[1])
    return rows, rows / seconds >= INLINE_RATE_MIN * best


def _bounded(runner: Runner) -> bool:
    """Whether a row's size is known: one long row of a bare model with free axes could hold up the event loop."""
    return runner.has_code or all(size >= 0 for port in runner.signature.inputs.values() for size in port.shape[1:])


def _on_cpu(runner: Runner) -> bool:
    return bool(runner.sessions[0].get_providers()[0] == CPU)


def _open_wide(runner: Runner, example: Prepared, *, threads: int) -> bool:
    path = runner.artifact.directory / ONNX_FILE
    if path.stat().st_size > WIDE_MEMORY_SHARE * _available_bytes():
        return False
    if not _on_cpu(runner):
        return False  # an accelerator is one device: a second session would only take its memory
    runner.sessions.append(open_session(path, threads=threads))
    narrow_s = _best_s(lambda: runner.compute([example]), budget_s=0.1)
    wide_s = _best_s(lambda: runner.compute([example], session=1), budget_s=0.1)
    if wide_s < WIDE_PAYS * narrow_s:
        return True
    runner.sessions.pop()
    return False


def _available_bytes() -> float:
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:  # noqa: PTH123 - a kernel table, not a file
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return float(line.split()[1]) * 1024
    except OSError:
        pass
    return math.inf


def _best_s(act: Callable[[], object], *, budget_s: float) -> float:
    """Time an act: the least of at least three goes, for what disturbs a measurement only ever adds."""
    best = math.inf
    until = time.perf_counter() + budget_s
    goes = 0
    while goes < 3 or (goes < 50 and time.perf_counter() < until):  # noqa: PLR2004
        start = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - start)
        goes += 1
    return max(best, 1e-7)
