"""Plan, score and finish in a row: every record of every kind of file ends up under its own line number."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from headrace.batches.bounds import SCORE_MARGIN_S
from headrace.batches.layout import errors_key, results_key
from headrace.batches.planning.planned import shard_of
from headrace.batches.states import Format
from headrace.invocation.policy import Invocation
from tests.unit.headrace.batches.planning_world import BATCH, TENANT
from tests.unit.headrace.batches.planning_world import World as PlanningWorld
from tests.unit.headrace.batches.world import World, batch_catalog, model

CSV = (
    b"\xef\xbb\xbfid,text,stars\r\n"
    + b"".join(
        b'%d,"tweet %d,\r\nsecond line",5\r\n' % (n, n) if n % 7 == 0 else b"%d,tweet %d,3\r\n" % (n, n)
        for n in range(300)
    )
    + b"\r\n5,tweet again,1\r\n301,,1\r\n302,too,many,cells\r\n303,last one,2"
)
JSONL = b"".join(
    (
        json.dumps({"custom_id": f"r{n}", "method": "POST", "url": "/v1/classifications", "body": {"input": f"t {n}"}})
        + "\n"
    ).encode()
    for n in range(300)
)  # fmt: skip


def slow(invocation: Invocation[list[Any]]) -> tuple[float, Any]:
    """The model, so slow that a run gets through few requests."""
    return 0.2, model(invocation)[1]


def through(data: bytes, kind: Format, *, zipped: bool = False) -> tuple[World, PlanningWorld]:
    """The file, planned, scored in runs of a second each, and finished."""
    planning = PlanningWorld(batch_catalog())
    batch = planning.upload(gzip.compress(data) if zipped else data, kind, gzip=zipped)
    caller = (("plan", "premium"), ("scopes", "invoke"), ("key_id", "k1"))
    planning.records.batches[TENANT, BATCH] = replace(batch, caller=caller)
    step = planning.plan()
    assert step.method == "map", planning.batch.problems
    world = World([], respond=slow)
    world.clock.now = planning.now
    ports: dict[str, Any] = {"records": planning.records, "progress": planning.records, "store": planning.bucket}
    runs = 0
    for row in json.loads(planning.bucket.objects[step.shards_key]):
        scored = None
        while scored is None or scored.state != "done":
            runs += 1
            scorer = world.scorer(sources=planning.sources, **ports)
            until_s = world.clock.now + SCORE_MARGIN_S + 1.0
            scored = scorer.run(TENANT, BATCH, shard_of(row), until_s=until_s)
    assert runs > 3
    finisher = replace(world.finisher(), records=planning.records, store=planning.bucket)
    assert finisher.run(TENANT, BATCH, BATCH).state == "completed"
    return world, planning


def rows(planning: PlanningWorld, key: str) -> list[dict[str, Any]]:
    """Lines of a file."""
    return [json.loads(line) for line in planning.bucket.objects[key].splitlines()]


@pytest.mark.parametrize("zipped", [False, True])
def test_rows_of_csv_keep_their_line_numbers_whatever_they_hold(*, zipped: bool) -> None:
    """A byte order mark, CRLF, quoted line ends, a blank line, a double, bad rows, and no line end at the end."""
    _, planning = through(CSV, "csv", zipped=zipped)
    results, errors = (rows(planning, key(TENANT, BATCH)) for key in (results_key, errors_key))
    line = 2
    wanted = []
    for n in range(300):
        wanted.append((line, str(n)))
        line += 2 if n % 7 == 0 else 1
    last = (line + 4, "303")
    assert [(row["line"], row["custom_id"]) for row in results] == [*wanted, last]
    assert [(row["line"], row["custom_id"], row["error"]["code"]) for row in errors] == [
        (line + 1, "5", "duplicate_custom_id"),
        (line + 2, "301", "empty_text"),
        (line + 3, None, "wrong_column_count"),
    ]
    assert planning.batch.counts.total == 304


def test_openais_shape_comes_back_in_that_shape() -> None:
    """Every request has its response, in order, under its custom_id."""
    _, planning = through(JSONL, "jsonl")
    results = rows(planning, results_key(TENANT, BATCH))
    assert [row["custom_id"] for row in results] == [f"r{n}" for n in range(300)]
    assert {row["response"]["status_code"] for row in results} == {200}
