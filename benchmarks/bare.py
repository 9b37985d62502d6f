"""The limit: ONNX Runtime called in a loop within this process, with no server around it.

The best of one thread, two threads inside a run, and two runs at once, each at several batch sizes, is what two cores
can do with a model.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.arithmetic import percentile
from benchmarks.models import BenchModel

BATCHES = (1, 8, 32)
CORES = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to loop.

    Attributes:
        batch: Rows per run.
        inside: ONNX Runtime's threads within a run.
        beside: Python threads that run at once.
    """

    batch: int
    inside: int = 1
    beside: int = 1

    @property
    def name(self) -> str:
        """What tables call it."""
        threads = {(1, 1): "one thread", (CORES, 1): f"intra_op {CORES}", (1, CORES): f"{CORES} threads of intra_op 1"}
        return f"bare, {threads[self.inside, self.beside]}, batch {self.batch}"


ONE_BY_ONE = Shape(1)
SHAPES = tuple(Shape(batch, inside, beside) for inside, beside in ((1, 1), (CORES, 1), (1, CORES)) for batch in BATCHES)


@dataclass(frozen=True, slots=True)
class BareWindow:
    """What one window of looping measured: rows, its length, latencies of a run, and CPU of this process."""

    rows: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_s: float


def open_session(model: BenchModel, *, inside: int) -> Any:
    """Open the model as the serving program and the peers do: CPU, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = inside
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model.onnx), options, providers=["CPUExecutionProvider"])


class Bare:
    """Loops over a model; sessions are opened once."""

    def __init__(self, model: BenchModel) -> None:
        self._model = model
        self._sessions = {inside: open_session(model, inside=inside) for inside in (1, CORES)}

    def expected(self) -> list[np.ndarray]:
        """ONNX Runtime's own answer to each of the model's inputs, one row at a time."""
        return [self._sessions[1].run(None, feeds)[0] for feeds in self._model.feeds]

    def loop(self, shape: Shape, *, seconds: float) -> BareWindow:
        """Run for a while, with different inputs each time."""
        session = self._sessions[shape.inside]
        batches = _batches(self._model, shape.batch)
        taken: list[list[float]] = [[] for _ in range(shape.beside)]
        cpu = time.process_time()
        start = time.perf_counter()
        until = start + seconds

        def work(latencies: list[float]) -> None:
            before = time.perf_counter()
            for feeds in itertools.cycle(batches):
                session.run(None, feeds)
                now = time.perf_counter()
                latencies.append(now - before)
                before = now
                if now >= until:
                    return

        threads = [threading.Thread(target=work, args=(latencies,)) for latencies in taken[1:]]
        for thread in threads:
            thread.start()
        work(taken[0])
        for thread in threads:
            thread.join()
        length = time.perf_counter() - start
        cpu = time.process_time() - cpu
        latencies = [value for part in taken for value in part]
        return BareWindow(
            rows=len(latencies) * shape.batch,
            seconds=length,
            p50_ms=percentile(latencies, 0.5) * 1000,
            p99_ms=percentile(latencies, 0.99) * 1000,
            cpu_s=cpu,
        )


def _batches(model: BenchModel, rows: int) -> list[dict[str, np.ndarray]]:
    return [
        {name: np.concatenate([one[name] for one in model.feeds[first : first + rows]]) for name in model.feeds[0]}
        for first in range(0, len(model.feeds), rows)
    ]
