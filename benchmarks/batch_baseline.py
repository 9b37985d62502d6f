"""The limit of a batch: the model called in this process, its own pre- and post-processing included, nothing around it.

Run as a process of its own, `python -m benchmarks.batch_baseline ARTIFACT FILE ROWS ITEMS THREADS`: reads the first
`ROWS` lines, which are requests of OpenAI's shape, calls the model with `ITEMS` texts at a time on `THREADS` threads,
writes the answers to a file as lines, and prints rows and seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from endpoints.serving.artifact import open_artifact
from endpoints.serving.errors import ServingError
from endpoints.serving.runner import Runner


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("items", type=int)
    parser.add_argument("threads", type=int)
    asked = parser.parse_args()
    runner = Runner.load(open_artifact(asked.artifact, expected_digest=None), threads=1)
    tensors, parameters = runner.example()
    runner.run([(tensors, parameters)])  # the first run is slower
    rows = 0
    before = time.perf_counter()
    with ThreadPoolExecutor(asked.threads) as pool, tempfile.TemporaryFile("w", encoding="utf-8") as out:
        for answers in pool.map(lambda lines: _answers(runner, lines), _chunks(asked)):
            rows += len(answers)
            out.writelines(answers)
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - before}))


def _chunks(asked: argparse.Namespace) -> Iterator[list[str]]:
    with asked.file.open(encoding="utf-8") as lines:
        first = islice(lines, asked.rows)
        while chunk := list(islice(first, asked.items)):
            yield chunk


def _answers(runner: Runner, lines: list[str]) -> list[str]:
    records = [json.loads(line) for line in lines]
    texts = np.array([record["body"]["input"].encode() for record in records], dtype=object)
    (outcome,) = runner.run([({"text": texts}, {})])
    if isinstance(outcome, ServingError):
        raise outcome
    return [_line(record, outcome, index) for index, record in enumerate(records)]


def _line(record: dict[str, Any], outcome: dict[str, np.ndarray], index: int) -> str:
    scores = outcome["probabilities"][index].tolist()
    label = outcome["label"][index].decode()
    return json.dumps({"custom_id": record["custom_id"], "label": label, "scores": scores}) + "\n"


if __name__ == "__main__":
    main()
