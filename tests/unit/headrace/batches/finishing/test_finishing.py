"""Finishing: files, counts that are held against the plan, the end state, and who is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from headrace.batches.finishing.merging import lines_in
from headrace.batches.layout import ends_key, part_key, plan_key, results_key
from headrace.batches.planning.planned import dump_plan
from headrace.batches.planning.transform import bad_key, map_key, output_key
from headrace.batches.reading.records import Bad
from headrace.batches.scoring.answering import dump_slips, error_line
from headrace.batches.scoring.asking import Ask
from headrace.batches.states import Counts, Problem, moved
from headrace.errors import StoreUnavailable, UnknownTarget
from headrace.fakes.batches import FakeBatchTable, FakeObjects, FakeSink
from headrace.fakes.files import FakeFileTable
from headrace.fakes.notices import FakeNotices
from headrace.files.files import output_id
from tests.unit.headrace.batches.world import BATCH, TENANT, World, label_of, tweets


def finish(world: World) -> str:
    """The end state."""
    return world.finisher().run(TENANT, BATCH, world.batch.execution).state


def test_a_whole_batch_is_completed_and_told() -> None:
    """Record, files, report, event and notice say the same."""
    world = World([*tweets(20), b"broken"], per_shard=10)
    world.score_all()
    world.clock.now += 10
    end = world.finisher().run(TENANT, BATCH, BATCH)
    batch = world.batch
    assert end.state == batch.state == "completed"
    assert batch.counts == Counts(21, 20, 1, 0)
    assert (batch.output_file_id, batch.error_file_id) == (output_id(BATCH, "results"), output_id(BATCH, "errors"))
    results = world.files.files[TENANT, batch.output_file_id]
    assert (results.key, results.purpose, results.key_id) == (results_key(TENANT, BATCH), "batch_output", "k1")
    assert results.size == len(world.store.objects[results.key])
    assert world.notices.sent == [(TENANT, "batch", BATCH)]
    assert end.event == {
        "batch_id": BATCH, "tenant": TENANT, "model": "sentiment", "state": "completed", "records": 21, "results": 20,
        "errors": 1, "degraded": 0, "redrives": 0, "ended_at": batch.ended_at,
    }  # fmt: skip
    report = world.report()
    assert (report["adds_up"], report["not_processed"], report["shards"]["planned"]) == (True, 0, 3)
    assert report["records_per_s"] == pytest.approx(21 / (batch.ended_at - batch.started_at), rel=1e-3)


def test_no_results_are_no_file() -> None:
    """A file of which every record is bad has errors and no output file, as OpenAI's batches do."""
    world = World([b"broken"] * 3)
    world.score_all()
    assert finish(world) == "completed"
    assert world.batch.output_file_id == ""
    assert len(world.errors()) == 3


def test_missing_shards_make_a_batch_fail_and_keep_the_rest() -> None:
    """What is there is in the files; what is not is said, and can be redriven."""
    world = World(tweets(20), per_shard=10)
    world.scorer().run(TENANT, BATCH, world.shards[1], until_s=world.clock.now + 900)
    assert finish(world) == "failed"
    assert [row["line"] for row in world.results()] == list(range(11, 21))
    assert [problem.code for problem in world.batch.problems] == ["shards_unfinished"]
    assert world.report()["shards"]["unfinished_numbers"] == [0]


def test_a_plan_that_counts_otherwise_is_believed() -> None:
    """Headers may say what they like: lines are counted, and the plan's number is the other side."""
    world = World(tweets(20), per_shard=10)
    world.score_all()
    shards = (world.shards[0], replace(world.shards[1], records=11))
    world.store.write(plan_key(TENANT, BATCH), dump_plan(replace(world.planned, shards=shards, records=21)))
    assert finish(world) == "failed"
    assert world.report()["shards"]["wrong_numbers"] == [1]
    assert not world.report()["adds_up"]


def test_a_part_that_is_shorter_than_it_says_is_not_merged() -> None:
    """A truncated object is a fault of the store, not a batch with fewer results."""
    world = World(tweets(20))
    world.score_all()
    key = part_key(TENANT, BATCH, 0, 0)
    world.store.objects[key] = world.store.objects[key][:-10]
    with pytest.raises(StoreUnavailable):
        finish(world)
    assert world.batch.state == "finalizing"


def test_a_file_that_could_not_be_used_stays_failed() -> None:
    """The plan has said why; the end is told, and nothing else is changed."""
    world = World(tweets(1))
    failed = replace(moved(world.batch, "failed", now=world.clock.now), problems=(Problem("empty_file", "Empty."),))
    world.table.batches[TENANT, BATCH] = failed
    assert finish(world) == "failed"
    assert world.batch == failed
    assert world.notices.sent


def test_a_batch_cancelled_before_its_plan_has_no_files() -> None:
    """Nothing was done, and that is what the record says."""
    world = World(tweets(5))
    del world.store.objects[plan_key(TENANT, BATCH)]
    world.table.batches[TENANT, BATCH] = moved(world.batch, "cancelling", now=world.clock.now)
    assert finish(world) == "cancelled"
    assert finish(world) == "cancelled"
    assert world.batch.counts == Counts()
    assert not world.files.files


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    """Every record has its answer: the batch is completed, whatever was wished for meanwhile."""
    world = World(tweets(5))
    world.score_all()
    world.table.batches[TENANT, BATCH] = moved(world.batch, "cancelling", now=world.clock.now)
    assert finish(world) == "completed"


def test_a_redriven_batch_is_finished_anew() -> None:
    """The second end has all results, and no problem of the first one's shards."""
    world = World(tweets(20), per_shard=10)
    world.scorer().run(TENANT, BATCH, world.shards[0], until_s=world.clock.now + 900)
    assert finish(world) == "failed"
    again = replace(moved(world.batch, "in_progress", now=world.clock.now), redrives=1, problems=())
    world.table.batches[TENANT, BATCH] = again
    world.score_all()
    assert finish(world) == "completed"
    assert len(world.results()) == 20


def test_a_batch_that_is_not_there_cannot_be_ended() -> None:
    """Nothing is made up."""
    world = World(tweets(1))
    world.table.batches.clear()
    with pytest.raises(UnknownTarget):
        world.finisher().run(TENANT, BATCH, BATCH)


@dataclass
class Meanwhile(FakeObjects):
    """A bucket in which something happens just before a file is begun."""

    happens: Callable[[], object] = bool

    @contextmanager
    def writer(self, key: str) -> Iterator[FakeSink]:
        """Once."""
        happens, self.happens = self.happens, bool
        happens()
        with FakeObjects.writer(self, key) as sink:
            yield sink


def half_done() -> World:
    """A batch of two shards, the first of which is done."""
    world = World(tweets(20), per_shard=10)
    world.store = Meanwhile(world.store.objects)
    world.scorer().run(TENANT, BATCH, world.shards[0], until_s=world.clock.now + 900)
    return world


def test_a_part_that_comes_while_a_run_is_merged_waits_for_the_redrive() -> None:
    """What is merged is settled first: whoever merges the run again merges the same, whatever came meanwhile."""
    world = half_done()
    down = FakeNotices(down=True)
    with pytest.raises(StoreUnavailable):
        replace(world.finisher(), files=FakeFileTable(down=True), notices=down).run(TENANT, BATCH, BATCH)
    first = world.store.objects[results_key(TENANT, BATCH)]
    late = replace(world.batch, state="in_progress")
    world.scorer(records=FakeBatchTable({(TENANT, BATCH): late})).run(
        TENANT, BATCH, world.shards[1], until_s=world.clock.now + 900
    )
    assert finish(world) == "failed"
    assert world.store.objects[results_key(TENANT, BATCH)] == first
    assert (world.batch.counts.results, world.report()["results"]) == (10, 10)
    world.table.batches[TENANT, BATCH] = replace(world.batch, state="in_progress", redrives=1, problems=())
    assert finish(world) == "completed"
    assert len(world.results()) == 20


def test_two_ends_at_once_come_to_the_same() -> None:
    """One overtakes the other while a scorer adds a part: the file that is written last is still the one counted."""
    world = half_done()
    late = replace(world.batch, state="in_progress")
    late_scorer = world.scorer(records=FakeBatchTable({(TENANT, BATCH): late}))

    def overtaken() -> None:
        late_scorer.run(TENANT, BATCH, world.shards[1], until_s=world.clock.now + 900)
        assert world.finisher().run(TENANT, BATCH, BATCH).event["results"] == 10

    assert isinstance(world.store, Meanwhile)
    world.store.happens = overtaken
    assert world.finisher().run(TENANT, BATCH, BATCH).event["results"] == 10
    assert len(world.results()) == world.batch.counts.results == world.report()["results"] == 10


def test_an_end_that_comes_late_leaves_a_redriven_batch_alone() -> None:
    """Finish is tried again after the record had moved, and the caller has redriven it meanwhile."""
    world = half_done()
    with pytest.raises(StoreUnavailable):
        replace(world.finisher(), notices=FakeNotices(down=True)).run(TENANT, BATCH, BATCH)
    redriven = replace(moved(world.batch, "in_progress", now=world.clock.now), redrives=1, problems=())
    world.table.batches[TENANT, BATCH] = redriven
    end = world.finisher().run(TENANT, BATCH, BATCH)
    assert (end.state, end.incomplete, end.event["results"]) == ("failed", True, 10)
    assert world.batch == redriven
    assert not world.notices.sent


def test_an_end_that_is_overtaken_by_a_redrive_writes_nothing() -> None:
    """Its files would be those of the run before, and its record another run's."""
    world = half_done()

    def redriven() -> None:
        world.table.batches[TENANT, BATCH] = replace(world.batch, state="in_progress", redrives=1)

    assert isinstance(world.store, Meanwhile)
    world.store.happens = redriven
    assert world.finisher().run(TENANT, BATCH, BATCH).state == "failed"
    assert results_key(TENANT, BATCH) not in world.store.objects
    assert (world.batch.state, world.batch.redrives) == ("in_progress", 1)


def test_who_ends_what_nothing_else_ends_belongs_to_the_run() -> None:
    """An execution of another name may end the present run, and none of another run."""
    world = half_done()
    batch = replace(world.batch, redrives=1)
    assert [name for name in (BATCH, f"{BATCH}-r1", f"{BATCH}-r1-end3", f"{BATCH}-end1", f"{BATCH}-r10") if
            batch.ran_as(name)] == [f"{BATCH}-r1", f"{BATCH}-r1-end3"]  # fmt: skip


def test_a_part_that_lies_about_its_lines_is_told() -> None:
    """Also in a shard that is not finished: a report that adds up counts lines on both sides."""
    world = World(tweets(20), per_shard=20)
    world.scorer().run(TENANT, BATCH, world.shards[0], until_s=world.clock.now + 900)
    key = part_key(TENANT, BATCH, 0, 0)
    body = world.store.objects[key]
    lies = [(b'"results":20', b'"results":19'), (f'"end":{world.shards[0].end}'.encode(), b'"end":7')]
    for said, lie in lies:
        assert said in body
        world.store.objects[key] = body.replace(said, lie)
        world.table.batches[TENANT, BATCH] = replace(world.batch, state="in_progress", redrives=1, problems=())
        world.store.objects.pop(ends_key(TENANT, BATCH, redrives=1), None)
        shards = (replace(world.shards[0], records=5 if b"end" in said else 20),)
        world.store.write(plan_key(TENANT, BATCH), dump_plan(replace(world.planned, shards=shards)))
        assert finish(world) == "failed"
        assert "records_do_not_add_up" in [problem.code for problem in world.batch.problems]
        assert not world.report()["adds_up"]


def answer_line(texts: list[str]) -> bytes:
    """An endpoint's answer as a line of a transform job's output."""
    labels = ("negative", "neutral", "positive")
    shares = [0.8 if column == label_of(text) else 0.1 for text in texts for column in range(3)]
    outputs = [
        {"name": "label", "datatype": "BYTES", "shape": [len(texts)], "data": [labels[label_of(t)] for t in texts]},
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [len(texts), 3],
            "data": shares,
        },
    ]
    return json.dumps({"model_name": "sentiment", "model_version": "v1", "outputs": outputs}).encode() + b"\n"


def transformed() -> World:
    """A batch of nine records in two shards, one of which is bad, as a transform job leaves it."""
    world = World([*tweets(8), b"broken"], per_shard=5)
    planned = replace(world.planned, method="transform", reason="many records", version="v1")
    world.store.write(plan_key(TENANT, BATCH), dump_plan(planned))
    bad = Bad(9, 0, None, "json_invalid", "The body is not JSON.")
    world.store.write(bad_key(TENANT, BATCH), error_line(bad, batch_id=BATCH))
    for shard, lines in ((0, [[0, 1, 2], [3, 4]]), (1, [[5, 6, 7]])):
        asks = [[Ask(n + 1, f"t{n}", openai=False, texts=[f"tweet {n}"]) for n in request] for request in lines]
        world.store.write(map_key(TENANT, BATCH, shard), b"".join(map(dump_slips, asks)))
        answers = b"".join(answer_line([f"tweet {n}" for n in request]) for request in lines)
        world.store.write(output_key(TENANT, BATCH, shard), answers)
    return world


def test_a_transform_jobs_answers_become_results() -> None:
    """Each record gets its own answer out of its request's, in the order of the input."""
    world = transformed()
    assert finish(world) == "completed"
    assert [(row["line"], row["custom_id"]) for row in world.results()] == [(n + 1, f"t{n}") for n in range(8)]
    labels = ("negative", "neutral", "positive")
    assert [row["result"]["label"] for row in world.results()] == [labels[label_of(f"tweet {n}")] for n in range(8)]
    assert [row["line"] for row in world.errors()] == [9]
    assert world.report()["method"] == {"planned": "map", "used": "transform", "reason": "few records"}
    assert world.results()[0]["served_by"] == "sentiment/v1"


def test_an_answer_that_is_none_is_an_error_of_its_records() -> None:
    """A line that breaks the task's contract, or is missing, costs its own records and no others."""
    world = transformed()
    first = world.store.objects[output_key(TENANT, BATCH, 0)].splitlines(keepends=True)[0]
    world.store.objects[output_key(TENANT, BATCH, 0)] = b"{}\n" + first.replace(b"[3", b"[2")
    assert finish(world) == "completed"
    assert [row["line"] for row in world.results()] == [6, 7, 8]
    assert {row["error"]["code"] for row in world.errors()} == {"json_invalid", "invalid_answer"}


def test_a_transform_job_that_failed_leaves_its_work_to_the_map() -> None:
    """Where an output is missing, the parts count, and the report says what was used."""
    world = transformed()
    del world.store.objects[output_key(TENANT, BATCH, 1)]
    assert finish(world) == "failed"
    world.table.batches[TENANT, BATCH] = replace(world.batch, state="in_progress", redrives=1, problems=())
    world.score_all()
    assert finish(world) == "completed"
    assert world.report()["method"]["used"] == "map"
    assert len(world.results()) == 8


def test_lines_come_whole_from_chunks_of_any_size() -> None:
    """Wherever the chunks are cut."""
    data = b"one\ntwo\n\nfour"
    for size in range(1, len(data) + 1):
        chunks = (data[at : at + size] for at in range(0, len(data), size))
        assert list(lines_in(chunks)) == [b"one", b"two", b"", b"four"]
