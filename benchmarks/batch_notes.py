"""What was noted of invocations of batch functions, and what that comes to. Pure, but for reading the notes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FUNCTION_VARIABLE, FILE_VARIABLE = "BATCH_WATCH_FUNCTION", "BATCH_WATCH_FILE"
ANSWERS_VARIABLE = "BATCH_WATCH_ANSWERS"
FUNCTIONS = ("batch_plan", "batch_score", "batch_finish")


@dataclass(frozen=True, slots=True)
class Note:
    """One invocation: wall and CPU seconds, the most memory that was resident (MB of 10^6 bytes), and calls of AWS."""

    function: str
    seconds: float
    cpu_s: float
    peak_mb: float
    calls: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sum:
    """All invocations of one function."""

    runs: int
    seconds: float
    cpu_s: float
    peak_mb: float
    calls: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of the endpoint: when it came (monotonic seconds, the whole machine's), and about how many items."""

    at_s: float
    items: int


_SHAPE = re.compile(rb'"shape"\s*:\s*\[\s*(\d+)')


def items_of(body: bytes) -> int:
    """How many items a request of the Open Inference Protocol holds, read from its first tensor's shape.

    Raises:
        ValueError: It has no shape.
    """
    found = _SHAPE.search(body)
    if found is None:
        raise ValueError("a request without a shape")
    return int(found.group(1))


def read_answers(file: Path) -> list[Answered]:
    """The answers in a file."""
    rows = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    return [Answered(float(at_s), int(items)) for at_s, items in (row.split() for row in rows)]


def rate_between(answers: Iterable[Answered], from_s: float, until_s: float) -> float:
    """Items answered a second in [from_s, until_s)."""
    return sum(each.items for each in answers if from_s <= each.at_s < until_s) / (until_s - from_s)


def read_notes(file: Path, *, behind: int = 0) -> list[Note]:
    """The notes in a file; the first `behind` of them are passed over."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()[behind:]
    return [Note(**json.loads(line)) for line in lines]


def summed(notes: Iterable[Note]) -> dict[str, Sum]:
    """By function, those that ran, in the order in which a batch needs them."""
    several = list(notes)
    return {name: _sum(mine) for name in FUNCTIONS if (mine := [note for note in several if note.function == name])}


def _sum(notes: Sequence[Note]) -> Sum:
    calls: Counter[str] = Counter()
    for note in notes:
        calls.update(note.calls)
    return Sum(
        runs=len(notes),
        seconds=sum(note.seconds for note in notes),
        cpu_s=sum(note.cpu_s for note in notes),
        peak_mb=max(note.peak_mb for note in notes),
        calls=dict(calls),
    )
