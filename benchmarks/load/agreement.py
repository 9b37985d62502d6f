"""Whether every caller gets the answer to their own question: sixty-four inputs from sixteen threads at once."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.models import BenchModel
from benchmarks.processes import HOST, Program
from benchmarks.servers import ask, is_right

THREADS = 16
ROUNDS = 4


def mismatches(program: Program, model: BenchModel, expected: Sequence[np.ndarray]) -> int:
    """Count the answers that are not the one ONNX Runtime gives to the same input (relative tolerance 1e-3)."""

    def work(offset: int) -> int:
        connection = http.client.HTTPConnection(HOST, program.port, timeout=60)
        wrong = 0
        for step in range(len(model.bodies) * ROUNDS // THREADS):
            index = (offset * 5 + step * THREADS + step) % len(model.bodies)
            status, answer = ask(connection, model.bodies[index])
            wrong += status != http.HTTPStatus.OK or not is_right(answer, expected[index])
        connection.close()
        return wrong

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(work, range(THREADS)))
