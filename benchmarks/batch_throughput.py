"""How fast a batch is: through the whole platform, and the model in a process of its own beside it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.batch_client import BatchClient
from benchmarks.batch_files import SEED, Joined, agrees, id_of, joined, lines_of, result_of
from benchmarks.batch_notes import Sum, summed
from benchmarks.batch_platform import Bench
from benchmarks.conditions import ROOT
from benchmarks.local_stack import cpu_by_part
from benchmarks.rounds import say

BATCH_S_MAX = 3_600.0
BASELINE_S_MAX = 1_200.0
WAYS = ((32, 1), (32, 2), (8, 1), (8, 2))
"""Texts at a time, and threads: a request's most, and what the endpoint's own batches hold."""
TOLD_EVERY_S = 20.0
STAGES = ("validating", "in_progress", "finalizing")


@dataclass(frozen=True, slots=True)
class Baseline:
    """The model in process: texts at a time, threads, rows a second."""

    items: int
    threads: int
    rate: float


@dataclass(frozen=True, slots=True)
class Batched:
    """One batch.

    Attributes:
        form: Of the file.
        rows: In it.
        state: Its last.
        seconds: From the POST that began it until it was seen to be over.
        stages: State → how long it was seen in it, seconds; what lies between two looks belongs to the former.
        cpu_s: Part of the platform → CPU seconds.
        functions: Function → what all its invocations took.
        method: What answered, as the report says.
        shards: Their number.
        degraded: Answers of stand-ins.
        join: Results and errors, held against the input.
        compared, agreed: How many answers were asked for online as well, and how many were the same.
    """

    form: str
    rows: int
    state: str
    seconds: float
    stages: dict[str, float]
    cpu_s: dict[str, float]
    functions: dict[str, Sum]
    method: str
    shards: int
    degraded: int
    join: Joined
    compared: int
    agreed: int

    @property
    def rate(self) -> float:
        """Rows a second, state machine included."""
        return self.rows / self.seconds


def baselines(artifact: Path, file: Path, *, rows: int) -> list[Baseline]:
    """The model in process, each way once.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    found = []
    for items, threads in WAYS:
        say(f"the model in process: {items} texts at a time, {threads} thread(s), {rows:,} rows")
        command = [sys.executable, "-m", "benchmarks.batch_baseline", str(artifact), str(file)]
        done = subprocess.run(
            [*command, str(rows), str(items), str(threads)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "layers" / "core" / "python")},
            capture_output=True,
            text=True,
            check=True,
            timeout=BASELINE_S_MAX,
        )
        told = json.loads(done.stdout)
        found.append(Baseline(items, threads, told["rows"] / told["seconds"]))
    return found


def batched(bench: Bench, file: Path, texts: Sequence[str], *, rows: int, sample: int) -> Batched:
    """Run one batch to its end, and check everything that came of it.

    Raises:
        TimeoutError: It does not end.
    """
    with bench.client() as client:
        form = file.suffix.removeprefix(".")
        say(f"uploading {rows:,} rows as {form}")
        file_id = client.upload(file)
        behind, cpu_before = len(bench.noted()), cpu_by_part(bench.stack)
        watch = _Watch(rows)
        begun = time.monotonic()
        # A stand-in's answers would be quick ones: they are not what is measured.
        batch_id = client.begin(file_id, degraded=False)
        batch = client.wait(batch_id, seconds=BATCH_S_MAX, seen=watch.look)
        seconds = time.monotonic() - begun
        cpu_after = cpu_by_part(bench.stack)
        notes = bench.noted_to_the_end(behind=behind)
        say(f"{form}: {batch['status']} after {seconds:.0f} s, {rows / seconds:.0f} rows a second; checking results")
        lines, errors = (_fetched(client, batch[f"{kind}_file_id"], file.parent) for kind in ("output", "error"))
        compared, agreed = _compared(client, lines, texts, rows=rows, sample=sample)
    return Batched(
        form=form,
        rows=rows,
        state=batch["status"],
        seconds=seconds,
        stages=watch.stages(),
        cpu_s={part: max(0.0, used - cpu_before.get(part, 0.0)) for part, used in cpu_after.items()},
        functions=summed(notes),
        method=str(batch["headrace"]["method"]),
        shards=batch["headrace"]["shards"],
        degraded=batch["headrace"]["degraded"],
        join=joined(rows, [line["custom_id"] for line in lines], [str(line["custom_id"]) for line in errors]),
        compared=compared,
        agreed=agreed,
    )


def raw(one: Batched) -> dict[str, Any]:
    """The figures as JSON."""
    return {**asdict(one), "rate": one.rate}


class _Watch:
    """Notes when a batch is first seen in each state, and says how far it is now and then."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._began = self._told = time.monotonic()
        self._first: dict[str, float] = {"validating": self._began}

    def look(self, batch: dict[str, Any]) -> None:
        """One look."""
        now = time.monotonic()
        self._first.setdefault(batch["status"], now)
        if now - self._told >= TOLD_EVERY_S:
            self._told = now
            done = batch["request_counts"]["completed"]
            say(f"{batch['status']}: {done:,} of {self._rows:,} after {now - self._began:.0f} s")

    def stages(self) -> dict[str, float]:
        """How long each state lasted; one that was too short to be seen, 0."""
        return stages_of(self._first)


def stages_of(first: dict[str, float]) -> dict[str, float]:
    """How long each state lasted, from when each was first seen; what was never seen took no time."""
    moments = sorted(first.items(), key=lambda item: item[1])
    lasted = {name: end - start for (name, start), (_, end) in pairwise(moments)}
    return {name: lasted.get(name, 0.0) for name in STAGES}


def _fetched(client: BatchClient, file_id: str | None, folder: Path) -> list[dict[str, Any]]:
    return list(lines_of(client.fetch(file_id, to=folder / "fetched.jsonl")))


def _compared(
    client: BatchClient, lines: list[dict[str, Any]], texts: Sequence[str], *, rows: int, sample: int
) -> tuple[int, int]:
    """Ask online for a sample of what the batch answered: how many were asked, how many said the same."""
    by_id = {line["custom_id"]: line for line in lines}
    chosen = random.Random(SEED).sample(range(rows), min(sample, rows))  # noqa: S311 - the same rows each time
    pairs = [(by_id[id_of(row)], texts[row % len(texts)]) for row in chosen if id_of(row) in by_id]
    return len(pairs), sum(agrees(result_of(line), client.classify(text)) for line, text in pairs)
