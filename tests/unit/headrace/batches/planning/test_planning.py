"""Planning: a file is read once and cut up, and what cannot be used says so."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.bounds import (
    INPUT_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORDS_MAX,
    SHARD_RECORDS_MAX,
    SHARDS_MAX,
    TRANSFORM_RECORDS_MAX,
    TRANSFORM_RECORDS_MIN,
)
from headrace.batches.layout import duplicates_key, plan_key, shards_key, staged_key
from headrace.batches.planning.planned import choose_method, dump_plan, load_plan, shard_document, shard_of
from headrace.batches.reading.cutting import csv_entries, cut, json_entries, shard_bytes
from headrace.batches.reading.formats import Lines, Unusable
from headrace.batches.reading.lines import rows_of
from headrace.batches.reading.records import Bad, Record, read_records
from headrace.batches.scoring.parts import Header, write
from headrace.batches.states import AGE_MAX_S, Batch, Counts, Source, moved
from headrace.catalog import BatchRules, Catalog, Endpoint
from headrace.errors import StoreUnavailable
from headrace.fakes.batch_files import FakeSeenIds, FakeTable
from headrace.fakes.batches import FakeObjects, FakeSink, FakeSources
from tests.unit.headrace.batches.chunks import SIZES, chunked
from tests.unit.headrace.batches.planning_world import BATCH, INPUTS, KEY, NOW, TENANT, World

LIST = shards_key(TENANT, BATCH)


LINES = [b"{}\n", b'{"custom_id": "a"}\n', b'{"custom_id":"b"}\r\n', b"\n", b" \n", b"?\n"]


@pytest.fixture
def world(catalog: Catalog) -> World:
    """A planner and an empty bucket."""
    return World(catalog)


def rows(count: int, start: int = 0) -> bytes:
    """Bare records with ids."""
    return b"".join(b'{"custom_id": "%d", "input": "text"}\n' % number for number in range(start, start + count))


# What is read


def test_a_file_of_lines_becomes_shards(world: World) -> None:
    """The record moves on with its counts, and the list, the plan and what scorers read agree."""
    world.upload(rows(3 * SHARD_RECORDS_MAX // 2))
    step = world.plan()
    assert (step.method, step.shards_key, step.shards, step.transform) == ("map", LIST, 2, None)
    batch = world.batch
    assert (batch.state, batch.shards, batch.counts, batch.method) == ("in_progress", 2, Counts(total=30_000), "map")
    assert batch.started_at == NOW
    assert "30000 records" in batch.reason
    assert world.listed(LIST) == [0, 1]
    assert [record.custom_id for record in world.found()] == [str(number) for number in range(30_000)]
    assert staged_key(TENANT, BATCH) not in world.bucket.objects


def test_what_editors_and_exports_do_to_text(world: World) -> None:
    """A byte order mark, CRLF, blank lines and no newline at the end change no record."""
    world.upload(b'\xef\xbb\xbf{"input": "a"}\r\n\r\n  \r\n{"input": "b"}')
    world.plan()
    planned = world.planned
    assert (planned.lines.start, planned.records, planned.blank) == (3, 2, 2)
    assert [(record.line, record.end) for record in world.found()] == [(1, 19), (4, 39)]


def test_bad_records_are_no_problem_of_the_file(world: World) -> None:
    """Broken JSON, bytes that are no UTF-8, a NUL, a line of 5 MB: each is one bad record among good ones."""
    bad = [b'{"input": ', b'{"input": "\xff"}', b'{"input": "\0"}', b"x" * (5 << 20)]
    world.upload(b"\n".join([rows(1).strip(), *bad, rows(1, start=9)]))
    assert world.plan().method == "map"
    found = world.found()
    assert [type(record) for record in found] == [Record, Bad, Bad, Bad, Bad, Record]
    assert world.planned.records == 6


def test_a_file_of_bad_records_only_is_still_a_batch(world: World) -> None:
    """Each is told in the errors file."""
    world.upload(b"this is\nno JSON\n")
    assert (world.plan().method, world.planned.records) == ("map", 2)


def test_custom_ids_that_come_twice_are_told_by_their_shard(world: World) -> None:
    """The first one counts, also when the second lies in another shard, or the first is bad for another reason."""
    first = b'{"custom_id": "x", "method": "GET"}\n'
    again = b'{"custom_id": "x", "input": "again"}\n'
    world.upload(first + rows(SHARD_RECORDS_MAX) + again + rows(2) + b'{"input": "none"}\n' * 2)
    world.plan()
    assert world.planned.duplicates == 3
    assert world.duplicates() == [SHARD_RECORDS_MAX + 2, SHARD_RECORDS_MAX + 3, SHARD_RECORDS_MAX + 4]
    assert [shard.duplicates for shard in world.planned.shards] == [False, True]
    assert duplicates_key(TENANT, BATCH, 0) not in world.bucket.objects


def test_a_file_of_rows(world: World) -> None:
    """Line ends within quotes are content; ids and columns are found by their names; the rest is told as unused."""
    world.upload(b'\xef\xbb\xbfid,"la\nbel",text\r\n1,x,"two\r\nlines, quoted"\r\n\r\n2,y\n3,z,short\n1,x,again', "csv")
    world.plan()
    planned = world.planned
    assert (planned.records, planned.blank, planned.unused) == (4, 1, ("la\nbel",))
    assert [(record.line, record.custom_id) for record in world.found()] == [(3, "1"), (6, None), (7, "3"), (8, "1")]
    assert world.duplicates() == [8]


def test_compressed_text_is_staged(world: World) -> None:
    """What scorers read is the text, in the batch's own folder."""
    text = rows(5)
    world.upload(gzip.compress(text[:50], mtime=0) + gzip.compress(text[50:]), gzip=True)
    world.plan()
    assert world.bucket.objects[staged_key(TENANT, BATCH)] == text
    assert world.planned.lines == Lines("jsonl", staged=True, size=len(text))
    assert len(world.found()) == 5
    world.upload(gzip.compress(b"id,text\n1,a\n", mtime=0), "csv", gzip=True)
    world.bucket.objects.clear()
    world.plan()
    assert [record.custom_id for record in world.found()] == ["1"]


def test_columns_are_staged(world: World) -> None:
    """A row that has no text is a record all the same: the task says what is wrong with it."""
    world.upload(b"PAR1", "parquet")
    world.tables.tables[KEY] = FakeTable((("id", "whole"), ("text", "text")), [(1, "a"), (2, None), (1, "c")])
    world.plan()
    assert [(record.line, record.custom_id) for record in world.found()] == [(1, "1"), (2, "2"), (3, "1")]
    assert world.duplicates() == [3]


@pytest.mark.parametrize("compress", [False, True])
def test_manifests_in_every_form(world: World, *, compress: bool) -> None:
    """A list as SageMaker has it, lines of JSON, and rows name the same object."""
    home = "s3://inputs/tenants/acme/"
    forms = [
        json.dumps([{"prefix": home}, "a.jpg"]).encode(),
        b'{"s3": "s3://inputs/tenants/acme/a.jpg"}\n',
        b"s3\ns3://inputs/tenants/acme/a.jpg\n",
    ]
    for form in forms:
        world.bucket.objects.clear()
        data = gzip.compress(form, mtime=0) if compress else form
        world.upload(data, "manifest", gzip=compress, endpoint="detection", url="/v1/detections")
        assert world.plan().method == "map"
        (record,) = world.found()
        assert isinstance(record, Record)
        assert record.body == {"image": {"s3": f"{home}a.jpg"}}


# What cannot be used


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (b"", {}, "empty_file"),
        (b"\n \r\n", {}, "empty_file"),
        (b"\xef\xbb\xbf", {}, "empty_file"),
        (b"", {"format": "csv"}, "empty_file"),
        (b"id,text\n", {"format": "csv"}, "empty_file"),
        (b"\nid,text\n1,a\n", {"format": "csv"}, "csv_empty_header"),
        (b"text,id,text\na,1,b\n", {"format": "csv"}, "csv_repeated_column"),
        (b"id,words\n1,a\n", {"format": "csv"}, "csv_missing_column"),
        (b'id,"text"x\n1,a\n', {"format": "csv"}, "csv_invalid_header"),
        (b"id,\xff\n1,a\n", {"format": "csv"}, "not_utf8_header"),
        (b"i\0d,text\n1,a\n", {"format": "csv"}, "not_utf8_header"),
        ("id,text\n1,a\n".encode("utf-16"), {"format": "csv"}, "not_utf8"),
        ('{"input": "a"}\n'.encode("utf-16"), {}, "not_utf8"),
        (gzip.compress(rows(9), mtime=0), {}, "wrong_format"),
        (gzip.compress(gzip.compress(rows(9)), mtime=0), {"gzip": True}, "wrong_format"),
        (b"PAR1\x15\x04\x15", {}, "wrong_format"),
        (b"PK\x03\x04sheet", {"format": "csv"}, "wrong_format"),
        (b"no gzip", {"gzip": True}, "gzip_invalid"),
        (gzip.compress(rows(9), mtime=0)[:-4], {"gzip": True}, "gzip_truncated"),
        (gzip.compress(bytes(1 << 26), mtime=0), {"gzip": True}, "gzip_bomb"),
        (b'[{"prefix": "s3://inputs/tenants/other/"}, "a"]', {"format": "manifest"}, "manifest_forbidden"),
        (b'[{"prefix": "s3://inputs/tenants/acme/"}]', {"format": "manifest"}, "empty_file"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_fails_the_batch(
    world: World, data: bytes, options: dict[str, Any], expected: str
) -> None:
    """With one problem that says why; nothing is left behind to be scored."""
    world.upload(data, **options)
    assert world.plan().method == "none"
    assert world.problem == expected
    assert not world.bucket.objects


def test_tables_that_cannot_be_used(world: World) -> None:
    """No Parquet at all, and columns of the wrong type."""
    world.upload(b"PAR1", "parquet")
    world.tables.tables[KEY] = None
    world.plan()
    assert world.problem == "parquet_invalid"
    world.upload(b"PAR1", "parquet")
    world.tables.tables[KEY] = FakeTable((("text", "whole"),), [(1,)])
    world.plan()
    assert world.problem == "parquet_wrong_types"


def test_a_file_that_is_gone_or_replaced(world: World) -> None:
    """The version that the batch holds on to is gone; or its bytes are not as many as they were."""
    world.upload(rows(3))
    world.sources.files[INPUTS, KEY, "v2"] = world.sources.files.pop((INPUTS, KEY, "v1"))
    world.plan()
    assert world.problem == "object_gone"
    world.upload(rows(3))
    world.sources.files[INPUTS, KEY, "v1"] += rows(1)
    world.plan()
    assert world.problem == "object_replaced"


def test_a_model_that_is_no_longer_declared(world: World) -> None:
    """It was there when the batch was accepted."""
    world.upload(rows(3), endpoint="gone")
    world.plan()
    assert world.problem == "model_not_found"


def test_more_records_than_a_file_may_have() -> None:
    """The pass stops at the first one too many; blank lines do not count."""
    entries = [(1, 1, True, None), *((end, 1, False, None) for end in range(2, 7))]
    with pytest.raises(Unusable) as caught:
        list(cut(entries, start=0, line=1, seen=FakeSeenIds(), bytes_min=2, total_max=4))
    assert (caught.value.code, caught.value.line) == ("too_many_records", 6)


def test_more_blank_lines_than_a_file_may_have() -> None:
    """Each takes its time: a file of nothing else would keep the planner busy for hours."""
    entries = ((end, 1, True, None) for end in range(1, 100))
    with pytest.raises(Unusable) as caught:
        list(cut(entries, start=0, line=1, seen=FakeSeenIds(), bytes_min=2, total_max=4))
    assert (caught.value.code, caught.value.line) == ("too_many_blank_lines", 5)


# Cutting


@given(
    st.lists(st.sampled_from(LINES), max_size=30), st.sampled_from([b"", b'{"custom_id": "a"}', b" "]),
    SIZES, st.integers(1, 60), st.integers(1, 5),
)  # fmt: skip
def test_shards_of_lines_cover_everything_once(
    parts: list[bytes], tail: bytes, sizes: list[int], bytes_min: int, records_max: int
) -> None:
    """However the bytes come and wherever they are cut: the same records, no gap, no overlap, exact counts."""
    data = b"".join(parts) + tail
    lines = Lines("jsonl", staged=False, size=len(data))
    entries = json_entries(chunked(data, sizes), start=0)
    pieces = list(cut(entries, start=0, line=1, seen=FakeSeenIds(), bytes_min=bytes_min, records_max=records_max))
    _check_cover(pieces, data, lines, 0, 1)


@given(st.text(alphabet='ab",\n\r', max_size=80).map(str.encode), SIZES, st.integers(1, 40), st.integers(1, 4))
def test_shards_of_rows_cover_everything_once(data: bytes, sizes: list[int], bytes_min: int, records_max: int) -> None:
    """The same of CSV, whatever its quotes do."""
    lines = Lines("csv", staged=False, size=len(data))
    entries = csv_entries(rows_of(chunked(data, sizes)), id_column=0, columns=2)
    pieces = list(cut(entries, start=0, line=1, seen=FakeSeenIds(), bytes_min=bytes_min, records_max=records_max))
    _check_cover(pieces, data, lines, 0, 1)


def _check_cover(pieces: list[Any], data: bytes, lines: Lines, start: int, line: int) -> None:
    whole = list(read_records([data], lines=lines, start=start, line=line))
    ids: list[int] = []
    names = set()
    found: list[Record | Bad] = []
    at = start
    for number, piece in enumerate(pieces):
        shard = piece.shard
        assert (shard.number, shard.start) == (number, at)
        at = shard.end
        own = list(read_records([data[shard.start : shard.end]], lines=lines, start=shard.start, line=shard.line))
        assert len(own) == shard.records
        assert shard.duplicates == bool(piece.duplicates)
        ids += piece.duplicates
        found += own
    assert at == len(data)
    assert found == whole
    if lines.format == "jsonl":
        expected = []
        for record in whole:
            if record.custom_id is not None and record.custom_id in names:
                expected.append(record.line)
            names.add(record.custom_id)
        assert ids == expected


@given(st.integers(0, INPUT_BYTES_MAX))
def test_a_file_of_any_size_has_a_bounded_number_of_shards(size: int) -> None:
    """Full of bytes or full of records, they are no more than `SHARDS_MAX`; an unknown size counts as the largest."""
    most = size // shard_bytes(size) + RECORDS_MAX // SHARD_RECORDS_MAX + 1
    assert most <= SHARDS_MAX
    assert shard_bytes(None) == shard_bytes(INPUT_BYTES_MAX) < RECORD_BYTES_MAX


# Running again


def test_a_run_that_is_repeated_finds_the_plan(world: World) -> None:
    """The second run reads no file and says the same, and so does one after a crash before the record moved."""
    world.upload(rows(10))
    first = world.plan()
    written = dict(world.bucket.objects)
    world.sources.files.clear()
    assert world.plan() == first
    world.records.batches[TENANT, BATCH] = replace(world.batch, state="validating", shards=0)
    assert world.plan() == first
    assert world.batch.state == "in_progress"
    assert world.bucket.objects == written


@pytest.mark.parametrize("format", ["jsonl", "gzip"])
def test_a_crash_anywhere_changes_nothing(catalog: Catalog, format: str) -> None:  # noqa: A002
    """Whichever write fails, the next run ends with the same objects as one that was never disturbed."""
    text = rows(SHARD_RECORDS_MAX + 1) + rows(3)

    def prepared() -> World:
        world = World(catalog)
        world.upload(gzip.compress(text, mtime=0) if format == "gzip" else text, gzip=format == "gzip")
        return world

    calm = prepared()
    step = calm.plan()
    for survives in range(len(calm.bucket.objects)):
        world = prepared()
        failing = _Failing(left=survives)
        world.bucket = failing
        with pytest.raises(StoreUnavailable):
            world.plan()
        failing.left = 1000
        assert world.plan() == step
        assert world.bucket.objects == calm.bucket.objects
        assert world.batch == calm.batch


@dataclass(slots=True)
class _Failing(FakeObjects):
    """Objects that can be written so many times."""

    left: int = 0

    def write(self, key: str, body: bytes) -> None:
        """Write an object, while that goes well."""
        self._spend()
        self.objects[key] = body

    def write_once(self, key: str, body: bytes) -> bool:
        """Write an object that is not there, while that goes well."""
        self._spend()
        return self.objects.setdefault(key, body) is body

    @contextmanager
    def writer(self, key: str) -> Iterator[FakeSink]:
        """A large object, while that goes well."""
        sink = FakeSink()
        yield sink
        self._spend()
        self.objects[key] = b"".join(sink.written)

    def _spend(self) -> None:
        if not self.left:
            raise StoreUnavailable("The fake fails.")
        self.left -= 1


@pytest.mark.parametrize("state", ["cancelling", "cancelled", "completed", "failed", "expired", "finalizing"])
def test_a_batch_that_is_ending_is_not_planned(world: World, state: Any) -> None:
    """Its file is not even read."""
    world.records.batches[TENANT, BATCH] = moved(world.upload(rows(3)), state, now=NOW)
    world.sources.down = True
    assert world.plan().method == "none"
    assert world.batch.state == state


def test_a_batch_that_is_unknown_or_too_old_is_not_planned(world: World) -> None:
    """Nothing to do is no failure: the finisher looks at what there is."""
    assert world.plan().method == "none"
    world.upload(rows(3))
    world.now = NOW + AGE_MAX_S + 1
    assert world.plan().method == "none"
    assert world.batch.state == "validating"


def test_a_batch_cancelled_while_it_is_planned(world: World) -> None:
    """The cancellation stands, and nothing is scored; a file that is unusable too changes nothing about that."""
    for data in (rows(3), b""):
        batch = world.upload(data)
        cancelled = moved(batch, "cancelling", now=NOW)
        files, world.sources = world.sources, _Meddling(world, cancelled)
        assert world.plan().method == "none"
        assert world.batch.state == "cancelling"
        world.sources = files
        world.bucket.objects.clear()


def test_another_run_may_win(world: World) -> None:
    """Two runs at once: the one that comes second finds the batch in progress, and goes on with the same list."""
    batch = world.upload(rows(3))
    other = World(world.catalog)
    other.upload(rows(3))
    step = other.plan()
    world.sources = _Meddling(world, other.batch)
    assert world.plan() == step
    assert world.batch.revision == batch.revision + 1


@dataclass
class _Quicker(FakeObjects):
    """A bucket in which somebody else's plan is always there first."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Find it."""
        self.objects[key] = dump_plan(replace(load_plan(body), reason="Another run's."))
        return False


def test_the_plan_that_stands_is_the_one_that_counts(world: World) -> None:
    """Two runs may choose otherwise, when the endpoint went away in between: scorers and the end read what stands."""
    world.bucket = _Quicker()
    world.upload(rows(3))
    assert world.plan().method == "map"
    assert world.batch.reason == world.planned.reason == "Another run's."


def test_a_store_that_is_down_fails_the_run_and_not_the_batch(world: World) -> None:
    """The state machine tries again."""
    world.upload(rows(3))
    world.sources.down = True
    with pytest.raises(StoreUnavailable):
        world.plan()
    assert world.batch.state == "validating"


# Redriving


def test_a_redrive_lists_what_is_missing(world: World) -> None:
    """Shards whose parts lead to their end are done; a chain with a gap, or that stops short, is not."""
    world.upload(rows(4 * SHARD_RECORDS_MAX))
    world.plan()
    first, second, third, _ = world.planned.shards
    _part(world, first, first.start, first.start + 100)
    _part(world, first, first.start + 100, first.end)
    _part(world, second, second.start, second.end - 100)
    _part(world, third, third.start + 100, third.end)
    world.records.batches[TENANT, BATCH] = replace(world.batch, redrives=1)
    world.sources.files.clear()
    step = world.plan()
    again = shards_key(TENANT, BATCH, redrives=1)
    assert (step.method, step.shards_key, step.shards) == ("map", again, 3)
    assert world.listed(again) == [1, 2, 3]
    assert world.listed(LIST) == [0, 1, 2, 3]


def test_a_redrive_with_nothing_missing_goes_straight_to_the_end(world: World) -> None:
    """The finisher was what failed."""
    world.upload(rows(3))
    world.plan()
    (shard,) = world.planned.shards
    _part(world, shard, shard.start, shard.end)
    world.records.batches[TENANT, BATCH] = replace(world.batch, redrives=1)
    assert world.plan().method == "none"
    assert world.batch.state == "in_progress"


def test_a_redrive_of_what_was_never_planned_plans_it(world: World) -> None:
    """The first run never came so far; the counts are there afterwards."""
    world.upload(rows(3))
    world.records.batches[TENANT, BATCH] = replace(world.batch, state="in_progress", redrives=1)
    step = world.plan()
    assert (step.method, step.shards, step.shards_key) == ("map", 1, shards_key(TENANT, BATCH, redrives=1))
    assert (world.batch.shards, world.batch.counts.total) == (1, 3)


def _part(world: World, shard: Any, start: int, end: int) -> None:
    header = Header(start, end, 1, Counts(total=1), 0, 0)
    write(world.bucket, TENANT, BATCH, shard, header, results=[], errors=[])


# What is decided, and how it is written down


def test_the_method_says_why(sentiment: Endpoint, detection: Endpoint) -> None:
    """By what the caller asked, what the task can, and the number that the model declares."""
    rules = replace(sentiment, batch=BatchRules(transform_records_min=100))

    def choice(records: int, asked: Any, endpoint: Endpoint) -> str:
        method, reason = choose_method(records=records, size=1, asked=asked, endpoint=endpoint)
        assert f"{records} records" in reason
        return method

    assert choice(99, "auto", rules) == "map"
    assert choice(100, "auto", rules) == "transform"
    assert choice(100, "map", rules) == "map"
    assert choice(1, "transform", sentiment) == "transform"
    for undeclared in (None, BatchRules()):
        assert choice(TRANSFORM_RECORDS_MIN - 1, "auto", replace(sentiment, batch=undeclared)) == "map"
        assert choice(TRANSFORM_RECORDS_MIN, "auto", replace(sentiment, batch=undeclared)) == "transform"
    for asked in ("auto", "transform"):
        assert choice(TRANSFORM_RECORDS_MAX, asked, rules) == "transform"
        assert choice(TRANSFORM_RECORDS_MAX + 1, asked, rules) == "map"
    assert choice(10_000_000, "transform", detection) == "map"
    assert choice(10_000_000, "transform", replace(rules, versions=rules.versions[1:])) == "map"


def test_a_plan_comes_back_as_it_was_written(world: World) -> None:
    """With its header and the meaning of each column."""
    world.upload(b"id,more,text\n1,x,a\n", "csv")
    world.plan()
    planned = world.planned
    assert planned.lines.header == ("id", "more", "text")
    assert load_plan(dump_plan(planned)) == planned
    assert tuple(shard_of(json.loads(json.dumps(shard_document(shard)))) for shard in planned.shards) == planned.shards
    assert plan_key(TENANT, BATCH) in world.bucket.objects


class _Meddling(FakeSources):
    """Files that somebody moves the batch behind, while they are read."""

    def __init__(self, world: World, after: Batch) -> None:
        super().__init__(world.sources.files)
        self._world, self._after = world, after

    def chunks(self, source: Source, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes, and then the move."""
        yield from super().chunks(source, start=start, end=end)
        self._world.records.batches[TENANT, BATCH] = self._after
