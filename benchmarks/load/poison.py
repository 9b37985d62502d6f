"""What a neighbour's bad request costs: twelve threads of good requests beside two of bad ones."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.models import BenchModel
from benchmarks.processes import HOST, Program
from benchmarks.servers import ask, is_right

GOOD_THREADS = 12
BAD_THREADS = 2


@dataclass(frozen=True, slots=True)
class Poisoned:
    """What came of it.

    Attributes:
        good: Good requests sent.
        failed: Good requests without their own right answer.
        bad: Bad requests sent.
        bad_statuses: How often each status answered a bad one.
    """

    good: int
    failed: int
    bad: int
    bad_statuses: dict[int, int]


def poison(
    program: Program, model: BenchModel, expected: Sequence[np.ndarray], *, bad_body: bytes, seconds: float
) -> Poisoned:
    """Send good and bad requests at once and judge every good answer.

    Args:
        program: The server.
        model: Whose bodies are the good ones.
        expected: The right answers to them.
        bad_body: The poison.
        seconds: How long.
    """
    until = time.monotonic() + seconds
    lock = threading.Lock()
    counts: Counter[str] = Counter()
    statuses: Counter[int] = Counter()

    def send_good(offset: int) -> None:
        connection = http.client.HTTPConnection(HOST, program.port, timeout=30)
        sent = failed = 0
        while time.monotonic() < until:
            index = (offset * 5 + sent) % len(model.bodies)
            sent += 1
            try:
                status, answer = ask(connection, model.bodies[index])
            except (OSError, http.client.HTTPException):
                failed += 1
                connection.close()
                continue
            failed += status != http.HTTPStatus.OK or not is_right(answer, expected[index])
        connection.close()
        with lock:
            counts.update(good=sent, failed=failed)

    def send_bad() -> None:
        connection = http.client.HTTPConnection(HOST, program.port, timeout=30)
        found: Counter[int] = Counter()
        while time.monotonic() < until:
            try:
                found[ask(connection, bad_body)[0]] += 1
            except (OSError, http.client.HTTPException):
                found[0] += 1
                connection.close()
        connection.close()
        with lock:
            statuses.update(found)

    threads = [threading.Thread(target=send_good, args=(index,)) for index in range(GOOD_THREADS)]
    threads += [threading.Thread(target=send_bad) for _ in range(BAD_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Poisoned(counts["good"], counts["failed"], statuses.total(), dict(statuses))
