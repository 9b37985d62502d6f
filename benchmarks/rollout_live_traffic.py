"""Replayed traffic of many callers, each of whom sticks to a version; every answer is kept with who gave it and when.

Arrivals are drawn beforehand, so that slow answers do not slow them (see `benchmarks.load.shots`). A few callers send
much more than others: evidence must count callers, and not their requests.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import numpy as np

CALLERS = 4_000
TAIL = 0.6
"""The n-th caller sends in proportion to n^-TAIL: the first hundred send a quarter of all requests."""
WORKERS = 24
TIMEOUT_S = 30.0
OK = 200
PATH = "/v1/detections"


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: when it was asked for (seconds since the epoch), status (0: none), who served, and why another.

    `code` is the error's where it is one.
    """

    at: float
    status: int
    served_by: str
    degraded: str
    seconds: float
    code: str = ""


class Traffic:
    """Sends requests at a rate until the block ends.

    Args:
        url: The API.
        key: Whose.
        bodies: Photos, each asked for as often as any other.
        rate: Requests a second, in the long run.
        seed: Of times, callers and photos.
    """

    def __init__(self, url: str, key: str, bodies: Sequence[bytes], *, rate: float, seed: int) -> None:
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), address.port
        self._key = key
        self._bodies = bodies
        self._rate = rate
        self._random = np.random.default_rng(seed)
        weights = np.arange(1, CALLERS + 1) ** -TAIL
        self._shares = weights / weights.sum()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._answers: list[Answered] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def answers(self, *, since: float = 0.0) -> list[Answered]:
        """What was asked since then, and answered so far."""
        with self._lock:
            return [each for each in self._answers if each.at >= since]

    def _run(self) -> None:
        due = time.monotonic()
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="caller") as pool:
            while not self._stop.is_set():
                due += float(self._random.exponential(1.0 / self._rate))
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    break
                caller = int(self._random.choice(CALLERS, p=self._shares))
                pool.submit(self._ask, caller, int(self._random.integers(len(self._bodies))))

    def _ask(self, caller: int, body: int) -> None:
        headers = {
            "x-api-key": self._key,
            "content-type": "image/jpeg",
            "cache-control": "no-store",
            "x-headrace-sticky-key": f"caller-{caller}",
        }
        asked_at, began = time.time(), time.monotonic()
        status, served_by, degraded, code = 0, "", "", "no_answer"
        try:
            connection = self._connection()
            connection.request("POST", PATH, body=self._bodies[body], headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            status = answer.status
            code = "" if status == OK else _code(content)
            served_by = answer.headers.get("x-headrace-served-by", "")
            degraded = answer.headers.get("x-headrace-degraded", "")
        except (OSError, http.client.HTTPException):
            self._local.connection = None
        answered = Answered(asked_at, status, served_by, degraded, time.monotonic() - began, code)
        with self._lock:
            self._answers.append(answered)

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        return found


def _code(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "unknown"


def by_status(answers: Iterable[Answered]) -> dict[int, int]:
    """Answers by HTTP status."""
    return dict(sorted(Counter(each.status for each in answers).items()))


def by_code(answers: Iterable[Answered]) -> dict[str, int]:
    """Answers that are none, by the code of their error."""
    return dict(Counter(each.code for each in answers if each.code).most_common())


def by_server(answers: Iterable[Answered]) -> dict[str, int]:
    """Answers by what served them."""
    return dict(Counter(each.served_by for each in answers).most_common())
