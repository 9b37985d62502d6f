"""One batch under chaos: processes killed at random, an endpoint that fails a fifth of its calls, doubled events.

What is right is decided from the files alone: every record of the input is in the results or in the errors, once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.batch_client import BatchClient
from infra_local.threaded import ThreadedStack

RECORDS = 600
BROKEN_SHARE = 0.03
FAILING_RATE = 0.2
KILLS_MAX = 6
KILL_PAUSE_S = (0.3, 2.5)
REDRIVES_MAX = 3
BATCH_S_MAX = 420.0
VICTIMS = ("batch_score", "batch_plan", "batch_finish", "batch_start")
MODEL_SHARE = 0.15
"""How often it is the model's own process that is killed, instead of a function's."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What one seed came to.

    Attributes:
        records: Lines of the input.
        results: Lines of results.
        errors: Lines of errors.
        missing: Records that are in neither.
        twice: Records that are in one of them, or both, more than once.
        wrong: Records that should be errors and are results, or the other way round.
        kills: Processes killed meanwhile.
        redrives: How often the batch had to be begun again because shards had failed for good.
        state: The batch's last state.
        seconds: From the upload's end to the last state.
    """

    seed: int
    records: int
    results: int
    errors: int
    missing: int
    twice: int
    wrong: int
    kills: int
    redrives: int
    state: str
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether every record has exactly one outcome, and the right kind."""
        return not (self.missing or self.twice or self.wrong) and self.results + self.errors == self.records


def write_input(file: Path, texts: list[str], *, seed: int) -> set[int]:
    """Write lines, some of them broken, and return the numbers of those that must end as errors."""
    draw = random.Random(seed)  # noqa: S311 - a test's choices
    bad: set[int] = set()
    with file.open("w", encoding="utf-8") as out:
        for number in range(1, RECORDS + 1):
            line = json.dumps({"custom_id": f"r{number}", "input": texts[draw.randrange(len(texts))]})
            if draw.random() < BROKEN_SHARE:
                bad.add(number)
                no_text = json.dumps({"custom_id": f"r{number}"})
                line = draw.choice((line[:-4], no_text, '{"input": ""}', "[1, 2]", "nonsense"))
            out.write(f"{line}\n")
    return bad


class Killer:
    """Ends processes of the platform at random moments until it is told to stop."""

    def __init__(self, stack: ThreadedStack, *, seed: int, prefix: str) -> None:
        self._stack = stack
        self._draw = random.Random(seed)  # noqa: S311 - as above
        self._parts = [f"lambda-{prefix}-{name}" for name in VICTIMS]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while self.kills < KILLS_MAX and not self._stop.wait(self._draw.uniform(*KILL_PAUSE_S)):
            processes = self._stack.process_ids()
            names = [name for name in self._parts if processes.get(name)]
            if self._draw.random() < MODEL_SHARE:
                names = [name for name in processes if name != "moto" and not name.startswith("lambda-")] or names
            if not names:
                continue
            with suppress(ProcessLookupError):
                os.kill(self._draw.choice(processes[self._draw.choice(names)]), signal.SIGKILL)
                self.kills += 1


def tally(
    batch: dict[str, object], *, seed: int, bad: set[int], results: Path, errors: Path, kills: int, redrives: int,
    seconds: float,
) -> Tally:  # fmt: skip
    """Join results and errors back to the input by their line numbers."""
    good_lines, bad_lines = Counter(_lines(results)), Counter(_lines(errors))
    together = good_lines + bad_lines
    return Tally(
        seed=seed,
        records=RECORDS,
        results=good_lines.total(),
        errors=bad_lines.total(),
        missing=sum(1 for number in range(1, RECORDS + 1) if number not in together),
        twice=sum(1 for count in together.values() if count > 1),
        wrong=sum(1 for number in bad if number in good_lines),
        kills=kills,
        redrives=redrives,
        state=str(batch["status"]),
        seconds=seconds,
    )


def settle(client: BatchClient, batch_id: str) -> tuple[dict[str, object], int]:
    """The batch once it is over; one with shards that failed for good is redriven, as an operator would."""
    for redrives in range(REDRIVES_MAX + 1):
        batch = client.wait(batch_id, seconds=BATCH_S_MAX)
        if batch["status"] != "failed" or redrives == REDRIVES_MAX:
            return batch, redrives
        client.redrive(batch_id)
    raise AssertionError("unreachable")


def _lines(file: Path) -> Iterable[int]:
    with file.open(encoding="utf-8") as rows:
        for row in rows:
            yield json.loads(row)["line"]
