"""What SIGTERM loses: sixteen callers keep asking while the server is told to stop.

A request is lost when it was sent and its answer never came whole. A connection that is refused, because nobody listens
any more, loses nothing. A caller that is told `Connection: close` opens another connection, as HTTP has it.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.models import BenchModel
from benchmarks.processes import HOST, Program
from benchmarks.servers import PATH

CALLERS = 16
LOAD_S = 1.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What came of it.

    Attributes:
        answered: Requests answered in all.
        answered_after: Of these, the ones whose answer came after the signal.
        refused: Answers with a status other than 200.
        lost: Requests sent whose answer never came.
        exit_status: The server's.
        seconds: From the signal to the end of the process.
    """

    answered: int
    answered_after: int
    refused: int
    lost: int
    exit_status: int
    seconds: float


def drain(program: Program, model: BenchModel) -> Drained:
    """Load a server, send it SIGTERM in the midst, and count until nobody listens."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    told = threading.Event()

    def call(offset: int) -> None:
        found: Counter[str] = Counter()
        turn = offset * 5
        while True:
            connection = http.client.HTTPConnection(HOST, program.port, timeout=30)
            try:
                connection.connect()
            except OSError:
                break  # nobody listens: the end
            while connection.sock is not None:
                turn += 1
                try:
                    connection.request("POST", PATH, body=model.bodies[turn % len(model.bodies)])
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException):
                    found["lost"] += 1
                    break
                found["answered"] += 1
                found["after"] += told.is_set()
                found["refused"] += answer.status != http.HTTPStatus.OK
            connection.close()
        with lock:
            counts.update(found)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(CALLERS)]
    for thread in threads:
        thread.start()
    time.sleep(LOAD_S)
    start = time.monotonic()
    told.set()
    status = program.terminate()
    seconds = time.monotonic() - start
    for thread in threads:
        thread.join()
    return Drained(counts["answered"], counts["after"], counts["refused"], counts["lost"], status, seconds)
