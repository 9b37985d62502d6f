"""Batches whose scorers are killed, doubled and late, on an endpoint that fails: every record ends exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from headrace.batches.bounds import SCORE_MARGIN_S
from headrace.batches.layout import Shard, plan_key
from headrace.batches.planning.planned import dump_plan
from headrace.batches.scoring.parts import HEADER_BYTES_MAX, part_bytes, read_header
from headrace.batches.states import Counts, moved
from headrace.errors import NothingServed, Overloaded
from headrace.fakes.batches import FakeObjects
from headrace.invocation.policy import Invocation
from tests.unit.headrace.batches.world import BATCH, LABELS, POISON, TENANT, World, label_of, model

NESTED_MAX = 2
"""How deep one scorer's delay holds others' whole lives."""
RUNS_MAX = 400
SEEDS = range(20)
FINISH_DEATHS = 0.1


class Killed(BaseException):
    """The process is gone, between any two steps."""


class Fate:
    """What happens around every call of a store: death before it, death behind it, or another's life in between."""

    def __init__(self, random: Random, *, deaths: float, doubles: float) -> None:
        self.random, self.deaths, self.doubles = random, deaths, doubles
        self.depth = self.killed = self.doubled = 0
        self.other: Callable[[], None] | None = None
        self.late: list[Callable[[], Any]] = []

    def around(self, call: Callable[[], Any], *, outlives: bool = False) -> Any:
        """The call, perhaps. What `outlives` its process was sent when that died, and arrives at any later time."""
        if self.late and self.random.random() < self.doubles:
            self.late.pop(self.random.randrange(len(self.late)))()
        try:
            self._strike()
        except Killed:
            self.late += [call] * outlives
            raise
        if self.other is not None and self.depth < NESTED_MAX and self.random.random() < self.doubles:
            self.depth += 1
            self.doubled += 1
            try:
                self.other()
            finally:
                self.depth -= 1
        result = call()
        self._strike()
        return result

    def _strike(self) -> None:
        if self.random.random() < self.deaths:
            self.killed += 1
            raise Killed


class Mortal:
    """A port whose every method is called within a fate."""

    def __init__(self, inner: Any, fate: Fate) -> None:
        self._inner, self._fate = inner, fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name == "writer":
            return lambda *told, **named: self._fate.around(lambda: method(*told, **named))
        if name in {"chunks", "keys"}:
            return lambda *told, **named: iter(self._fate.around(lambda: list(method(*told, **named))))
        outlives = name == "write_once"
        return lambda *told, **named: self._fate.around(lambda: method(*told, **named), outlives=outlives)


class Fleet:
    """A world whose processes live dangerously."""

    def __init__(
        self, seed: int, *, lines: list[bytes], per_shard: int, deaths: float, doubles: float, failing: float,
        store: FakeObjects | None = None,
    ) -> None:  # fmt: skip
        self.random = Random(seed)  # noqa: S311 - the same fleet for the same seed
        self.failing = failing
        self.world = World(lines, per_shard=per_shard, respond=self._respond, seed=seed, store=store or FakeObjects())
        self.fate = Fate(self.random, deaths=deaths, doubles=doubles)

    def _respond(self, invocation: Invocation[list[Any]]) -> tuple[float, Any]:
        chance = self.random.random()
        if chance < self.failing:
            return 0.02, NothingServed("Down.", retry_after_s=1, attempts=(("sentiment/v1", "unavailable"),))
        if chance < self.failing * 1.1:
            return 0.001, Overloaded("Full.", retry_after_s=0.5)
        return model(invocation)

    def asker(self) -> AbstractContextManager[Any]:
        """What asks."""
        return self.world.asker()

    def run(self, shard: Shard) -> str:
        """One life of one scorer, of a length that nobody knows."""
        world = self.world
        scorer = world.scorer(
            store=Mortal(world.store, self.fate), records=Mortal(world.table, self.fate),
            progress=Mortal(world.table, self.fate), sources=Mortal(world.sources, self.fate),
        )  # fmt: skip
        until_s = world.clock.now + SCORE_MARGIN_S + self.random.choice((0.01, 0.05, 60.0))
        return scorer.run(TENANT, BATCH, shard, until_s=until_s).state

    def score(self, shard: Shard) -> None:
        """A shard until a scorer says that it is done; each call of it may hold the life of a double."""

        def other() -> None:
            with suppress(Killed):
                self.run(shard)

        self.fate.other = other
        for _ in range(RUNS_MAX):
            with suppress(Killed):
                if self.run(shard) == "done":
                    return
        raise AssertionError("The shard is never done.")

    def finish(self) -> str:
        """The end, however often it takes; one that is late ends it once more."""
        self.fate.other = None
        for arrives in self.fate.late:
            arrives()
        self.fate.late.clear()
        # It begins anew each time, and reads every part: with as many deaths as a scorer has it would never end.
        self.fate.deaths = min(self.fate.deaths, FINISH_DEATHS / len(self.world.shards))
        for _ in range(RUNS_MAX):
            with suppress(Killed):
                finisher = self.world.finisher()
                mortal = Mortal(self.world.store, self.fate)
                done = type(finisher)(
                    catalog=finisher.catalog, records=Mortal(self.world.table, self.fate), files=finisher.files,
                    notices=finisher.notices, store=mortal, bucket="batches", wall=self.world.clock,
                )  # fmt: skip
                return done.run(TENANT, BATCH, self.world.batch.execution).state
        raise AssertionError("The batch never ends.")


def lines_of(count: int, random: Random) -> list[bytes]:
    """A file with broken lines, blank ones, and texts that the model refuses."""
    lines = []
    for number in range(count):
        match random.random():
            case chance if chance < 0.02:
                lines.append(b'{"custom_id": broken')
            case chance if chance < 0.04:
                lines.append(b"")
            case chance if chance < 0.06:
                lines.append(json.dumps({"custom_id": f"p{number}", "text": POISON}).encode())
            case _:
                lines.append(json.dumps({"custom_id": f"t{number}", "text": f"tweet {number}"}).encode())
    return lines


def check(world: World) -> None:
    """Every record is in exactly one of the two files, in order, with its own answer; and the report adds up."""
    results, errors, report = world.results(), world.errors(), world.report()
    result_lines, error_lines = ([row["line"] for row in rows] for rows in (results, errors))
    wanted = [number for number, line in enumerate(world.lines, start=1) if line]
    assert sorted(result_lines + error_lines) == wanted
    assert result_lines == sorted(result_lines)
    assert error_lines == sorted(error_lines)
    for row in results:
        record = json.loads(world.lines[row["line"] - 1])
        assert row["custom_id"] == record["custom_id"]
        assert row["result"]["label"] == LABELS[label_of(record["text"])]
    assert (report["results"], report["errors"]) == (len(results), len(errors))
    assert report["records"] == len(wanted)
    assert report["not_processed"] == 0
    assert report["adds_up"]
    assert world.batch.counts == Counts(len(wanted), len(results), len(errors), 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_record_ends_exactly_once_whatever_is_killed(seed: int) -> None:
    """Deaths between any two steps, doubles and zombies inside every call, a fifth of the requests failing."""
    lines = lines_of(400, Random(seed))  # noqa: S311 - the same file for the same seed
    fleet = Fleet(seed, lines=lines, per_shard=40, deaths=0.04, doubles=0.1, failing=0.2)
    for shard in fleet.world.shards:
        fleet.score(shard)
    assert fleet.finish() == "completed"
    check(fleet.world)
    assert fleet.fate.killed > 5
    assert fleet.fate.doubled > 5


def test_thousands_of_shards_end_exactly_once() -> None:
    """The same with two thousand shards of a few records each."""
    lines = lines_of(6_000, Random(1))  # noqa: S311 - the same file every time
    fleet = Fleet(1, lines=lines, per_shard=3, deaths=0.01, doubles=0.02, failing=0.2)
    world, plan = fleet.world, plan_key(TENANT, BATCH)
    # A scorer looks at no other shard: reading the list of all of them two thousand times would only take time here.
    world.store.write(plan, dump_plan(replace(world.planned, shards=())))
    for shard in world.shards:
        fleet.score(shard)
    world.store.write(plan, dump_plan(world.planned))
    assert fleet.finish() == "completed"
    assert len(fleet.world.shards) == 2_000
    check(fleet.world)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_redrive_finishes_only_what_is_missing(seed: int) -> None:
    """Shards that were given up are reported; a redrive scores them, and asks for none of the others again."""
    random = Random(seed)  # noqa: S311 - as above
    fleet = Fleet(seed, lines=lines_of(300, random), per_shard=30, deaths=0.02, doubles=0.05, failing=0.2)
    world = fleet.world
    given_up = random.sample(world.shards, 3)
    for shard in world.shards:
        if shard not in given_up:
            fleet.score(shard)
    assert fleet.finish() == "failed"
    report = world.report()
    assert report["shards"]["unfinished_numbers"] == sorted(shard.number for shard in given_up)
    assert report["not_processed"] == sum(shard.records for shard in given_up)
    before = dict(world.store.objects)
    again = moved(world.batch, "in_progress", now=world.clock.now)
    world.table.move(world.batch, replace(again, redrives=1, problems=()))
    for shard in given_up:
        fleet.score(shard)
    assert fleet.finish() == "completed"
    check(world)
    kept = {key: body for key, body in before.items() if "/parts/" in key}
    assert all(world.store.objects[key] == body for key, body in kept.items())


def test_the_end_comes_to_the_same_however_often_it_is_told() -> None:
    """A finisher that runs again changes neither the record nor a byte of the files."""
    fleet = Fleet(3, lines=lines_of(200, Random(3)), per_shard=50, deaths=0.0, doubles=0.0, failing=0.2)  # noqa: S311
    for shard in fleet.world.shards:
        fleet.score(shard)
    fleet.finish()
    objects, record = dict(fleet.world.store.objects), fleet.world.batch
    assert fleet.finish() == "completed"
    assert (fleet.world.store.objects, fleet.world.batch) == (objects, record)


class Overwriting(FakeObjects):
    """A store that forgets the condition: the last one who writes a part wins."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Write, whatever is there."""
        self.write(key, body)
        return True


class Losing(FakeObjects):
    """A writer that loses the last result of a part, and says so nowhere."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Write all but one line."""
        if "/parts/" not in key:
            return super().write_once(key, body)
        header = read_header(body[:HEADER_BYTES_MAX])
        lines = body[header.size : header.size + header.results_bytes].splitlines(keepends=True)[:-1]
        errors = body[header.size + header.results_bytes :]
        fewer = type(header)(
            header.start, header.end, header.line, header.counts, sum(map(len, lines)), header.errors_bytes
        )  # fmt: skip
        return super().write_once(key, part_bytes(fewer, results=lines, errors=[errors]))


def _broken(store: Callable[[], FakeObjects]) -> Iterator[bool]:
    """Whether the check finds each of some seeds in order."""
    for seed in SEEDS:
        lines = lines_of(400, Random(seed))  # noqa: S311 - as above
        fleet = Fleet(seed, lines=lines, per_shard=40, deaths=0.1, doubles=0.1, failing=0.2, store=store())
        try:
            for shard in fleet.world.shards:
                fleet.score(shard)
            whole = fleet.finish() == "completed"
            check(fleet.world)
        except AssertionError:
            whole = False
        yield whole


@pytest.mark.parametrize("store", [Overwriting, Losing])
def test_a_broken_writer_is_found(store: Callable[[], FakeObjects]) -> None:
    """The check can fail: a store without conditions, or a writer that loses a line, does not pass for well."""
    assert not all(_broken(store))


def test_a_part_that_loses_lines_makes_the_batch_fail_by_itself() -> None:
    """The plan's count is held against the lines that were merged: the batch says that it does not add up."""
    fleet = Fleet(1, lines=lines_of(100, Random(1)), per_shard=50, deaths=0, doubles=0, failing=0, store=Losing())  # noqa: S311
    for shard in fleet.world.shards:
        with suppress(AssertionError):
            fleet.score(shard)
    assert fleet.finish() == "failed"
    assert "records_do_not_add_up" in {problem.code for problem in fleet.world.batch.problems}
    assert not fleet.world.report()["adds_up"]
