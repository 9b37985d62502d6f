"""Runs as one Lambda environment: takes events from standard input, one a line, and says what each of them took.

`python -m benchmarks.traffic.container FD`, where FD is the pipe for results, a line each; standard output is the log.
Whoever started it freezes it between events.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from importlib import import_module
from threading import Lock
from typing import Any

from benchmarks.lambda_context import Context
from benchmarks.traffic.counting import Made, count_calls


class Tally:
    """The calls since they were taken last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: list[Made] = []

    def note(self, call: Made) -> None:
        """One more."""
        with self._lock:
            self._calls.append(call)

    def take(self) -> list[dict[str, Any]]:
        """All of them, as JSON."""
        with self._lock:
            calls, self._calls = self._calls, []
        return [asdict(call) for call in calls]


def main(results: int) -> None:
    """Serve events until standard input ends."""
    tally = Tally()
    count_calls(tally.note)
    context: Any = Context()
    cpu_before = time.process_time()
    with os.fdopen(results, "w", buffering=1) as pipe:
        for line in sys.stdin:
            asked = json.loads(line)
            began, before = time.perf_counter(), len(sys.modules)
            handler = import_module(asked["module"]).handler
            imported = time.perf_counter()
            answer = handler(asked["event"], context)
            ended, cpu_after = time.perf_counter(), time.process_time()
            sys.stdout.flush()
            document = {
                "answer": answer,
                "import_ms": (imported - began) * 1e3 if len(sys.modules) > before else 0.0,
                "wall_ms": (ended - imported) * 1e3,
                # With what the threads did in the background since the last answer.
                "cpu_ms": (cpu_after - cpu_before) * 1e3,
                "calls": tally.take(),
            }
            pipe.write(json.dumps(document) + "\n")
            cpu_before = time.process_time()


if __name__ == "__main__":
    main(int(sys.argv[1]))
