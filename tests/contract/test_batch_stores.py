"""The batch flow's fakes and AWS adapters keep the same contracts: objects, streams, records, lists and progress."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.layout import part_key, parts_prefix, results_key
from headrace.batches.states import Batch, Counts, Options, Problem, Source, moved, new_id
from headrace.batches.storage import (
    CHUNK_BYTES,
    BatchLists,
    BatchRecords,
    Objects,
    Progresses,
    ShardProgress,
    Streams,
)
from headrace.errors import StoreUnavailable, UnknownTarget
from headrace.fakes.batches import FakeBatchTable, FakeObjects, FakeSources
from headrace_aws.batches_bucket import PART_BYTES, BatchesBucket, SourceObjects
from headrace_aws.batches_table import BatchesTable, dump_batch, load_batch
from headrace_aws.clients import client
from headrace_aws.listed_records import PAGE
from headrace_aws.state_table import StateTable
from tests.contract.conftest import PatientCalls, make_state_table

BUCKET, TABLE = "batches", "state"
KEY = results_key("acme", "batch_x")
SOURCE = Source("inputs", "tenants/acme/files/f/a.jsonl", "v", 10, "jsonl")
BATCH = Batch(
    tenant="acme",
    batch_id=new_id(bytes),
    created_at=1_700_000_000.25,
    source=SOURCE,
    options=Options(
        "sentiment", "/v1/classifications", metadata=(("Straße", "ü"),), parameters=(("threshold", "0.5"),)
    ),
    caller=(("plan", "free"), ("scopes", "invoke read"), ("key_id", "k")),
    input_file_id="file_x",
)


class Table(BatchRecords, BatchLists, Progresses, Protocol):
    """All three at once."""


class Store(Objects, Streams, Protocol):
    """Both at once."""


@pytest.fixture(params=["fake", "dynamodb"])
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeBatchTable()
        return
    request.getfixturevalue("aws")
    make_state_table()
    yield BatchesTable(StateTable(TABLE, calls=PatientCalls()))


@pytest.fixture(params=["fake", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeObjects()
        return
    request.getfixturevalue("aws")
    make_bucket(BUCKET)
    yield BatchesBucket(BUCKET, calls=PatientCalls(), pause=lambda _: None)


def make_bucket(name: str, *, versioned: bool = False) -> None:
    """A bucket in the account."""
    s3 = client("s3", read_timeout_s=2.0)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def batch(seconds: float, tenant: str = "acme", number: int = 1) -> Batch:
    """A batch created so many seconds later."""
    batch_id = new_id(lambda size: number.to_bytes(size, "big"))
    return replace(BATCH, tenant=tenant, batch_id=batch_id, created_at=BATCH.created_at + seconds)


def test_a_record_is_read_as_it_was_written(table: Table) -> None:
    """Every field survives; an unknown id is None."""
    written = replace(
        moved(BATCH, "in_progress", now=BATCH.created_at + 1),
        counts=Counts(5, 3, 1, 1),
        problems=(Problem("csv_repeated_column", "Name each column once.", 1),),
        redrives=2,
    )
    assert table.create(written)
    assert table.get("acme", BATCH.batch_id) == written
    assert table.get("acme", "missing") is None


def test_no_tenant_reads_anothers_record(table: Table) -> None:
    """The tenant is part of the key: with a right id and another tenant there is nothing, nor a place in its list."""
    table.create(BATCH)
    for other in ("other", "acme#x", "acm"):
        assert table.get(other, BATCH.batch_id) is None
        assert table.newest(other, limit=10) == []
        assert table.of(other, BATCH.batch_id) == []


def test_a_batch_is_created_once(table: Table) -> None:
    """The same id a second time changes nothing, and the batch stands in the list once, though the moments differ."""
    assert table.create(BATCH)
    assert not table.create(replace(BATCH, created_at=BATCH.created_at + 5))
    assert table.get("acme", BATCH.batch_id) == BATCH
    assert table.newest("acme", limit=10) == [BATCH]


def test_a_record_moves_only_from_the_revision_that_was_read(table: Table) -> None:
    """Of many movers one wins; a record that is not there does not move."""
    after = moved(BATCH, "in_progress", now=BATCH.created_at + 1)
    assert not table.move(BATCH, after)
    table.create(BATCH)
    assert [table.move(BATCH, after) for _ in range(3)] == [True, False, False]
    assert table.get("acme", BATCH.batch_id) == after


def test_the_newest_come_first_and_in_pages(table: Table) -> None:
    """Pages follow on each other without gaps or repeats, and end; an unknown place to begin after is the start."""
    batches = [batch(seconds, number=seconds + 1) for seconds in range(7)]
    for each in batches:
        table.create(each)
    table.create(batch(3, tenant="other", number=99))
    newest = [each.batch_id for each in reversed(batches)]
    seen: list[str] = []
    while page := table.newest("acme", limit=3, after=seen[-1] if seen else ""):
        seen += [each.batch_id for each in page]
    assert seen == newest
    assert [each.batch_id for each in table.newest("acme", limit=2, after="missing")] == newest[:2]


def test_batches_of_one_moment_have_an_order(table: Table) -> None:
    """Two created in the same millisecond are both listed, each once."""
    for number in (1, 2, 3):
        table.create(batch(0, number=number))
    first = table.newest("acme", limit=1)
    rest = table.newest("acme", limit=5, after=first[0].batch_id)
    assert len({each.batch_id for each in first + rest}) == len(first + rest) == 3


@pytest.mark.usefixtures("aws")
def test_more_batches_than_one_look_holds() -> None:
    """The list goes on behind DynamoDB's bound on what is read at once."""
    make_state_table()
    table = BatchesTable(StateTable(TABLE, calls=PatientCalls()))
    for number in range(PAGE + 3):
        table.create(batch(number, number=number + 1))
    assert len(table.newest("acme", limit=1000)) == PAGE + 3


def test_progress_is_kept_per_shard_and_never_goes_back(table: Table) -> None:
    """Each shard's last word stands, in their order; a runner that is out of date changes nothing."""
    late = ShardProgress(1, 50, Counts(10, 4, 1, 2), paused="overloaded")
    for progress in (late, ShardProgress(0, 9, Counts(5, 5)), ShardProgress(1, 20, Counts(10, 1))):
        table.note("acme", BATCH.batch_id, progress)
    assert table.of("acme", BATCH.batch_id) == [ShardProgress(0, 9, Counts(5, 5)), late]
    done = ShardProgress(1, 50, Counts(10, 4, 1, 2), done=True)
    table.note("acme", BATCH.batch_id, done)
    assert table.of("acme", BATCH.batch_id)[1] == done


_TEXTS = st.text(max_size=20)


@given(
    pairs=st.lists(st.tuples(_TEXTS, _TEXTS), max_size=4),
    text=_TEXTS,
    when=st.floats(0, 4e9),
    counts=st.builds(Counts, *[st.integers(0, 10**9)] * 4),
)
def test_a_document_survives_whatever_it_holds(
    pairs: list[tuple[str, str]], text: str, when: float, counts: Counts
) -> None:
    """What is written down is what is read, for any text and number."""
    options = replace(BATCH.options, metadata=tuple(pairs), webhook=text)
    each = replace(BATCH, options=options, caller=tuple(pairs), counts=counts, created_at=when, reason=text)
    assert load_batch(dump_batch(each)) == each


def test_an_object_is_written_once_or_over(store: Store) -> None:
    """`write_once` keeps the first bytes, `write` the last; what is not there reads as None."""
    assert store.read(KEY) is None
    assert store.write_once(KEY, b"\x00first")
    assert not store.write_once(KEY, b"second")
    assert store.read(KEY) == b"\x00first"
    store.write(KEY, b"")
    assert store.read(KEY) == b""


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, PART_BYTES, 2 * PART_BYTES + 17])
def test_a_stream_is_read_as_it_was_written(store: Store, size: int) -> None:
    """Whatever its size, and from any place to any other."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with store.writer(KEY) as sink:
        for at in range(0, size, 700_001):
            sink.write(data[at : at + 700_001])
    assert b"".join(store.chunks(KEY)) == data
    for start, end in ((0, 1), (1, None), (size // 2, size), (size, None), (3, 3), (size - 1 if size else 0, None)):
        assert b"".join(store.chunks(KEY, start=start, end=end)) == data[start:end]
    assert all(len(chunk) <= CHUNK_BYTES for chunk in store.chunks(KEY))


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_what_fails_on_the_way_leaves_nothing(store: Store, size: int) -> None:
    """An error in the block: no object, and what was there before stays."""
    store.write(KEY, b"before")

    def broken() -> None:
        with store.writer(KEY) as sink:
            sink.write(bytes(size))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert store.read(KEY) == b"before"


def test_keys_come_in_order_with_their_sizes(store: Store) -> None:
    """The keys of one shard are told by the prefix, and sort as the bytes where they begin."""
    for start in (100, 20, 3):
        store.write(part_key("acme", "b", 1, start), bytes(start))
    store.write(part_key("acme", "b", 11, 0), b"")
    assert list(store.keys(parts_prefix("acme", "b", 1))) == [(part_key("acme", "b", 1, at), at) for at in (3, 20, 100)]
    assert len(list(store.keys(parts_prefix("acme", "b")))) == 4
    assert list(store.keys(parts_prefix("acme", "c"))) == []


def test_a_stream_of_nothing_is_an_unknown_target(store: Store) -> None:
    """There is no such object."""
    with pytest.raises(UnknownTarget) as told:
        list(store.chunks(KEY))
    assert told.value.code == "object_not_found"


@pytest.mark.usefixtures("aws")
def test_keys_go_on_behind_the_first_page() -> None:
    """S3 lists a thousand at a time."""
    make_bucket(BUCKET)
    bucket = BatchesBucket(BUCKET, calls=PatientCalls())
    for number in range(1005):
        bucket.write(f"many/{number:05d}", b"")
    assert [key for key, _ in bucket.keys("many/")] == [f"many/{number:05d}" for number in range(1005)]


@pytest.fixture(params=["fake", "s3"])
def versions(request: pytest.FixtureRequest) -> Iterator[tuple[FakeSources | SourceObjects, Source]]:
    """A file of which there is a newer version, in each implementation."""
    if request.param == "fake":
        yield FakeSources({("inputs", SOURCE.key, "v"): b"old bytes!", ("inputs", SOURCE.key, "w"): b"new"}), SOURCE
        return
    request.getfixturevalue("aws")
    make_bucket("inputs", versioned=True)
    s3 = client("s3", read_timeout_s=2.0)
    version = s3.put_object(Bucket="inputs", Key=SOURCE.key, Body=b"old bytes!")["VersionId"]
    s3.put_object(Bucket="inputs", Key=SOURCE.key, Body=b"new")
    yield SourceObjects(calls=PatientCalls()), replace(SOURCE, version=version)


def test_a_file_is_read_at_its_version(versions: tuple[FakeSources | SourceObjects, Source]) -> None:
    """A file that is replaced meanwhile changes nothing; a version that is not there is an unknown target."""
    sources, source = versions
    assert b"".join(sources.chunks(source)) == b"old bytes!"
    assert b"".join(sources.chunks(source, start=4, end=9)) == b"bytes"
    for gone in (replace(source, version="no-such"), replace(source, key="no-such")):
        with pytest.raises(UnknownTarget):
            list(sources.chunks(gone))


@pytest.mark.usefixtures("aws")
def test_a_store_that_is_not_there_is_unavailable() -> None:
    """A missing bucket or table is our trouble, never a wrong answer."""
    bucket = BatchesBucket("missing", calls=PatientCalls(), pause=lambda _: None)
    table = BatchesTable(StateTable("missing", calls=PatientCalls()))
    with pytest.raises(StoreUnavailable):
        bucket.write_once(KEY, b"")
    with pytest.raises(StoreUnavailable):
        list(bucket.keys(""))
    with pytest.raises(StoreUnavailable):
        table.get("acme", BATCH.batch_id)
    with pytest.raises(StoreUnavailable):
        table.newest("acme", limit=1)
