"""A function of batches that notes of each invocation what it took: time, CPU, peak memory, and calls of AWS.

The platform under measurement runs `benchmarks.batch_watch.handler` in the function's own place. The function is the
same; what is added is a line in a file after each invocation.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.batch_notes import ANSWERS_VARIABLE, FILE_VARIABLE, FUNCTION_VARIABLE, Note, items_of
from benchmarks.traffic.counting import count_calls
from headrace_aws.signed_calls import SignedCalls

if TYPE_CHECKING:
    from benchmarks.traffic.counting import Made

_RESET_PEAK = "5"
"""Written to `clear_refs`, this sets `VmHWM` back to what is resident now (proc(5))."""
_calls: Counter[str] = Counter()
_lock = threading.Lock()


def _count(made: Made) -> None:
    with _lock:
        _calls[made.what] += 1


def _taken() -> dict[str, int]:
    with _lock:
        taken = dict(_calls)
        _calls.clear()
    return taken


def peak_mb() -> float:
    """The most this process has had resident since its start or the last reset, in MB of 10^6 bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return float(kib) * 1.024e-3


def _note_answers(file: Path) -> None:
    """From now on, note when the endpoint answers, and about how many items: parts of results say it only later."""
    post = SignedCalls.post

    def posted(
        self: SignedCalls, path: tuple[str, ...], body: bytes, **named: Any
    ) -> tuple[int, dict[str, str], bytes]:
        answer = post(self, path, body, **named)
        if answer[0] == HTTPStatus.OK:
            with file.open("a", encoding="ascii") as lines:
                lines.write(f"{time.monotonic()} {items_of(body)}\n")
        return answer

    SignedCalls.post = posted  # type: ignore[method-assign]


def _watched(name: str, file: Path) -> Any:
    _note_answers(Path(os.environ[ANSWERS_VARIABLE]))
    count_calls(_count)  # before the function makes its clients
    work = import_module(f"functions.{name}.handler").handler

    def handler(event: dict[str, Any], context: Any) -> Any:
        with suppress(OSError):  # then it is the peak since the start, which is no less
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return work(event, context)
        finally:
            note = Note(name, time.perf_counter() - wall, time.process_time() - cpu, peak_mb(), _taken())
            with file.open("a", encoding="utf-8") as lines:  # one short write: lines of several processes do not mix
                lines.write(json.dumps(asdict(note)) + "\n")

    return handler


if FUNCTION_VARIABLE in os.environ:
    handler = _watched(os.environ[FUNCTION_VARIABLE], Path(os.environ[FILE_VARIABLE]))
