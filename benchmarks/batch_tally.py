"""What one batch under chaos came to, decided from the files alone: each record in results or in errors, once. Pure."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.batch_files import lines_of

RECORDS = 600
BROKEN_SHARE = 0.03
PADDING_CHARS = 12_000
"""Of white space in each line: seven MB are several shards, so that there is something to be torn apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one seed came to.

    Attributes:
        seed: Of the input, of the kills, and of what is doubled.
        door: How it began: `posted` or `dropped`.
        records: Lines of the input.
        results: Lines of results.
        degraded: Those of them that a stand-in answered.
        errors: Lines of errors.
        missing: Records that are in neither.
        twice: Records that are in one of them, or in both, more than once.
        wrong: Broken records that have a result, lines with another's id, and lines of no record.
        unlucky: Records that are right and ended as errors: the endpoint failed them each time.
        kills: Processes killed meanwhile.
        doubled: Events, or starts of the execution, that were sent again.
        redrives: How often the batch had to be begun again because shards had failed for good.
        state: The batch's last state.
        adds_up: Whether its own report says so.
        seconds: From its beginning to the last state.
    """

    seed: int
    door: str
    records: int
    results: int
    degraded: int
    errors: int
    missing: int
    twice: int
    wrong: int
    unlucky: int
    kills: int
    doubled: int
    redrives: int
    state: str
    adds_up: bool
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether every record has exactly one outcome of the right kind, and the batch says as much."""
        sound = not (self.missing or self.twice or self.wrong) and self.results + self.errors == self.records
        return sound and self.state == "completed" and self.adds_up


@dataclass(frozen=True, slots=True)
class Joins:
    """How results and errors stand to the lines of the input."""

    results: int
    degraded: int
    errors: int
    missing: int
    twice: int
    wrong: int
    unlucky: int


def write_input(file: Path, texts: Sequence[str], *, seed: int) -> set[int]:
    """Write lines, some of them broken, and return the numbers of those that must end as errors."""
    draw = random.Random(seed)  # noqa: S311 - a test's choices
    padding = " " * PADDING_CHARS
    bad: set[int] = set()
    with file.open("w", encoding="utf-8") as out:
        for number in range(1, RECORDS + 1):
            line = json.dumps({"custom_id": f"r{number}", "input": texts[draw.randrange(len(texts))]})
            if draw.random() < BROKEN_SHARE:
                bad.add(number)
                no_text = json.dumps({"custom_id": f"r{number}"})
                line = draw.choice((line[:-4], no_text, '{"input": 7}', "[1, 2]", "nonsense"))
            out.write(f"{padding}{line}\n")
    return bad


def join(results: Iterable[Mapping[str, Any]], errors: Iterable[Mapping[str, Any]], *, bad: set[int]) -> Joins:
    """Join results and errors back to the input by their line numbers."""
    good_lines, bad_lines = list(results), list(errors)
    good, failed = (Counter(int(line["line"]) for line in lines) for lines in (good_lines, bad_lines))
    together = good + failed
    others = sum(line["custom_id"] not in {f"r{line['line']}", None} for line in (*good_lines, *bad_lines))
    nobodys = sum(not 1 <= number <= RECORDS for number in together)
    return Joins(
        results=good.total(),
        degraded=sum(bool(line["degraded"]) for line in good_lines),
        errors=failed.total(),
        missing=sum(number not in together for number in range(1, RECORDS + 1)),
        twice=sum(count > 1 for count in together.values()),
        wrong=sum(number in good for number in bad) + others + nobodys,
        unlucky=sum(number not in bad for number in failed),
    )


def join_files(results: Path, errors: Path, *, bad: set[int]) -> Joins:
    """The same from files.

    Raises:
        ValueError: A line is no JSON.
    """
    return join(lines_of(results), lines_of(errors), bad=bad)
